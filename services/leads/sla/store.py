"""First-touch timers in PostgreSQL: taken by one worker each, however many there are."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadDueSoon, LeadOverdue
from services.leads.followups.steps import Step, keep_steps
from services.leads.routing import store as routing
from services.leads.routing.domain import Ledger, Priority
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
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
        # Lead, customer and timer are taken together or not at all: whoever claims or captures meanwhile goes first. Locked in
        # this order, as everybody locks them.
        rows = await self._tx.fetch(
            f"""
            SELECT {_OWNED_LEAD}, t.stage, t.due_at, t.remind_at, t.started_at, t.used_ms
            FROM leads l JOIN customers c ON c.id = l.customer_id JOIN first_touch_timers t ON t.lead_id = l.id
            WHERE t.paused_at IS NULL AND coalesce(t.remind_at, t.due_at) <= $1
            ORDER BY coalesce(t.remind_at, t.due_at) LIMIT $2
            FOR UPDATE SKIP LOCKED
            """,  # noqa: S608 - a constant
            now,
            limit,
        )
        return [_due(row) for row in rows]

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
        moved = [
            (each.timer.lead.id, each.next_due.at, each.next_due.remind_at, 2)
            for each in fired.overdue
            if each.next_due
        ]
        reminded = [(timer.lead.id, timer.due_at, None, timer.stage) for timer in fired.due_soon]
        ended = [each.timer.lead.id for each in fired.overdue if each.next_due is None]
        await self._tx.execute(
            """
            WITH kept AS (
                UPDATE first_touch_timers
                SET due_at = (x->>1)::timestamptz, remind_at = (x->>2)::timestamptz, stage = (x->>3)::smallint
                FROM jsonb_array_elements($1::jsonb) AS x WHERE first_touch_timers.lead_id = (x->>0)::uuid
            ), ended AS (
                DELETE FROM first_touch_timers WHERE lead_id = ANY($2::uuid[])
            )
            UPDATE leads SET sequence = sequence + 1
            WHERE id = ANY($2::uuid[] || ARRAY(SELECT (x->>0)::uuid FROM jsonb_array_elements($1::jsonb) AS x))
            """,
            jsonb([*moved, *reminded]),
            ended,
        )
        await keep_steps(self._tx, [_late(each) for each in fired.overdue], fired.now)
        events = [_due_soon(timer, fired.now) for timer in fired.due_soon]
        events.extend(_overdue(each, fired.now) for each in fired.overdue)
        if fired.ledger is not None:
            await routing.move_leads(self._tx, fired.transfers, fired.snapshot.version)
            await routing.move_customers(self._tx, fired.transfers)
            events.extend(await routing.keep_decisions(self._tx, fired.transfers, fired.ledger))
        await outbox.add(self._tx, events)


_OWNED_LEAD = "l.id::text, l.customer_id::text, l.owner_id, l.priority, l.sequence, l.name, l.company, l.source"


def _owned(row: Record) -> OwnedLead:
    values: dict[str, Any] = {**row, "priority": Priority(row["priority"])}
    return OwnedLead(**{name: values[name] for name in OwnedLead.__slots__})


def _due(row: Record) -> DueTimer:
    return DueTimer(
        lead=_owned(row),
        stage=row["stage"],
        due_at=row["due_at"],
        remind_at=row["remind_at"],
        started_at=row["started_at"],
        used=timedelta(milliseconds=row["used_ms"]),
    )


def _due_soon(timer: DueTimer, now: datetime) -> OutboxEvent:
    lead = timer.lead
    event = LeadDueSoon(
        lead_id=lead.id,
        customer_id=lead.customer_id,
        owner_id=lead.owner_id,
        stage=timer.stage,
        due_at=timestamp(timer.due_at),
        lead_name=lead.name,
        company=lead.company,
    )
    return OutboxEvent.of(event, subject_id=lead.id, sequence=lead.sequence + 1, occurred_at=now)


def _late(each: Overdue) -> Step:
    lead = each.timer.lead
    return Step(lead.id, "overdue", lead.owner_id, reason="超时未领取" if each.timer.stage == 1 else "超时未处理")


def _overdue(each: Overdue, now: datetime) -> OutboxEvent:
    timer, lead = each.timer, each.timer.lead
    event = LeadOverdue(
        lead_id=lead.id,
        customer_id=lead.customer_id,
        owner_id=lead.owner_id,
        stage=timer.stage,
        supervisor_id=each.supervisor_id,
        due_at=timestamp(timer.due_at),
        lead_name=lead.name,
        company=lead.company,
    )
    return OutboxEvent.of(event, subject_id=lead.id, sequence=lead.sequence + 1, occurred_at=now)
