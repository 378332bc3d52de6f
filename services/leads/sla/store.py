"""First-touch timers in PostgreSQL: taken by one worker each, however many there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadOverdue
from services.leads.routing import store as routing
from services.leads.routing.domain import Ledger, Priority
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
from services.leads.sla.timers import stop_timers
from services.leads.sla.usecases import DueTimer, FiredTimers, Overdue
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
            """
            SELECT t.lead_id::text, t.stage, t.due_at, t.started_at, l.customer_id::text, l.owner_id, l.priority,
                   l.sequence, l.name AS lead_name, l.company, l.source
            FROM first_touch_timers t JOIN leads l ON l.id = t.lead_id JOIN customers c ON c.id = l.customer_id
            WHERE t.due_at <= $1 ORDER BY t.due_at LIMIT $2
            FOR UPDATE SKIP LOCKED
            """,
            now,
            limit,
        )
        return [DueTimer(**{**row, "priority": Priority(row["priority"])}) for row in rows]

    async def lock_ledger(self) -> Ledger:
        return await routing.lock_ledger(self._tx)

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
            jsonb((each.timer.lead_id, each.next_due_at) for each in fired.overdue),
        )
        await stop_timers(self._tx, [each.timer.lead_id for each in fired.overdue if each.next_due_at is None])
        events = [_overdue(each, fired.now) for each in fired.overdue]
        transfers = [each.transfer for each in fired.overdue if each.transfer is not None]
        if fired.ledger is not None:
            await routing.move_leads(self._tx, transfers, fired.snapshot.version)
            await routing.move_customers(self._tx, transfers)
            events.extend(await routing.keep_decisions(self._tx, transfers, fired.ledger))
        await outbox.add(self._tx, events)


def _overdue(each: Overdue, now: datetime) -> OutboxEvent:
    timer = each.timer
    event = LeadOverdue(
        lead_id=timer.lead_id,
        customer_id=timer.customer_id,
        owner_id=timer.owner_id,
        stage=timer.stage,
        supervisor_id=each.supervisor_id,
        due_at=timestamp(timer.due_at),
    )
    return OutboxEvent.of(event, subject_id=timer.lead_id, sequence=timer.sequence + 1, occurred_at=now)
