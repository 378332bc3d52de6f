"""What must leave us, in PostgreSQL: rows with a due time, leased by a replica while it sends.

A robot's row is locked while its limit is looked at, so that any number of replicas keep to it together.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.notify.v1.events_pb2 import NotificationDelivered
from services.notify.channels.domain import Profile
from services.notify.channels.store import profiles
from services.notify.delivery.domain import OutgoingState
from services.notify.delivery.notices import BOARD_READY, Notice
from services.notify.delivery.store import WOKEN, Posting, TransactionInboxes
from services.notify.escalation.domain import Outcome, RobotState, Rules, Standing, Step, Verdict, room_for
from services.notify.escalation.usecases import InFlight, Parcel, Waiting
from services.notify.templates.domain import Wordbook
from services.notify.templates.store import wordbook_of
from services.notify.timestamps import timestamp

ITEMS_MAX: Final = 5_000
"""Notifications of one message; the rest is another one."""
_URGENCY_CRITICAL: Final = 2
_OUTGOING_SEQUENCE: Final = 2
"""In-app is a notification's first delivery."""

_PEOPLE = """
SELECT person_id, urgency, due_at FROM (
    SELECT person_id, max(urgency) AS urgency, min(due_at) AS due_at FROM outgoing
    WHERE state = 'waiting' AND waits_for = '' AND due_at <= $1 GROUP BY person_id) AS due
ORDER BY urgency DESC, due_at LIMIT $2
"""
_WAITED_FOR = "SELECT DISTINCT waits_for FROM outgoing WHERE state = 'waiting' AND waits_for <> '' ORDER BY waits_for"
# In the order of what they wait for, and not since when: who was overtaken stays in front.
_QUEUE = """
SELECT person_id, max(urgency) AS urgency FROM outgoing
WHERE state = 'waiting' AND waits_for = $1 AND due_at <= $2
GROUP BY person_id ORDER BY max(urgency) DESC, min(notification_id::text) LIMIT $3
"""
_EXPIRED = "SELECT id::text FROM messages WHERE state = 'sending' AND lease_until <= $1 ORDER BY lease_until LIMIT $2"
_ITEMS = """
SELECT o.notification_id::text, o.urgency, o.round, o.failed, o.refused, o.doubtful, o.batch, n.kind, n.title, n.body
FROM outgoing o JOIN notifications n ON n.id = o.notification_id
"""
# One replica at a time is at a person, or what belongs into one message would go in two.
_LOCK_PERSON = "SELECT pg_try_advisory_xact_lock(hashtextextended('outgoing:' || $1, 0))"
_DUE = f"""{_ITEMS}
WHERE o.person_id = $1 AND o.state = 'waiting' AND (o.due_at <= $2 OR o.waits_for <> '')
ORDER BY o.urgency DESC, o.notification_id LIMIT $3 FOR UPDATE OF o SKIP LOCKED
"""
_CARRIED = f"{_ITEMS} WHERE o.message_id = $1 AND o.state = 'sending' ORDER BY o.urgency DESC, o.notification_id FOR UPDATE OF o"
_ADD_ROBOTS = "INSERT INTO robots (robot) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_ROBOTS = "SELECT robot, closed_until, closed_at FROM robots WHERE robot = ANY($1) ORDER BY robot"
_LOCK_ROBOTS = f"{_ROBOTS} FOR UPDATE"
_SPANS = """
SELECT robot, started_at, ended_at FROM messages WHERE robot = ANY($1) AND (ended_at IS NULL OR ended_at > $2)
"""
_CLOSE = """
UPDATE robots SET closed_until = greatest(closed_until, $2), closed_at = $4,
    problem = CASE WHEN $3 = '' THEN problem ELSE $3 END
WHERE robot = $1
"""
_HEALED = "UPDATE robots SET problem = '' WHERE robot = $1 AND problem <> ''"
_POSTPONE = "UPDATE outgoing SET due_at = $2, waits_for = '' WHERE notification_id = ANY($1::uuid[])"
_WAIT_FOR = "UPDATE outgoing SET waits_for = $2, due_at = $3 WHERE notification_id = ANY($1::uuid[])"
_SEND = """
INSERT INTO messages (id, person_id, channel, robot, state, started_at, lease_until, marked)
VALUES ($1, $2, $3, $4, 'sending', $5, $6, $7)
"""
_LEAVE = """
UPDATE outgoing SET state = 'sending', message_id = $2, waits_for = '' WHERE notification_id = ANY($1::uuid[])
"""
_ATTEMPT = """
INSERT INTO attempts (notification_id, channel, state, at, detail, message_id)
SELECT unnest($1::uuid[]), $2, $3, $4, $5, $6
ON CONFLICT (notification_id, channel, at) DO UPDATE SET state = excluded.state, detail = excluded.detail,
    message_id = excluded.message_id
"""
_MESSAGE = "SELECT person_id, channel, robot FROM messages WHERE id = $1 AND state = 'sending' FOR UPDATE"
_SETTLE_MESSAGE = "UPDATE messages SET state = $2, ended_at = $3, detail = $4 WHERE id = $1"
_SETTLE_ATTEMPTS = "UPDATE attempts SET state = $2, detail = $3 WHERE message_id = $1"
_STEPS = """
UPDATE outgoing o SET state = s.state, due_at = s.due_at, round = s.round, doubtful = s.doubtful,
    failed = string_to_array(s.failed, ','), refused = string_to_array(s.refused, ',')
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::int[], $5::boolean[], $6::text[], $7::text[])
     AS s (notification_id, state, due_at, round, doubtful, failed, refused)
WHERE o.notification_id = s.notification_id
"""
_END = "UPDATE outgoing SET state = 'ended', waits_for = '' WHERE notification_id = ANY($1::uuid[])"
_DELIVERED = """
SELECT id::text, recipient_id, kind FROM notifications WHERE id = ANY($1::uuid[]) ORDER BY id
"""
_RELEASE_BATCHES = """
UPDATE batches SET due_at = NULL
WHERE batch IN (SELECT batch FROM batches WHERE due_at <= $1 LIMIT 20 FOR UPDATE SKIP LOCKED) RETURNING batch
"""
# A statement of its own: it sees what was committed until the batches were locked, and what is stored later holds them anew.
_RELEASE = "UPDATE outgoing SET due_at = $1 WHERE state = 'waiting' AND due_at = 'infinity' AND batch = ANY($2)"
_PRUNE_BATCHES = "DELETE FROM batches WHERE started_at < $1 AND due_at IS NULL"
_PRUNE = "DELETE FROM messages WHERE ctid = ANY (ARRAY(SELECT ctid FROM messages WHERE ended_at < $1 LIMIT 10000))"

