"""Events that a consumer gave up: kept in the stream DEADLETTERS with the reason, until somebody replays them.

Their subject is `breakwater.dead.<service that gave up>.<event name>`; they keep the headers they came with.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from breakwater.chassis.bus import Bus, BusMessage, StreamSpec
from breakwater.chassis.buserrors import DRIVER_ERRORS, translated
from breakwater.chassis.cloudevents import MESSAGE_ID, decoded, encoded
from breakwater.chassis.errors import NotFoundError

STREAM: Final = "DEADLETTERS"
SUBJECTS: Final = "breakwater.dead.>"
KEEP_DAYS: Final = 14
# Longer than any other stream's: a consumer that dies between giving up and saying so gives up once more, later.
SPEC: Final = StreamSpec(STREAM, (SUBJECTS,), age_days_max=KEEP_DAYS, duplicate_window_s=3600.0)

_CONSUMER: Final = "breakwater-dead-consumer"
_STREAM: Final = "breakwater-dead-stream"
_REASON: Final = "breakwater-dead-reason"
_DELIVERIES: Final = "breakwater-dead-deliveries"
_FAILED_AT: Final = "breakwater-dead-at"
REASON_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event given up. `seq` names it; `service` gave it up, by its `consumer` of `stream`, after `deliveries`."""

    seq: int
    service: str
    consumer: str
    stream: str
    event_id: str
    type: str
    subject_id: str
    sequence: str
    reason: str
    deliveries: int
    failed_at: datetime
    size_bytes: int


async def send(bus: Bus, message: Msg, *, consumer: str, reason: str, deliveries: int, failed_at: datetime) -> None:
    """Puts `message` aside; returns when it is stored. Raises `UnavailableError`."""
    place = message.metadata
    kept = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
    event_id = kept.get("ce-id") or f"{place.stream}.{place.sequence.stream}"
    sent_as = (message.headers or {}).get(MESSAGE_ID) or encoded(event_id)
    headers = kept | {
        # Two services may give up the same event, each once, and once more after each replay, which has an id of its own.
        MESSAGE_ID: f"{sent_as}.{consumer}",
        _CONSUMER: consumer,
        _STREAM: place.stream,
        _REASON: encoded(reason[:REASON_LENGTH_MAX]),
        _DELIVERIES: str(deliveries),
        _FAILED_AT: failed_at.isoformat(),
    }
    subject = f"breakwater.dead.{bus.service}.{message.subject.rpartition('.')[2]}"
    await bus.publish_batch([BusMessage(subject, message.data, headers)])


async def read(bus: Bus, limit: int = 100, *, after_seq: int = 0) -> list[DeadLetter]:
    """The oldest `limit` dead letters past `after_seq`. Raises `UnavailableError`."""
    letters: list[DeadLetter] = []
    while len(letters) < limit:
        raw = await _next(bus, after_seq + 1)
        if raw is None:
            break
        after_seq = raw.seq or 0
        letters.append(_letter(raw))
    return letters


async def replay(bus: Bus, seq: int) -> DeadLetter:
    """Publishes the event again under its id and removes the dead letter; receivers that know the event absorb it.

    Raises `NotFoundError` when there is no such dead letter, `UnavailableError`.
    """
    raw = await _next(bus, seq)
    if raw is None or raw.seq != seq:
        raise NotFoundError(f"There is no dead letter {seq}.")
    letter, headers = _letter(raw), dict(raw.headers or {})
    own = {_CONSUMER, _STREAM, _REASON, _DELIVERIES, _FAILED_AT}
    kept = {name: value for name, value in headers.items() if name not in own}
    # The *message* gets a new id: JetStream may still know the first one and swallow it. The inbox goes by `ce-id`.
    kept[MESSAGE_ID] = f"{headers[MESSAGE_ID]}.replay.{seq}"
    await bus.publish_batch([BusMessage(letter.type, raw.data or b"", kept)])
    try:
        await bus.jetstream.delete_msg(STREAM, seq)
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    return letter


async def counts(bus: Bus) -> dict[str, int]:
    """How many dead letters each service has. Raises `UnavailableError`."""
    try:
        info = await bus.jetstream.stream_info(STREAM, subjects_filter=SUBJECTS)
    except nats.js.errors.NotFoundError:
        return {}
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    found: Counter[str] = Counter()
    subjects: Mapping[str, int] = info.state.subjects or {}
    for subject, letters in subjects.items():
        found[subject.split(".")[2]] += letters
    return dict(found)


async def _next(bus: Bus, seq: int) -> RawStreamMsg | None:
    try:
        return await bus.jetstream.get_msg(STREAM, seq=seq, subject=SUBJECTS, next=True)
    except nats.js.errors.NotFoundError:
        return None
    except DRIVER_ERRORS as error:
        raise translated(error) from error


def _letter(raw: RawStreamMsg) -> DeadLetter:
    headers: dict[str, Any] = raw.headers or {}
    _, _, service, name = (raw.subject or "").split(".", 3)
    return DeadLetter(
        seq=raw.seq or 0,
        service=service,
        consumer=headers[_CONSUMER],
        stream=headers[_STREAM],
        event_id=headers.get("ce-id", ""),
        type=headers.get("ce-type", name),
        subject_id=decoded(headers.get("ce-subject", "")),
        sequence=headers.get("ce-sequence", ""),
        reason=decoded(headers[_REASON]),
        deliveries=int(headers[_DELIVERIES]),
        failed_at=datetime.fromisoformat(headers[_FAILED_AT]),
        size_bytes=len(raw.data or b""),
    )
