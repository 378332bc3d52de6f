"""How an event looks on NATS: CloudEvents 1.0 attributes as `ce-` headers, a protobuf body. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/protobuf"
MESSAGE_ID: Final = "Nats-Msg-Id"

# CloudEvents HTTP binding, 3.1.3.2: printable ASCII but space, double quote and percent stands for itself.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN_SET: Final = frozenset(_PLAIN)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it arrived. Order within `subject_id` is judged by `sequence`, not by arrival."""

    id: str
    type: str
    subject_id: str
    sequence: int
    time: datetime
    data: bytes
    traceparent: str | None


class MalformedEventError(Exception):
    """The headers are not those of an event of ours; the message names the attribute."""


def headers_of(
    *,
    event_id: str,
    event_type: str,
    source: str,
    subject_id: str,
    sequence: int,
    time: datetime,
    traceparent: str | None,
) -> dict[str, str]:
    """The headers of one event, ready to be sent."""
    headers = {
        MESSAGE_ID: event_id,
        "ce-specversion": SPEC_VERSION,
        "ce-id": event_id,
        "ce-type": event_type,
        "ce-source": f"/breakwater/{source}",
        "ce-subject": encoded(subject_id),
        "ce-time": time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce-sequence": str(sequence),
        "content-type": CONTENT_TYPE,
    }
    if traceparent:
        headers["traceparent"] = traceparent
    return headers


def received(headers: Mapping[str, str] | None, data: bytes) -> Received:
    """The event a message carries. Raises `MalformedEventError`."""
    headers = headers or {}
    attribute = ""
    try:
        attribute = "ce-id"
        event_id = _uuid(headers["ce-id"])
        attribute = "ce-type"
        event_type = headers["ce-type"]
        attribute = "ce-subject"
        subject_id = decoded(headers["ce-subject"])
        attribute = "ce-sequence"
        sequence = int(headers["ce-sequence"])
        attribute = "ce-time"
        time = datetime.fromisoformat(headers["ce-time"]).astimezone(UTC)
    except (KeyError, ValueError) as error:
        raise MalformedEventError(attribute) from error
    return Received(event_id, event_type, subject_id, sequence, time, data, headers.get("traceparent"))


def encoded(value: str) -> str:
    """A header's value in printable ASCII: nats-py would send raw UTF-8 and line breaks."""
    return value if _PLAIN_SET.issuperset(value) else quote(value, safe=_PLAIN)


def decoded(value: str) -> str:
    """What `encoded` was given."""
    return unquote(value) if "%" in value else value


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError(text)
    return text