_STATES: Final = {
    Outcome.DELIVERED: "delivered",
    Outcome.UNKNOWN: "unknown",
    Outcome.LATER: "failed",
    Outcome.FAILED: "failed",
    Outcome.REFUSED: "failed",
    Outcome.BROKEN: "failed",
}


class ChainStore:
    """What is due, seen by one transaction."""

    def __init__(self, tx: Transaction, posting: Posting) -> None:
        self._tx = tx
        self._posting = posting

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, posting: Posting) -> AsyncIterator["ChainStore"]:
        """A transaction of its own."""
        async with database.transaction() as tx:
            yield cls(tx, posting)

    async def profile(self, person_id: str) -> Profile:
        return (await profiles(self._tx, [person_id]))[person_id]

    async def words(self) -> Wordbook:
        return await wordbook_of(self._tx, self._posting.words)

    async def take_due(self, person_id: str, now: datetime) -> list[Waiting]:
        if not await self._tx.fetchval(_LOCK_PERSON, person_id):
            return []
        return [_waiting(row) for row in await self._tx.fetch(_DUE, person_id, now, ITEMS_MAX)]

    async def robots(self, robots: Sequence[str], since: datetime) -> Mapping[str, RobotState]:
        await self._tx.execute(_ADD_ROBOTS, list(robots))
        return await _states(self._tx, _LOCK_ROBOTS, robots, since)

    async def postpone(self, items: Sequence[Waiting], due_at: datetime) -> None:
        await self._tx.execute(_POSTPONE, _ids(items), due_at)

    async def wait_for(self, items: Sequence[Waiting], robot: str, since: datetime) -> None:
        await self._tx.execute(_WAIT_FOR, _ids(items), robot, since)

    async def send(self, parcel: Parcel, person_id: str, items: Sequence[Waiting], now: datetime) -> None:
        message_id, binding = UUID(parcel.message_id), parcel.binding
        marked = any(each.standing.doubtful for each in items)
        await self._tx.execute(
            _SEND, message_id, person_id, binding.channel, binding.way, now, parcel.lease_until, marked
        )
        await self._tx.execute(_LEAVE, _ids(items), message_id)
        detail = f"digest of {len(items)}" if len(items) > 1 else ""
        await self._tx.execute(_ATTEMPT, _ids(items), binding.channel, "pending", now, detail, message_id)

    async def in_flight(self, message_id: str) -> InFlight | None:
        row = await self._tx.fetchrow(_MESSAGE, UUID(message_id))
        if row is None:
            return None
        items = [_waiting(each) for each in await self._tx.fetch(_CARRIED, UUID(message_id))]
        return InFlight(message_id, row["person_id"], row["channel"], row["robot"], items)

    async def settle(
        self, message: InFlight, verdict: Verdict, steps: Sequence[tuple[Waiting, Step]], now: datetime
    ) -> None:
        id_, state = UUID(message.message_id), _STATES[verdict.outcome]
        await self._tx.execute(_SETTLE_MESSAGE, id_, state, now, verdict.detail)
        await self._tx.execute(_SETTLE_ATTEMPTS, id_, state, verdict.detail)
        await self._tx.execute(
            _STEPS,
            [UUID(each.notification_id) for each, _ in steps],
            [step.state.value for _, step in steps],
            [step.due_at for _, step in steps],
            [step.standing.round for _, step in steps],
            [step.standing.doubtful for _, step in steps],
            [",".join(sorted(step.standing.failed)) for _, step in steps],
            [",".join(sorted(step.standing.refused)) for _, step in steps],
        )
        if verdict.outcome is Outcome.DELIVERED:
            rows = await self._tx.fetch(_DELIVERED, [UUID(each.notification_id) for each, _ in steps])
            await outbox.add(self._tx, [_delivered(row, message.channel, now) for row in rows])
        if any(step.state is OutgoingState.WAITING for _, step in steps):
            self._tx.announce(WOKEN)

    async def skip(self, items: Sequence[Waiting], detail: str, now: datetime) -> None:
        await self._tx.execute(_ATTEMPT, _ids(items), "none", "skipped", now, detail, None)
        await self._tx.execute(_END, _ids(items))

    async def close_robot(self, robot: str, until: datetime, problem: str, now: datetime) -> None:
        await self._tx.execute(_CLOSE, robot, until, problem, now)

    async def healed(self, robot: str) -> None:
        await self._tx.execute(_HEALED, robot)

    async def tell(self, notices: Sequence[Notice], now: datetime) -> None:
        if notices:
            await TransactionInboxes(self._tx, self._posting).tell(notices, now)


