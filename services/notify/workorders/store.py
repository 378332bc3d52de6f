"""Work orders in PostgreSQL; one and its event are one transaction."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.notify.v1.events_pb2 import WorkOrderClosed, WorkOrderOpened
from services.notify.timestamps import timestamp
from services.notify.workorders.domain import WorkOrder
from services.notify.workorders.usecases import WorkOrderPage

_COLUMNS = "w.id::text, w.kind, w.subject, w.title, w.assignee_id, w.opened_at, w.closed_at, w.closed_by, w.resolution"
# Whose work orders an actor sees: $1 is the scope, $2 the actor's own id.
_VISIBLE = """
($1 = 'all' OR w.assignee_id = $2 OR ($1 = 'team' AND w.assignee_id IN (
    SELECT mate.person_id FROM recipients mate WHERE mate.supervisor_id = $2
    OR mate.team_id = (SELECT me.team_id FROM recipients me WHERE me.person_id = $2 AND me.team_id <> ''))))
"""
_OPEN = """
INSERT INTO work_orders (id, kind, subject, title, assignee_id, cause, opened_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (cause) DO NOTHING
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM work_orders w WHERE {_VISIBLE}
  AND ($3 = '' OR (w.closed_at IS NULL) = ($3 = 'open')) AND ($4 = '' OR w.assignee_id = $4)
  AND ($5 = '' OR w.subject = $5) AND ($6::uuid IS NULL OR w.id < $6)
ORDER BY w.id DESC LIMIT $7
"""  # noqa: S608 (only constants of this module are put in)
_ONE = f"SELECT {_COLUMNS} FROM work_orders w WHERE w.id = $3 AND {_VISIBLE} FOR UPDATE"  # noqa: S608
_CLOSE = f"""
UPDATE work_orders w SET closed_at = $2, closed_by = $3, resolution = $4 WHERE w.id = $1 AND w.closed_at IS NULL
RETURNING {_COLUMNS}
"""  # noqa: S608


async def open_work_order(
    tx: Transaction, *, kind: str, subject: str, title: str, assignee_id: str, cause: str, now: datetime
) -> str | None:
    """Opens it and tells of it, once for each cause: its id, None where that cause had one."""
    id_ = uuid7()
    if await tx.execute(_OPEN, UUID(id_), kind, subject, title, assignee_id, cause, now) != "INSERT 0 1":
        return None
    event = WorkOrderOpened(
        work_order_id=id_, kind=kind, subject=subject, assignee_id=assignee_id, title=title, opened_at=timestamp(now)
    )
    await outbox.add(tx, [OutboxEvent.of(event, subject_id=id_, sequence=1, occurred_at=now)])
    return id_


class WorkOrderStore:
    """The work orders for requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, visible_to: Actor, state: str, assignee_id: str, subject: str, limit: int, cursor: str
    ) -> WorkOrderPage:
        """Newest first. Raises `InvalidRequestError` for a cursor that is not ours."""
        after = _cursor_id(cursor)
        async with self._database.read() as reader:
            rows = await reader.fetch(
                _PAGE, visible_to.scope.value, visible_to.sub, state, assignee_id, subject, after, limit + 1
            )
        rows, more = rows[:limit], len(rows) > limit
        next_cursor = base64.urlsafe_b64encode(UUID(rows[-1]["id"]).bytes).decode() if more else ""
        return WorkOrderPage(tuple(_order(row) for row in rows), next_cursor)

    async def close(
        self, visible_to: Actor, work_order_id: str, resolution: str, now: datetime
    ) -> tuple[WorkOrder | None, bool]:
        """The work order and whether this closed it; None when the actor may not see it."""
        try:
            id_ = UUID(work_order_id)
        except ValueError:
            return None, False
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(_ONE, visible_to.scope.value, visible_to.sub, id_)
            if row is None or row["closed_at"] is not None:
                return (_order(row) if row else None), False
            [row] = await tx.fetch(_CLOSE, id_, now, visible_to.sub, resolution)
            order = _order(row)
            event = WorkOrderClosed(
                work_order_id=order.id,
                kind=order.kind,
                subject=order.subject,
                assignee_id=order.assignee_id,
                closed_by=order.closed_by,
                resolution=order.resolution,
                closed_at=timestamp(now),
            )
            await outbox.add(tx, [OutboxEvent.of(event, subject_id=order.id, sequence=2, occurred_at=now)])
            return order, True


def _order(row: Record) -> WorkOrder:
    return WorkOrder(**dict(row))


def _cursor_id(cursor: str) -> UUID | None:
    if not cursor:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error) as error:
        raise InvalidRequestError("the cursor is not ours", errors=[FieldError("cursor", "unknown")]) from error
