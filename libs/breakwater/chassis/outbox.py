"""The transactional outbox: events are rows of the transaction that caused them, published afterwards.

At-least-once on the wire; the receivers' inbox makes effects happen once (architecture.md, Rules). Rows stay for some days
after they were published, so that JetStream is never the only copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from google.protobuf.message import Message as ProtoMessage

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.ids import uuid7


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event. `type` is the protobuf message's full name, such as `breakwater.leads.v1.LeadAssigned`, and also the subject.

    `subject_id` is the aggregate's id; `sequence` counts the aggregate's changes upwards: receivers judge order by it.
    """

    type: str
    subject_id: str
    sequence: int
    payload: bytes
    id: str = field(default_factory=uuid7)
    occurred_at: datetime | None = None
    """When it happened, by the injected clock; None: the transaction's time."""

    @classmethod
    def of(
        cls, message: ProtoMessage, *, subject_id: str, sequence: int, occurred_at: datetime | None = None
    ) -> Self:
        """The event that `message` is."""
        return cls(
            type=message.DESCRIPTOR.full_name,
            subject_id=subject_id,
            sequence=sequence,
            payload=message.SerializeToString(),
            occurred_at=occurred_at,
        )


async def add(tx: Transaction, events: Sequence[OutboxEvent]) -> None:
    """Writes `events` in `tx`, in order, with the present trace; wakes this process's relay once `tx` is committed.

    Raises `ValueError` for an event past its size limit or with a malformed type: it could never be published.
    """
    raise NotImplementedError


async def republish(db: Database, since: datetime) -> int:
    """Marks what was published since `since` as unpublished: the relay sends it again, receivers absorb what they know.

    Returns how many rows. For a JetStream that was wiped or restored from an older state.
    """
    raise NotImplementedError


class Relay:
    """Publishes the outbox of one service; every replica runs one. `service.background("outbox-relay", relay.run)`."""

    def __init__(self, db: Database, bus: Bus, clock: Clock | None = None, *, keep_days: int = 7) -> None:
        self._db, self._bus, self._clock, self._keep_days = db, bus, clock or SystemClock(), keep_days

    async def run(self) -> None:
        """Publishes until cancelled; safe to cancel at any point."""
        raise NotImplementedError
