"""Synthetic probes of live providers: on a schedule, harmless, and never more than a warning.

A probe asks what `contracts/external/<provider>` calls harmless and compares the answer with what was recorded there. It goes
through the policy of its edge, so that the edge's figures show it; what it finds is a metric and a line in the log.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from prometheus_client import Counter, Gauge

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, DeadlineExceededError, RateLimitedError, UnavailableError
from breakwater.chassis.http_client import HttpClient
from breakwater.chassis.logging import get_logger
from breakwater.chassis.metrics import REGISTRY

Look = Callable[[], Awaitable[str | None]]
"""Asks once: None where the answer is as recorded, else what differs, without secrets. Raises what its client raises."""


class Found(StrEnum):
    """What a probe found."""

    AS_RECORDED = "as_recorded"
    DEVIATES = "deviates"
    FAILED = "failed"
    """No answer: an outage, which the edge's own figures judge; it says nothing about the contract."""


@dataclass(frozen=True, slots=True)
class Question:
    """The harmless request to a provider over HTTP, and the values that the fields of its JSON answer, an HTTP 200, may have."""

    method: str
    target: str
    answer: Mapping[str, tuple[Any, ...]]
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None


PROBES = Counter(
    "breakwater_provider_probes_total",
    "Synthetic probes of live providers, by what they found.",
    ("dependency", "found"),
    registry=REGISTRY,
)
DEVIATES = Gauge(
    "breakwater_provider_deviates",
    "1 while the newest answer of a live provider is not as recorded (a warning, never a page).",
    ("dependency",),
    registry=REGISTRY,
)
_SHOWN_LENGTH_MAX = 80
_log = get_logger(__name__)


class ProviderProbe:
    """Looks at one provider every `interval_s` seconds of `clock`."""

    def __init__(self, dependency: str, look: Look, *, interval_s: float, clock: Clock) -> None:
        self._dependency = dependency
        self._look = look
        self._interval_s = interval_s
        self._clock = clock

    async def run(self) -> None:
        """`service.background("probe-objects", probe.run)`: first after one interval, so that a start costs nobody a call."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.once()

    async def once(self) -> Found:
        """One look, counted and logged. An outage leaves the last word about the contract as it was."""
        try:
            difference = await self._look()
        except BreakwaterError as error:
            _log.warning("provider_probe_failed", dependency=self._dependency, code=error.code)
            found = Found.FAILED
        else:
            found = Found.AS_RECORDED if difference is None else Found.DEVIATES
            DEVIATES.labels(self._dependency).set(found is Found.DEVIATES)
            if difference is not None:
                _log.warning("provider_deviates", dependency=self._dependency, difference=difference)
        PROBES.labels(self._dependency, found.value).inc()
        return found


async def ask(client: HttpClient, question: Question) -> str | None:
    """A `Look` over HTTP. Raises what says nothing of a contract: no connection, no time, no room, a server's own failure."""
    content = b"" if question.json is None else orjson.dumps(question.json)
    headers = {**question.headers, **({"content-type": "application/json; charset=utf-8"} if content else {})}
    try:
        answer = await client.request(question.method, question.target, content=content, headers=headers)
    except (UnavailableError, DeadlineExceededError, RateLimitedError):
        raise
    except BreakwaterError as error:
        return f"it is refused: {error.code}"
    try:
        document = answer.json()
    except ValueError:
        return "the answer is no JSON"
    for name, values in question.answer.items():
        said = document.get(name) if isinstance(document, dict) else None
        # True equals 1 in Python; on the wire they differ.
        if not any(type(said) is type(value) and said == value for value in values):
            return f"{name} is {_shown(said)}, not {' or '.join(map(_shown, values))}"
    return None


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN_LENGTH_MAX]
