"""Events that a consumer gave up: kept in the stream DEADLETTERS with the reason, until somebody replays them."""

from dataclasses import dataclass
from datetime import datetime

from breakwater.chassis.bus import Bus

STREAM = "DEADLETTERS"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event given up. `seq` names it; `service` and `consumer` gave it up; the payload stays on the stream."""

    seq: int
    service: str
    consumer: str
    event_id: str
    type: str
    subject_id: str
    sequence: int
    reason: str
    deliveries: int
    failed_at: datetime
    size_bytes: int


async def read(bus: Bus, limit: int = 100, *, after_seq: int = 0) -> list[DeadLetter]:
    """The oldest `limit` dead letters past `after_seq`."""
    raise NotImplementedError


async def replay(bus: Bus, seq: int) -> DeadLetter:
    """Publishes the event again under its id and removes the dead letter; receivers that know the event absorb it.

    Raises `NotFoundError` when there is no such dead letter.
    """
    raise NotImplementedError


async def counts(bus: Bus) -> dict[str, int]:
    """How many dead letters each service has."""
    raise NotImplementedError
