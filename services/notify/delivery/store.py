"""Notifications in PostgreSQL: a message, its in-app attempt and its event are one transaction."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Record
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor, Scope
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.notify.v1.events_pb2 import NotificationDelivered
from services.notify.delivery.domain import Attempt, AttemptState, Message, Notification, Severity
from services.notify.delivery.usecases import Page, Query, Recipient

IN_APP = "in_app"

_ADD = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
        AS g (id, recipient_id, kind, title, body, subject, severity, dedup_key)
), added AS (
    INSERT INTO notifications (id, recipient_id, kind, title, body, subject, severity, dedup_key, created_at)
    SELECT g.id, g.recipient_id, g.kind, g.title, g.body, g.subject, g.severity, g.dedup_key, $9 FROM given g
    ON CONFLICT (dedup_key) DO NOTHING
    RETURNING id, dedup_key
), attempted AS (
    INSERT INTO attempts (notification_id, channel, state, at, detail)
    SELECT id, $10, 'delivered', $9, '' FROM added
)
SELECT dedup_key FROM added
"""

_COLUMNS = "n.id, n.recipient_id, n.kind, n.title, n.body, n.subject, n.severity, n.created_at, n.read_at"

# Whose inboxes an actor sees: $1 is the scope, $2 the actor's own id.
_VISIBLE = """
($1 = 'all' OR n.recipient_id = $2 OR ($1 = 'team' AND n.recipient_id IN (
    SELECT mate.person_id FROM recipients me JOIN recipients mate ON mate.team_id = me.team_id
    WHERE me.person_id = $2 AND me.team_id <> '')))
"""

_PAGE = f"""
SELECT {_COLUMNS} FROM notifications n
WHERE {_VISIBLE}
  AND ($3 = '' OR n.recipient_id = $3) AND ($4 = '' OR n.kind = $4) AND (NOT $5 OR n.read_at IS NULL)
  AND ($6::uuid IS NULL OR n.id < $6)
ORDER BY n.id DESC LIMIT $7
"""  # noqa: S608 (only constants of this module are put in)

_MARK_READ = f"""
UPDATE notifications n SET read_at = coalesce(n.read_at, $4) WHERE n.id = $3 AND {_VISIBLE} RETURNING {_COLUMNS}
"""  # noqa: S608

_RECIPIENT = """
INSERT INTO recipients (person_id, name, team_id, supervisor_id, active, sequence) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (person_id) DO UPDATE SET name = excluded.name, team_id = excluded.team_id,
    supervisor_id = excluded.supervisor_id, active = excluded.active, sequence = excluded.sequence
WHERE excluded.sequence > recipients.sequence
"""


class TransactionInboxes:
    """The inboxes seen from within one transaction, such as that of an event."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, messages: Sequence[Message], now: datetime) -> list[tuple[Notification, bool]]:
        """Stores each message once; True beside it marks one that was there."""
        first_of = {message.dedup_key: message for message in reversed(messages)}
        given = [(uuid7(), message) for message in first_of.values()]
        added = await self._tx.fetch(
            _ADD,
            [UUID(notification_id) for notification_id, _ in given],
            *(
                [getattr(message, column) for _, message in given]
                for column in ("recipient_id", "kind", "title", "body", "subject")
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
        known = await self._known([key for key in first_of if key not in new])
        return [
            (new[message.dedup_key], False) if message.dedup_key in new else (known[message.dedup_key], True)
            for message in messages
        ]

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
        )

    async def _known(self, keys: Sequence[str]) -> dict[str, Notification]:
        if not keys:
            return {}
        sql = f"SELECT n.dedup_key, {_COLUMNS} FROM notifications n WHERE n.dedup_key = ANY($1::text[])"  # noqa: S608
        rows = await self._tx.fetch(sql, list(keys))
        attempts = await _attempts(self._tx, [row["id"] for row in rows])
        return {row["dedup_key"]: _notification(row, attempts) for row in rows}


class InboxStore:
    """The inboxes for requests: each verb is a transaction or a read of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, messages: Sequence[Message], now: datetime) -> list[tuple[Notification, bool]]:
        """As `TransactionInboxes.add`, in a transaction of its own."""
        async with self._database.transaction() as tx:
            return await TransactionInboxes(tx).add(messages, now)

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
            )
            rows, more = rows[:limit], len(rows) > limit
            attempts = await _attempts(reader, [row["id"] for row in rows])
        next_cursor = base64.urlsafe_b64encode(rows[-1]["id"].bytes).decode() if more else ""
        return Page(tuple(_notification(row, attempts) for row in rows), next_cursor)

    async def mark_read(self, visible_to: Actor, notification_id: str, now: datetime) -> Notification | None:
        """The notification, read; None when the actor may not see it."""
        try:
            id_ = UUID(notification_id)
        except ValueError:
            return None
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_MARK_READ, *_view(visible_to), id_, now)
            return _notification(row, await _attempts(tx, [row["id"]])) if row else None


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
    )


def _delivered(notification: Notification) -> OutboxEvent:
    at = Timestamp()
    at.FromDatetime(notification.created_at)
    event = NotificationDelivered(
        notification_id=notification.id,
        recipient_id=notification.recipient_id,
        kind=notification.kind,
        channel=IN_APP,
        delivered_at=at,
    )
    return OutboxEvent.of(
        event, subject_id=notification.id, sequence=1, occurred_at=notification.created_at, urgent=False
    )
