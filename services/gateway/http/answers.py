"""What a route hands back: bytes that are ready to be sent, or a stream of them.

Views are plain dictionaries typed as TypedDicts, which FastAPI shows in OpenAPI and msgspec encodes as they are
(measurements.md: a model per answer costs half of the throughput).
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import TypedDict

JSON = b"application/json"

Header = tuple[bytes, bytes]


class Degraded(TypedDict):
    """A part of the answer comes from a fallback, or is missing, because a dependency is out."""

    dependency: str
    fallback: str
    missing: list[str]


@dataclass(slots=True)
class Answer:
    """A whole answer. `headers` come on top of those every answer has."""

    status: int
    body: bytes = b""
    media_type: bytes = JSON
    headers: list[Header] = field(default_factory=list)


@dataclass(slots=True)
class StreamAnswer:
    """An answer sent piece by piece, each when the client has room for it.

    `size_bytes` is the length promised; None where nobody knows it, as of events.
    """

    status: int
    chunks: AsyncGenerator[bytes, None]
    size_bytes: int | None
    media_type: bytes
    headers: list[Header] = field(default_factory=list)


def answer(
    view: Any,
    *,
    status: int = 200,
    replayed: bool = False,
    degraded: str | None = None,
    location: str | None = None,
    headers: Sequence[Header] = (),
) -> Answer:
    """Encodes `view`. `degraded` is the dependency that is out; the view says in its own words what is missing."""
    extra = list(headers)
    if replayed:
        extra.append((b"idempotent-replayed", b"true"))
    if degraded:
        extra.append((b"degraded", degraded.encode()))
    if location:
        extra.append((b"location", location.encode()))
    return Answer(status, msgspec.json.encode(view), headers=extra)


def rfc3339(stamp: Timestamp) -> str | None:
    """A protobuf time as RFC 3339 in UTC with milliseconds; None when it is absent (the epoch is no time of ours)."""
    if not stamp.seconds and not stamp.nanos:
        return None
    return f"{datetime.fromtimestamp(stamp.seconds, UTC).isoformat()[:19]}.{stamp.nanos // 1_000_000:03d}Z"


def rfc3339_of(moment: datetime | None) -> str | None:
    """The same for an aware datetime."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
