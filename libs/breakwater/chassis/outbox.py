"""The transactional outbox: events are rows of the transaction that caused them, published afterwards.

At-least-once on the wire; the receivers' inbox makes effects happen once (architecture.md, Rules). Rows stay for some
days after they were published, so that JetStream is never the only copy.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self

from asyncpg import Record
from google.protobuf.message import Message as ProtoMessage

from breakwater.chassis import cloudevents, telemetry
from breakwater.chassis.bus import BATCH_MESSAGES_MAX, Bus, BusMessage, StreamMissingError, StreamSpec
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.gathering import pause_s
from breakwater.chassis.ids import uuid7
from breakwater.chassis.logging import get_logger

log = get_logger(__name__)

EVENT_SIZE_BYTES_MAX: Final = 64 * 1024
KEEP_DAYS: Final = 7
"""How long published rows stay; 14 at most."""
RING_DAYS: Final = 16
"""Partitions of sql/0001_outbox.sql."""
POLL_S: Final = 1.0
"""How soon a replica finds what another one stored and did not live to publish."""
ROWS_MAX: Final = 5 * BATCH_MESSAGES_MAX
"""Of one turn of the relay: published in atomic batches, marked at once."""

HELD_S_MAX: Final = 30.0
"""How long what nobody waits for may be held back while its cause is still at work."""

_TOPIC: Final = "outbox"
_TOPIC_NOT_URGENT: Final = "outbox-not-urgent"
_RETRY_MIN_S: Final = 0.1
_RETRY_MAX_S: Final = 2.0
_TYPE: Final = re.compile(r"breakwater\.[a-z]+\.v\d+\.[A-Za-z0-9]+")

_ADD = """
INSERT INTO outbox (id, type, subject_id, sequence, payload, occurred_at, traceparent, urgent)
SELECT id, type, subject_id, sequence, payload, coalesce(occurred_at, now()), traceparent, urgent
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::timestamptz[], $7::text[], $8::boolean[])
     WITH ORDINALITY AS event(id, type, subject_id, sequence, payload, occurred_at, traceparent, urgent, place)
ORDER BY place
"""
# What another replica is publishing is skipped; should that replica die, its locks die with it.
_PENDING = """
SELECT day, position, id::text, type, subject_id, sequence, payload, occurred_at, traceparent
FROM outbox WHERE published_at IS NULL AND urgent = $2 ORDER BY position LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_MARK = "UPDATE outbox SET published_at = now() WHERE day = $1 AND position = ANY($2) AND published_at IS NULL"
_UNMARK = "UPDATE outbox SET published_at = NULL WHERE day = $1 AND published_at >= $2"


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event. `type` is the protobuf message's full name, `breakwater.leads.v1.LeadAssigned`, and also the subject.

    `subject_id` is the aggregate's id; `sequence` counts the aggregate's changes upwards: receivers judge order by it.
    """

    type: str
    subject_id: str
    sequence: int
    payload: bytes
    id: str = field(default_factory=uuid7)
    occurred_at: datetime | None = None
    """When it happened, by the injected clock; None: the transaction's time."""
    traceparent: str | None = None
    """The trace it belongs to; None: the present one. A micro-batch holds events of many."""
    urgent: bool = True
    """Somebody waits for it. What an import causes can wait behind what people do meanwhile."""

    @classmethod
    def of(
        cls,
        message: ProtoMessage,
        *,
        subject_id: str,
        sequence: int,
        occurred_at: datetime | None = None,
        traceparent: str | None = None,
        urgent: bool = True,
    ) -> Self:
        """The event that `message` is."""
        return cls(
            type=message.DESCRIPTOR.full_name,
            subject_id=subject_id,
            sequence=sequence,
            payload=message.SerializeToString(),
            occurred_at=occurred_at,
            traceparent=traceparent,
            urgent=urgent,
        )


async def add(tx: Transaction, events: Sequence[OutboxEvent]) -> None:
    """Writes `events` in `tx`, in order, each with its trace; wakes this process's relay once `tx` is committed.

    Raises `ValueError` for an event past its size limit or with a malformed type: it could never be published.
    """
    if not events:
        return
    for event in events:
        if len(event.payload) > EVENT_SIZE_BYTES_MAX or not _TYPE.fullmatch(event.type):
            raise ValueError(f"{event.type} of {len(event.payload)} bytes is no event that can be published")
    present = telemetry.current_traceparent()
    rows = (
        (e.id, e.type, e.subject_id, e.sequence, e.payload, e.occurred_at, e.traceparent or present, e.urgent)
        for e in events
    )
    await tx.execute(_ADD, *(list(column) for column in zip(*rows, strict=True)))
    for topic in {_TOPIC if event.urgent else _TOPIC_NOT_URGENT for event in events}:
        tx.announce(topic)


async def republish(db: Database, since: datetime) -> int:
    """Marks what was published since `since` as unpublished: the relay sends it again, receivers absorb what they know.

    Returns how many rows. For a JetStream that was wiped or restored from an older state.
    """
    rows = 0
    for day in range(RING_DAYS):
        async with db.transaction(long=True) as tx:
            tag = await tx.execute(_UNMARK, day, since)
            tx.announce(_TOPIC_NOT_URGENT)
        rows += int(tag.rpartition(" ")[2])
    return rows


