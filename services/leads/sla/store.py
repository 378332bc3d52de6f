"""First-touch timers in PostgreSQL: taken by one worker each, however many there are."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadOverdue
from services.leads.routing import store as routing
from services.leads.routing.domain import Ledger, Priority
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
from services.leads.sla.timers import stop_timers
from services.leads.sla.usecases import DueTimer, FiredTimers, Overdue, OwnedLead
from services.leads.timestamps import timestamp


class PostgresTimerStore:
    """The `TimerStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: routing.Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: routing.Snapshots) -> AsyncIterator["PostgresTimerStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def take_due(self, now: datetime, limit: int) -> list[DueTimer]:
        # Timer, lead and customer are taken together or not at all: whoever claims or captures meanwhile goes first.
        rows = await self._tx.fetch(
            f"""
            SELECT {_OWNED_LEAD}, t.stage, t.due_at, t.started_at
            FROM first_touch_timers t JOIN leads l ON l.id = t.lead_id JOIN customers c ON c.id = l.customer_id
            WHERE t.due_at <= $1 ORDER BY t.due_at LIMIT $2
            FOR UPDATE SKIP LOCKED
            """,  # noqa: S608 - a constant
            now,
            limit,
        )
        return [DueTimer(_owned(row), row["stage"], row["due_at"], row["started_at"]) for row in rows]

    async def lock_siblings(self, leads: Sequence[OwnedLead]) -> list[OwnedLead]:
        rows = await self._tx.fetch(
            f"""
            SELECT {_OWNED_LEAD} FROM leads l
            WHERE l.customer_id = ANY($1::uuid[]) AND l.id <> ALL($2::uuid[]) AND l.owner_id IS NOT NULL
                  AND l.stage IN ('new', 'contacted', 'qualified')
            ORDER BY l.id FOR UPDATE
            """,  # noqa: S608 - a constant
            [lead.customer_id for lead in leads],
            [lead.id for lead in leads],
        )
        return [_owned(row) for row in rows]

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
        return await self._snapshots.with_ledger(self._tx)

    async def write(self, fired: FiredTimers) -> None:
        await self._tx.execute(
            """
            WITH reminded AS (
                UPDATE first_touch_timers SET stage = 2, due_at = (x->>1)::timestamptz
                FROM jsonb_array_elements($1::jsonb) AS x
                WHERE first_touch_timers.lead_id = (x->>0)::uuid AND x->>1 IS NOT NULL
            )
            UPDATE leads SET sequence = sequence + 1
            FROM jsonb_array_elements($1::jsonb) AS x WHERE leads.id = (x->>0)::uuid
            """,
            jsonb((each.timer.lead.id, each.next_due_at) for each in fired.overdue),
        )
        await stop_timers(self._tx, [each.timer.lead.id for each in fired.overdue if each.next_due_at is None])
        events = [_overdue(each, fired.now) for each in fired.overdue]
        if fired.ledger is not None:
            await routing.move_leads(self._tx, fired.transfers, fired.snapshot.version)
            await routing.move_customers(self._tx, fired.transfers)
            events.extend(await routing.keep_decisions(self._tx, fired.transfers, fired.ledger))
        await outbox.add(self._tx, events)


_OWNED_LEAD = "l.id::text, l.customer_id::text, l.owner_id, l.priority, l.sequence, l.name, l.company, l.source"


def _owned(row: Record) -> OwnedLead:
    values: dict[str, Any] = {**row, "priority": Priority(row["priority"])}
    return OwnedLead(**{name: values[name] for name in OwnedLead.__slots__})


def _overdue(each: Overdue, now: datetime) -> OutboxEvent:
    timer, lead = each.timer, each.timer.lead
    event = LeadOverdue(
        lead_id=lead.id,
        customer_id=lead.customer_id,
        owner_id=lead.owner_id,
        stage=timer.stage,
        supervisor_id=each.supervisor_id,
        due_at=timestamp(timer.due_at),
    )
    return OutboxEvent.of(event, subject_id=lead.id, sequence=lead.sequence + 1, occurred_at=now)
