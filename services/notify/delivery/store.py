"""Notifications in PostgreSQL: a message, its in-app attempt, what has to leave of it and its event are one transaction."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor, Scope
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.notify.v1.events_pb2 import NotificationDelivered
from services.notify.channels.domain import LANGUAGES
from services.notify.delivery.domain import (
    Attempt,
    AttemptState,
    Message,
    Notification,
    Outgoing,
    OutgoingState,
    Severity,
)
from services.notify.delivery.notices import Notice
from services.notify.delivery.usecases import Page, Query, Recipient
from services.notify.digests.domain import Holding
from services.notify.templates.domain import Wordbook
from services.notify.templates.store import wordbook_of
from services.notify.timestamps import timestamp

IN_APP = "in_app"
WOKEN: Final = "outgoing"
"""Announced when something may leave at once."""

_ADD = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::text[])
        AS g (id, recipient_id, kind, title, body, subject, batch, severity, dedup_key)
), added AS (
    INSERT INTO notifications (id, recipient_id, kind, title, body, subject, batch, severity, dedup_key, created_at)
    SELECT g.id, g.recipient_id, g.kind, g.title, g.body, g.subject, g.batch, g.severity, g.dedup_key, $10 FROM given g
    ON CONFLICT (dedup_key) DO NOTHING
    RETURNING id, dedup_key
), attempted AS (
    INSERT INTO attempts (notification_id, channel, state, at, detail)
    SELECT id, $11, 'delivered', $10, '' FROM added
)
SELECT dedup_key FROM added
"""

_COLUMNS = (
    "n.id, n.recipient_id, n.kind, n.title, n.body, n.subject, n.severity, n.created_at, n.read_at, n.batch, "
    "(SELECT o.state FROM outgoing o WHERE o.notification_id = n.id) AS outgoing_state, "
    "(SELECT o.due_at FROM outgoing o WHERE o.notification_id = n.id) AS outgoing_due_at"
)

# Whose inboxes an actor sees: $1 is the scope, $2 the actor's own id. A team's is that of all in it, and of whom one supervises.
_VISIBLE = """
($1 = 'all' OR n.recipient_id = $2 OR ($1 = 'team' AND n.recipient_id IN (
    SELECT mate.person_id FROM recipients mate WHERE mate.supervisor_id = $2
    OR mate.team_id = (SELECT me.team_id FROM recipients me WHERE me.person_id = $2 AND me.team_id <> ''))))
"""

_PAGE = f"""
SELECT {_COLUMNS} FROM notifications n
WHERE {_VISIBLE}
  AND ($3 = '' OR n.recipient_id = $3) AND ($4 = '' OR n.kind = $4) AND (NOT $5 OR n.read_at IS NULL)
  AND ($6::uuid IS NULL OR n.id < $6)
  AND ($8 = '' OR n.subject = $8) AND ($9 = '' OR n.title ILIKE $9 OR n.body ILIKE $9) AND ($10 = '' OR n.batch = $10)
  AND ($11 = '' OR EXISTS (SELECT FROM outgoing o WHERE o.notification_id = n.id AND o.state = $11))
  AND ($12::timestamptz IS NULL OR n.created_at >= $12) AND ($13::timestamptz IS NULL OR n.created_at < $13)
ORDER BY n.id DESC LIMIT $7
"""  # noqa: S608 (only constants of this module are put in)

_MARK_READ = f"""
UPDATE notifications n SET read_at = CASE WHEN n.recipient_id = $2 THEN coalesce(n.read_at, $4) ELSE n.read_at END
WHERE n.id = $3 AND {_VISIBLE} RETURNING {_COLUMNS}
"""  # noqa: S608

_RECIPIENT = """
INSERT INTO recipients (person_id, name, team_id, supervisor_id, active, sequence, email)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (person_id) DO UPDATE SET name = excluded.name, team_id = excluded.team_id, email = excluded.email,
    supervisor_id = excluded.supervisor_id, active = excluded.active, sequence = excluded.sequence
WHERE excluded.sequence > recipients.sequence
"""