_GATHER_S: Final = 0.01
"""At least between two publications, so that a crowd shares a sync of JetStream's disk and a transaction ..."""
_GATHER_NOT_URGENT_S: Final = 0.25
"""... and between two of what nobody waits for."""


class Relay:
    """Publishes the outbox of one service; every replica runs one. `service.background("outbox-relay", relay.run)`."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        clock: Clock | None = None,
        *,
        keep_days: int = KEEP_DAYS,
        poll_s: float = POLL_S,
        held: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """The stream is the service's name in upper case. While `held` says so, at most for HELD_S_MAX, this replica
        leaves lying what is not urgent. `checkpoint` is told the points at which drills kill.
        """
        self._db = db
        self._bus = bus
        self._clock = clock or SystemClock()
        self._keep = timedelta(days=keep_days)
        self._poll_s = poll_s
        self._checkpoint = checkpoint
        self._stream = StreamSpec(bus.service.upper(), (f"breakwater.{bus.service}.v1.>",))
        self._held = held
        self._held_since_s: float | None = None
        self._woken = asyncio.Event()
        self._not_urgent_waits = True
        self._not_urgent_from_s = 0.0
        self._stream_checked = False
        self._crowd = 0
        db.listen(_TOPIC, self._woken.set)
        db.listen(_TOPIC_NOT_URGENT, self._not_urgent_added)
        bus.on_connected(self._recheck)

    async def run(self) -> None:
        """Publishes until cancelled; safe to cancel at any point."""
        retry_s = _RETRY_MIN_S
        while True:
            self._woken.clear()
            try:
                await self._ensure_stream()
                while await self._publish_round():
                    pass
            except BreakwaterError as error:
                log.warning(
                    "outbox_waits", error=type(error).__name__, dependency=error.dependency, detail=error.detail
                )
                self._stream_checked &= not isinstance(error, StreamMissingError)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_MAX_S)
            else:
                retry_s = _RETRY_MIN_S
                # Whoever comes first after a quiet time goes at once; in a crowd the next wait a moment and go together.
                await asyncio.sleep(pause_s(self._crowd, _GATHER_S))
                await self._wait()

    async def _publish_round(self) -> bool:
        """Publishes what is urgent, else what is not, unless it is held; True when more may wait."""
        self._crowd = await self._publish_some(urgent=True)
        if self._crowd == ROWS_MAX:
            return True
        now_s = asyncio.get_running_loop().time()
        if not self._not_urgent_waits or now_s < self._not_urgent_from_s or self._holds():
            return False
        # Before it is read: what is added meanwhile is announced again.
        self._not_urgent_waits = False
        if await self._publish_some(urgent=False) == ROWS_MAX:
            self._not_urgent_waits = True
            return True
        self._not_urgent_from_s = now_s + _GATHER_NOT_URGENT_S
        return False

    def _holds(self) -> bool:
        if not self._held():
            self._held_since_s = None
            return False
        if self._held_since_s is None:
            self._held_since_s = self._clock.monotonic()
        return self._clock.monotonic() - self._held_since_s < HELD_S_MAX

    def _not_urgent_added(self) -> None:
        if self._not_urgent_waits:
            return
        self._not_urgent_waits = True
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._not_urgent_from_s), self._woken.set)

    def _recheck(self) -> None:
        # JetStream may have come back without its streams.
        self._stream_checked = False
        self._woken.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._woken.wait()
        except TimeoutError:
            # Of another replica that did not live to publish it, perhaps.
            self._not_urgent_waits = True

    async def _ensure_stream(self) -> None:
        if self._stream_checked:
            return
        if not await self._bus.has_stream(self._stream.name):
            # Before the stream is there again: should we die in between, the next one finds it missing too.
            rows = await republish(self._db, self._clock.now() - self._keep)
            log.warning("stream_missing", stream=self._stream.name, republished=rows)
        await self._bus.ensure_stream(self._stream)
        self._stream_checked = True

    async def _publish_some(self, *, urgent: bool) -> int:
        # A mark that gets lost has its event sent again, which receivers absorb.
        async with self._db.transaction(long=True, durable=False) as tx:
            rows = await tx.fetch(_PENDING, ROWS_MAX, urgent)
            if not rows:
                return 0
            self._checkpoint("relay:read")
            messages = [self._message(row) for row in rows]
            for start in range(0, len(messages), BATCH_MESSAGES_MAX):
                await self._bus.publish_batch(messages[start : start + BATCH_MESSAGES_MAX])
                self._checkpoint("relay:published")
            positions: dict[int, list[int]] = defaultdict(list)
            for row in rows:
                positions[row["day"]].append(row["position"])
            for day, published in positions.items():
                await tx.execute(_MARK, day, published)
            self._checkpoint("relay:marked")
        self._checkpoint("relay:committed")
        return len(rows)

    def _message(self, row: Record) -> BusMessage:
        headers = cloudevents.headers_of(
            event_id=row["id"],
            event_type=row["type"],
            source=self._bus.service,
            subject_id=row["subject_id"],
            sequence=row["sequence"],
            time=row["occurred_at"],
            traceparent=row["traceparent"],
        )
        return BusMessage(row["type"], row["payload"], headers)
