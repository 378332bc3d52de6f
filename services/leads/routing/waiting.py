"""Leads that wait for somebody, in PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from asyncpg import Record

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from services.leads.intake.capture import Lead
from services.leads.intake.domain import facts_of
from services.leads.intake.reads import LEAD_COLUMNS, lead_from
from services.leads.routing import store as routing
from services.leads.routing.domain import NEW_CUSTOMER, Facts, Ledger, Priority
from services.leads.routing.rerouting import Rerouted, WaitingLead
from services.leads.routing.snapshot import Snapshot


class PostgresRerouteStore:
    """The `RerouteStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: routing.Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: routing.Snapshots) -> AsyncIterator["PostgresRerouteStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def take_waiting(self, snapshot: Snapshot, now: datetime, limit: int) -> list[WaitingLead]:
        # Two narrow searches, each with its index; then lead and customer are taken together or not at all.
        found = await self._tx.fetch(
            """
            (SELECT id FROM leads
             WHERE waiting AND stage IN ('new', 'contacted', 'qualified') AND routed_version < $1
             ORDER BY priority, id LIMIT $3)
            UNION ALL
            (SELECT id FROM leads
             WHERE owner_id = ANY($2::text[]) AND NOT waiting AND stage IN ('new', 'contacted', 'qualified')
                   AND routed_version < $1 LIMIT $3)
            """,
            snapshot.version,
            snapshot.directory.unable,
            limit,
        )
        if not found:
            return []
        locked = await self._tx.fetch(
            """
            SELECT l.id::text, l.sequence, l.priority, c.owner_id AS customer_owner_id
            FROM leads l JOIN customers c ON c.id = l.customer_id
            WHERE l.id = ANY($1::uuid[]) AND l.routed_version < $2 ORDER BY l.priority, l.id LIMIT $3
            FOR UPDATE SKIP LOCKED
            """,
            [row["id"] for row in found],
            snapshot.version,
            limit,
        )
        by_id = {row["id"]: row for row in locked}
        rows = await self._tx.fetch(
            f"SELECT {LEAD_COLUMNS} FROM leads WHERE id = ANY($1::uuid[]) ORDER BY id",  # noqa: S608 - a constant
            list(by_id),
        )
        histories: Mapping[str, Facts] = {}
        if snapshot.rules.asks_of_customer:
            customers = sorted({row["customer_id"] for row in rows})
            histories = await routing.read_histories(self._tx, customers, now)
        return [_waiting(lead_from(row), by_id[row["id"]], histories) for row in rows]

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
        return await self._snapshots.with_ledger(self._tx)

    async def write(self, rerouted: Rerouted) -> None:
        version = rerouted.snapshot.version
        await self._tx.execute(
            "UPDATE leads SET routed_version = $2 WHERE id = ANY($1::uuid[])", rerouted.seen, version
        )
        await routing.move_leads(self._tx, rerouted.assignments, version)
        await routing.move_customers(self._tx, rerouted.assignments)
        await outbox.add(self._tx, await routing.keep_decisions(self._tx, rerouted.assignments, rerouted.ledger))


def _waiting(lead: Lead, row: Record, histories: Mapping[str, Facts]) -> WaitingLead:
    return WaitingLead(
        id=lead.id,
        customer_id=lead.customer_id,
        customer_owner_id=row["customer_owner_id"],
        owner_id=lead.owner_id,
        sequence=row["sequence"],
        priority=Priority(row["priority"] or Priority.P3),
        facts={**facts_of(lead.draft), **histories.get(lead.customer_id, NEW_CUSTOMER)},
        lead_name=lead.draft.name,
        company=lead.draft.company,
        source=lead.draft.source,
    )