_LANGUAGES = "SELECT person_id, language FROM preferences WHERE person_id = ANY($1::text[]) AND language <> 'zh'"
_LEAVE = """
INSERT INTO outgoing (notification_id, person_id, urgency, batch, state, due_at)
SELECT id, person_id, urgency, batch, 'waiting', CASE WHEN batch = '' THEN $5 ELSE 'infinity'::timestamptz END
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[]) AS given (id, person_id, urgency, batch)
"""
_HOLD = """
INSERT INTO batches (batch, started_at, ended, due_at) VALUES ($1, $2, false, $3)
ON CONFLICT (batch) DO UPDATE SET due_at = CASE WHEN batches.ended THEN $4 ELSE coalesce(batches.due_at, $3) END
"""
_END_BATCH = """
INSERT INTO batches (batch, started_at, ended, due_at) VALUES ($1, $2, true, NULL)
ON CONFLICT (batch) DO UPDATE SET ended = true, due_at = CASE WHEN batches.due_at IS NOT NULL THEN $3::timestamptz END
"""
_RESEND = """
UPDATE outgoing SET state = 'waiting', due_at = $2, round = 0, failed = '{}', refused = '{}'
WHERE notification_id = $1 AND state IN ('ended', 'unknown')
"""
_SEEN = f"SELECT {_COLUMNS} FROM notifications n WHERE n.id = $3 AND {_VISIBLE}"  # noqa: S608
_URGENCY: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True)
class Posting:
    """How notifications come to their words, and whether they leave."""

    words: Wordbook
    """Those that came with the service."""
    holding: Holding = field(default_factory=Holding)
    leaves: bool = False
    """Whether there is any channel beyond the inbox."""


class TransactionInboxes:
    """The inboxes seen from within one transaction, such as that of an event."""

    def __init__(self, tx: Transaction, posting: Posting) -> None:
        self._tx = tx
        self._posting = posting

    async def tell(self, notices: Sequence[Notice], now: datetime) -> None:
        """Stores each notice once, in its recipient's language."""
        if not notices:
            return
        people = list({notice.recipient_id for notice in notices})
        languages = {row["person_id"]: row["language"] for row in await self._tx.fetch(_LANGUAGES, people)}
        words = await wordbook_of(self._tx, self._posting.words)
        messages = []
        for each in notices:
            title, body = words.render(each.template, languages.get(each.recipient_id, LANGUAGES[0]), each.values)
            messages.append(
                Message(
                    each.recipient_id, each.kind, title, body, each.subject, each.dedup_key, each.severity, each.batch
                )
            )
        await self.add(messages, now)

    async def end_batch(self, batch: str, now: datetime) -> None:
        """What belongs together is complete, but for what was overtaken."""
        if self._posting.leaves:
            await self._tx.execute(_END_BATCH, batch, now, now + self._posting.holding.quiet)

    async def add(self, messages: Sequence[Message], now: datetime) -> list[tuple[Notification, bool]]:
        """Stores each message once; True beside it marks one that was there."""
        first_of: dict[str, Message] = {}
        for message in messages:
            first_of.setdefault(message.dedup_key, message)
        given = [(uuid7(), message) for message in first_of.values()]
        added = await self._tx.fetch(
            _ADD,
            [UUID(notification_id) for notification_id, _ in given],
            *(
                [getattr(message, column) for _, message in given]
                for column in ("recipient_id", "kind", "title", "body", "subject", "batch")
            ),
            [message.severity.value for _, message in given],
            [message.dedup_key for _, message in given],
            now,
            IN_APP,
        )
        new_keys = {row["dedup_key"] for row in added}
        new = {message.dedup_key: _as_new(id_, message, now) for id_, message in given if message.dedup_key in new_keys}
        if new:
            await outbox.add(self._tx, [_delivered(notification) for notification in new.values()])
            if self._posting.leaves:
                await self._leave(list(new.values()), now)
        known = await self._known([key for key in first_of if key not in new])
        return [
            (new[message.dedup_key], False) if message.dedup_key in new else (known[message.dedup_key], True)
            for message in messages
        ]

    async def name(self, person_id: str) -> str:
        """What the person is called; empty where no event said so."""
        return await self._tx.fetchval("SELECT name FROM recipients WHERE person_id = $1", person_id) or ""

    async def learn(self, recipient: Recipient, sequence: int) -> None:
        """Keeps what an event says of a person unless a later one was seen."""
        await self._tx.execute(
            _RECIPIENT,
            recipient.person_id,
            recipient.name,
            recipient.team_id,
            recipient.supervisor_id,
            recipient.active,
            sequence,
            recipient.email,
        )

    async def _leave(self, notifications: Sequence[Notification], now: datetime) -> None:
        await self._tx.execute(
            _LEAVE,
            [UUID(each.id) for each in notifications],
            [each.recipient_id for each in notifications],
            [_URGENCY[each.severity] for each in notifications],
            [each.batch for each in notifications],
            now,
        )
        holding = self._posting.holding
        # In order: two replicas that hold the same batches wait for each other, and never in a circle.
        for batch in sorted({each.batch for each in notifications if each.batch}):
            await self._tx.execute(_HOLD, batch, now, now + holding.held_max, now + holding.quiet)
        if any(not each.batch for each in notifications):
            self._tx.announce(WOKEN)

    async def _known(self, keys: Sequence[str]) -> dict[str, Notification]:
        if not keys:
            return {}
        sql = f"SELECT n.dedup_key, {_COLUMNS} FROM notifications n WHERE n.dedup_key = ANY($1::text[])"  # noqa: S608
        rows = await self._tx.fetch(sql, list(keys))
        attempts = await _attempts(self._tx, [row["id"] for row in rows])
        return {row["dedup_key"]: _notification(row, attempts) for row in rows}