class Departures:
    """What a dispatcher asks beside the transactions of its messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due_people(self, now: datetime, rules: Rules, limit: int) -> tuple[dict[str, bool], datetime | None]:
        """Whom something can be sent to, the most urgent first, True for what is critical; and since when one has been due.

        Of those who wait for a robot as many as it has room for: a crowd asks once to wait and once to leave.
        """
        async with self._database.read() as reader:
            due = await reader.fetch(_PEOPLE, now, limit)
            robots = [row["waits_for"] for row in await reader.fetch(_WAITED_FOR)]
            states = await _states(reader, _ROBOTS, robots, now - rules.memory) if robots else {}
            ready = [
                (row["urgency"], row["person_id"])
                for robot, state in states.items()
                for row in await _ready(reader, robot, state, now, rules, limit)
            ]
        ready += [(row["urgency"], row["person_id"]) for row in due]
        ready.sort(key=lambda each: each[0], reverse=True)
        people: dict[str, bool] = {}
        for urgency, person_id in ready[:limit]:
            people.setdefault(person_id, urgency >= _URGENCY_CRITICAL)
        return people, min((row["due_at"] for row in due), default=None)

    async def expired(self, now: datetime, limit: int) -> list[str]:
        """Messages whose sender did not come back."""
        async with self._database.read() as reader:
            return [row["id"] for row in await reader.fetch(_EXPIRED, now, limit)]

    async def release(self, now: datetime) -> None:
        """Lets go what was held to leave together."""
        async with self._database.transaction() as tx:
            if batches := [row["batch"] for row in await tx.fetch(_RELEASE_BATCHES, now)]:
                await tx.execute(_RELEASE, now, batches)

    async def prune(self, before: datetime) -> None:
        """Forgets messages of long ago; their attempts stay."""
        async with self._database.transaction() as tx:
            await tx.execute(_PRUNE, before)
            await tx.execute(_PRUNE_BATCHES, before)


async def _states(reader: Reader, sql: str, robots: Sequence[str], since: datetime) -> dict[str, RobotState]:
    """Each of `robots` that has a row, read by `sql`, with its messages that ended after `since` or are in flight."""
    names = list(robots)
    rows = {row["robot"]: row for row in await reader.fetch(sql, names)}
    spans: dict[str, list[tuple[datetime, datetime | None]]] = {name: [] for name in names}
    for row in await reader.fetch(_SPANS, names, since):
        spans[row["robot"]].append((row["started_at"], row["ended_at"]))
    return {name: RobotState(spans[name], row["closed_until"], row["closed_at"]) for name, row in rows.items()}


async def _ready(
    reader: Reader, robot: str, state: RobotState, now: datetime, rules: Rules, limit: int
) -> list[Record]:
    """Who waits for the robot and may leave by it now; while it is closed those who may not know that yet."""
    if state.closed(now):
        known = (state.closed_at or now) + rules.guard
        return await reader.fetch(_QUEUE, robot, known, limit)
    windows = rules.limits.get(robot.partition(":")[0], ())
    room, calm_room = (room_for(state, windows, now, rules.guard, critical=each) for each in (True, False))
    if room == 0:
        return []
    rows = await reader.fetch(_QUEUE, robot, now, limit if room is None else min(room, limit))
    return [
        row
        for place, row in enumerate(rows)
        if row["urgency"] >= _URGENCY_CRITICAL or calm_room is None or place < calm_room
    ]


def _waiting(row: Record) -> Waiting:
    standing = Standing(row["round"], frozenset(row["failed"]), frozenset(row["refused"]), row["doubtful"])
    urgency = row["urgency"]
    return Waiting(
        row["notification_id"],
        row["kind"],
        row["title"],
        row["body"],
        critical=urgency >= _URGENCY_CRITICAL,
        loud=urgency > 0,
        patient=row["kind"] == BOARD_READY or row["batch"] != "",
        standing=standing,
    )


def _ids(items: Sequence[Waiting]) -> list[UUID]:
    return [UUID(each.notification_id) for each in items]


def _delivered(row: Record, channel: str, now: datetime) -> OutboxEvent:
    event = NotificationDelivered(
        notification_id=row["id"],
        recipient_id=row["recipient_id"],
        kind=row["kind"],
        channel=channel,
        delivered_at=timestamp(now),
    )
    return OutboxEvent.of(event, subject_id=row["id"], sequence=_OUTGOING_SEQUENCE, occurred_at=now, urgent=False)
