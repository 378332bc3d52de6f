"""What was asked for and refused is on the record as well as what was done."""

import re
from collections.abc import Callable

from breakwater.chassis.errors import BreakwaterError
from services.gateway.http.call import Call
from services.gateway.ops.console import Console

_DEPENDENCY = re.compile(r"/v1/dependencies/([A-Za-z0-9._:-]{1,64})/override")
_SAFE = {"GET", "HEAD", "OPTIONS"}


def refusals_to(console: Console) -> Callable[[Call, BreakwaterError], None]:
    """Tells the console of every refused request that would have changed something."""

    def tell(call: Call, error: BreakwaterError) -> None:
        method = call.scope["method"]
        if method in _SAFE or not call.route.startswith("/v1/"):
            return
        named = _DEPENDENCY.fullmatch(call.scope["path"])
        dependency = named[1] if named else ""
        console.refused(call.actor, f"{method} {call.route}", dependency, error)

    return tell
