"""Many rows as one parameter.

A jsonb array of arrays costs the driver 1 us a row of 26 columns, arrays for `unnest` 26 us (it asks of every element
whether it is a container). The statement reads it with `FROM jsonb_array_elements($1) AS x` and `x->>0`, `x->>1` ...
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson


def jsonb(rows: Iterable[Sequence[Any] | Mapping[str, Any]] | Mapping[str, Any]) -> str:
    """The rows as text for a `jsonb` parameter: moments in ISO 8601, decimals as text."""
    return orjson.dumps(rows if isinstance(rows, Mapping) else list(rows), default=_plain).decode()


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in jsonb")