class InboxStore:
    """The inboxes for requests: each verb is a transaction or a read of its own."""

    def __init__(self, database: Database, posting: Posting) -> None:
        self._database = database
        self._posting = posting

    async def add(self, messages: Sequence[Message], now: datetime) -> list[tuple[Notification, bool]]:
        """As `TransactionInboxes.add`, in a transaction of its own."""
        async with self._database.transaction() as tx:
            return await TransactionInboxes(tx, self._posting).add(messages, now)

    async def page(self, visible_to: Actor, query: Query, limit: int, cursor: str) -> Page:
        """A page, newest first. Raises `InvalidRequestError` for a cursor that is not ours."""
        after = _cursor_id(cursor)
        async with self._database.read() as reader:
            rows = await reader.fetch(
                _PAGE,
                *_view(visible_to),
                query.recipient_id,
                query.kind,
                query.unread_only,
                after,
                limit + 1,
                query.subject,
                _pattern(query.text),
                query.batch,
                query.state,
                query.since,
                query.until,
            )
            rows, more = rows[:limit], len(rows) > limit
            attempts = await _attempts(reader, [row["id"] for row in rows])
        next_cursor = base64.urlsafe_b64encode(rows[-1]["id"].bytes).decode() if more else ""
        return Page(tuple(_notification(row, attempts) for row in rows), next_cursor)

    async def mark_read(self, visible_to: Actor, notification_id: str, now: datetime) -> Notification | None:
        """The notification, read where it is the actor's; None when the actor may not see it."""
        try:
            id_ = UUID(notification_id)
        except ValueError:
            return None
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_MARK_READ, *_view(visible_to), id_, now)
            return _notification(row, await _attempts(tx, [row["id"]])) if row else None

    async def resend(self, visible_to: Actor, notification_id: str, now: datetime) -> tuple[Notification | None, bool]:
        """The notification and whether it leaves anew; None when the actor may not see it."""
        try:
            id_ = UUID(notification_id)
        except ValueError:
            return None, False
        async with self._database.transaction() as tx:
            if await tx.fetchrow(_SEEN, *_view(visible_to), id_) is None:
                return None, False
            leaves = await tx.execute(_RESEND, id_, now) == "UPDATE 1"
            tx.announce(WOKEN)
            row = await tx.fetchrow(_SEEN, *_view(visible_to), id_)
            return (_notification(row, await _attempts(tx, [id_])) if row else None), leaves


def _pattern(text: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"%{escaped}%" if text else ""


def _view(actor: Actor) -> tuple[str, str]:
    return (Scope.ALL.value if actor.scope is Scope.ALL else actor.scope.value, actor.sub)


def _cursor_id(cursor: str) -> UUID | None:
    if not cursor:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error) as error:
        raise InvalidRequestError("the cursor is not ours", errors=[FieldError("cursor", "unknown")]) from error


async def _attempts(reader: Reader, ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    found: dict[UUID, list[Attempt]] = {}
    if not ids:
        return found
    sql = "SELECT notification_id, channel, state, at, detail FROM attempts WHERE notification_id = ANY($1) ORDER BY at"
    for row in await reader.fetch(sql, list(ids)):
        attempt = Attempt(row["channel"], AttemptState(row["state"]), row["at"], row["detail"])
        found.setdefault(row["notification_id"], []).append(attempt)
    return found


def _as_new(notification_id: str, message: Message, now: datetime) -> Notification:
    return Notification(
        id=notification_id,
        recipient_id=message.recipient_id,
        kind=message.kind,
        title=message.title,
        body=message.body,
        subject=message.subject,
        severity=message.severity,
        created_at=now,
        attempts=(Attempt(IN_APP, AttemptState.DELIVERED, now),),
        batch=message.batch,
    )


def _notification(row: Record, attempts: dict[UUID, list[Attempt]]) -> Notification:
    return Notification(
        id=str(row["id"]),
        recipient_id=row["recipient_id"],
        kind=row["kind"],
        title=row["title"],
        body=row["body"],
        subject=row["subject"],
        severity=Severity(row["severity"]),
        created_at=row["created_at"],
        read_at=row["read_at"],
        attempts=tuple(attempts.get(row["id"], ())),
        batch=row["batch"],
        outgoing=Outgoing(OutgoingState(row["outgoing_state"]), row["outgoing_due_at"])
        if row["outgoing_state"]
        else None,
    )


def _delivered(notification: Notification) -> OutboxEvent:
    event = NotificationDelivered(
        notification_id=notification.id,
        recipient_id=notification.recipient_id,
        kind=notification.kind,
        channel=IN_APP,
        delivered_at=timestamp(notification.created_at),
    )
    return OutboxEvent.of(
        event, subject_id=notification.id, sequence=1, occurred_at=notification.created_at, urgent=False
    )
