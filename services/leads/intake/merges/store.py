"""Merges in PostgreSQL. Locks are taken in the order of a capture: keys, customers, leads, workloads."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

import orjson
from asyncpg import Record

from breakwater.chassis import idempotency, outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import ConflictError
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import CustomerMerged, CustomerMergeUndone
from services.leads.idempotence import Keyed
from services.leads.intake.changes.store import attribute
from services.leads.intake.customers import Identity, strong_keys
from services.leads.intake.domain import OPEN_STAGES, Stage, is_id
from services.leads.intake.merges.domain import FIELDS, Merge, Moved, OwnedLead, Present, Side
from services.leads.intake.merges.usecases import Effect, Pair
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import keyed_request
from services.leads.routing import store as routing
from services.leads.routing.domain import Ledger
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb

MOVED_TABLES: Final = ("leads", "follow_ups", "activities", "opportunities", "invoices")
"""Tables whose rows are a customer's, each with `id` and `customer_id`; a test holds this to the schema."""


class PostgresMergeStore(PostgresLeadReader):
    """The `MergeStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        super().__init__(tx, snapshots)
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresMergeStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def first_answer(self, request: Keyed) -> bytes | None:
        return await idempotency.replay(self._tx, keyed_request(request))

    async def keep_answer(self, request: Keyed, content: bytes) -> None:
        await idempotency.store(self._tx, keyed_request(request), content)

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
        return await self._snapshots.with_ledger(self._tx)

    # ---- merging ----

    async def lock_pair(self, kept_id: str, merged_id: str) -> Pair | None:
        if not is_id(kept_id) or not is_id(merged_id):
            return None
        both = [kept_id, merged_id]
        of_both = "SELECT key, customer_id::text FROM customer_keys WHERE customer_id = ANY($1::uuid[]) ORDER BY key"
        locked = await self._tx.fetch(f"{of_both} FOR UPDATE", both)
        sides = await self._lock_sides(both)
        if len(sides) < len(both):
            return None
        leads = await self._lock_leads("l.customer_id = ANY($1::uuid[])", both)
        if await self._tx.fetch(of_both, both) != locked:
            # A key came while its customer was not locked yet; to wait for it now could be to wait in a ring.
            raise ConflictError("Something comes to these customers at this moment.", code="transaction_conflict")
        return Pair(
            sides[kept_id],
            sides[merged_id],
            tuple(leads),
            tuple(row["key"] for row in locked if row["customer_id"] == merged_id),
        )

    async def rows_of(self, customer_id: str) -> dict[str, tuple[str, ...]]:
        return {table: tuple(await self._ids(table, customer_id)) for table in MOVED_TABLES}

    async def write_merge(self, merge: Merge, effect: Effect) -> None:
        await attribute(self._tx, merge.by, f"合并 {merge.id}：{merge.reason}")
        moved = merge.moved
        await self._set_fields(merge.kept_id, {name: after for name, (_, after) in moved.fields.items()}, merge)
        await self._tx.execute(
            "UPDATE customers SET merged_into = $2, updated_at = $3 WHERE id = $1",
            *(merge.merged_id, merge.kept_id, merge.at),
        )
        await self._hand_over(moved, merge.kept_id)
        await routing.move_leads(self._tx, effect.assignments, effect.snapshot.version)
        events = await routing.keep_decisions(self._tx, effect.assignments, effect.ledger)
        await self._tx.execute("DELETE FROM likenesses WHERE customer_id = $1", merge.merged_id)
        await self._decide_pair(merge, "merged")
        await self._tx.execute(
            """
            INSERT INTO merges (id, kept_id, merged_id, merged_by, reason, merged_at, moved)
            VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)
            """,
            *(merge.id, merge.kept_id, merge.merged_id, merge.by, merge.reason, merge.at, jsonb(asdict(moved))),
        )
        event = CustomerMerged(
            merge_id=merge.id, kept_id=merge.kept_id, merged_id=merge.merged_id, by=merge.by, reason=merge.reason
        )
        events.append(OutboxEvent.of(event, subject_id=merge.id, sequence=1, occurred_at=merge.at))
        await outbox.add(self._tx, events)

    # ---- undoing ----

    async def merge(self, merge_id: str) -> Merge | None:
        if not is_id(merge_id):
            return None
        row = await self._tx.fetchrow("SELECT * FROM merges WHERE id = $1 FOR UPDATE", merge_id)
        return _merge(row) if row else None

    async def merges_of(self, customer_id: str) -> list[Merge]:
        rows = await self._tx.fetch(
            "SELECT * FROM merges WHERE kept_id = $1 OR merged_id = $1 ORDER BY id", customer_id
        )
        return [_merge(row) for row in rows]

    async def lock_present(self, merge: Merge) -> Present:
        keys = await self._tx.fetch(
            "SELECT key, customer_id::text FROM customer_keys WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE",
            merge.moved.keys,
        )
        sides = await self._lock_sides([merge.kept_id, merge.merged_id])
        passed_on = await self._lock_leads("l.id = ANY($1::uuid[])", [lead.id for lead in merge.moved.leads])
        worked_on = await self._tx.fetch(
            """
            SELECT id::text FROM leads l WHERE id = ANY($1::uuid[]) AND (claimed_at IS NOT NULL OR EXISTS (
                SELECT FROM follow_ups f WHERE f.lead_id = l.id AND f.created_at >= $2 AND f.id > $3
            ))
            """,
            *([lead.id for lead in passed_on], merge.at, merge.id),
        )
        later_merges = await self._tx.fetch(
            "SELECT id::text FROM merges WHERE kept_id = $1 AND id > $2 AND undone_at IS NULL ORDER BY id",
            *(merge.kept_id, merge.id),
        )
        later_leads = await self._tx.fetch(
            """
            SELECT id::text, name, company, phone, email, coalesce(external_id, '') AS external_id FROM leads
            WHERE customer_id = $1 AND captured_at >= $2 AND id <> ALL($3::uuid[]) AND id > $4 ORDER BY id
            """,
            *(merge.kept_id, merge.at, merge.moved.rows["leads"], merge.id),
        )
        return Present(
            kept=sides[merge.kept_id],
            merged=sides[merge.merged_id],
            keys=dict((row["key"], row["customer_id"]) for row in keys),  # noqa: C402 - records are no pairs
            rows={table: set(await self._ids(table, merge.kept_id)) for table in MOVED_TABLES},
            leads={lead.id: lead for lead in passed_on},
            worked_on={row["id"] for row in worked_on},
            later_merges=tuple(row["id"] for row in later_merges),
            later_leads={row["id"]: _keys_of(row) for row in later_leads},
        )

    async def write_undo(self, merge: Merge, present: Present, effect: Effect) -> None:
        await attribute(self._tx, merge.undone_by, f"撤销合并 {merge.id}")
        moved = merge.moved
        await self._set_fields(merge.kept_id, {name: before for name, (before, _) in moved.fields.items()}, merge)
        # One customer, one owner (116): whom its open leads were given to since has the customer too.
        await self._tx.execute(
            """
            UPDATE customers SET merged_into = NULL, updated_at = $2, owner_id = coalesce((
                SELECT owner_id FROM leads
                WHERE id = ANY($3::uuid[]) AND id <> ALL($4::uuid[]) AND assigned_at > $5 AND NOT waiting
                      AND stage IN ('new', 'contacted', 'qualified')
                ORDER BY id LIMIT 1
            ), owner_id) WHERE id = $1
            """,
            *(present.merged.id, merge.undone_at, moved.rows["leads"], [lead.id for lead in moved.leads], merge.at),
        )
        await self._hand_over(moved, merge.merged_id)
        await self._follow_leads(moved.rows["leads"], merge.merged_id)
        # Leads of the kept customer that changed hands stay its own.
        events = await routing.keep_decisions(self._tx, effect.assignments, effect.ledger)
        await self._tx.execute(
            """
            UPDATE leads SET owner_id = was.owner_id, priority = was.priority, waiting = was.waiting,
                             claim_by = was.claim_by, assigned_at = was.assigned_at, claimed_at = was.claimed_at,
                             routed_version = was.routed_version, sequence = leads.sequence + 1
            FROM jsonb_populate_recordset(NULL::leads, $1::jsonb) AS was WHERE leads.id = was.id
            """,
            jsonb(lead.row for lead in moved.leads),
        )
        await self._tx.execute(
            "INSERT INTO first_touch_timers SELECT * FROM jsonb_populate_recordset(NULL::first_touch_timers, $1::jsonb)",
            jsonb(lead.timer for lead in moved.leads if lead.timer is not None),
        )
        await self._decide_pair(merge, "dismissed")
        await self._tx.execute(
            "UPDATE merges SET undone_by = $2, undone_at = $3 WHERE id = $1",
            *(merge.id, merge.undone_by, merge.undone_at),
        )
        event = CustomerMergeUndone(
            merge_id=merge.id, kept_id=merge.kept_id, merged_id=merge.merged_id, by=merge.undone_by
        )
        at = merge.undone_at or merge.at
        events.append(OutboxEvent.of(event, subject_id=merge.id, sequence=2, occurred_at=at))
        await outbox.add(self._tx, events)

    # ---- both ----

    async def _lock_sides(self, ids: Sequence[str]) -> dict[str, Side]:
        rows = await self._tx.fetch(
            """
            SELECT id::text, name, company, phone, email, owner_id, merged_into::text FROM customers
            WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
            """,
            ids,
        )
        return {
            row["id"]: Side(row["id"], {name: row[name] for name in FIELDS}, row["owner_id"], row["merged_into"])
            for row in rows
        }

    async def _lock_leads(self, condition: str, ids: Sequence[str]) -> list[OwnedLead]:
        rows = await self._tx.fetch(
            f"SELECT to_jsonb(l) AS row FROM leads l WHERE {condition} ORDER BY l.id FOR UPDATE",  # noqa: S608
            ids,
        )
        leads = [orjson.loads(row["row"]) for row in rows]
        timers = await self._tx.fetch(
            "SELECT lead_id::text, to_jsonb(t) AS row FROM first_touch_timers t WHERE lead_id = ANY($1::uuid[])",
            [lead["id"] for lead in leads],
        )
        timer_of = {row["lead_id"]: orjson.loads(row["row"]) for row in timers}
        return [
            OwnedLead(
                id=lead["id"],
                customer_id=lead["customer_id"],
                owner_id=lead["owner_id"],
                is_open=Stage(lead["stage"]) in OPEN_STAGES,
                sequence=lead["sequence"],
                row=lead,
                timer=timer_of.get(lead["id"]),
            )
            for lead in leads
        ]

    async def _ids(self, table: str, customer_id: str) -> list[str]:
        rows = await self._tx.fetch(
            f"SELECT id::text FROM {table} WHERE customer_id = $1 ORDER BY id",  # noqa: S608 - a constant
            customer_id,
        )
        return [row["id"] for row in rows]

    async def _set_fields(self, customer_id: str, values: Mapping[str, str | None], merge: Merge) -> None:
        if values:
            assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 3))
            await self._tx.execute(
                f"UPDATE customers SET updated_at = $2, {assignments} WHERE id = $1",  # noqa: S608 - names are FIELDS
                *(customer_id, merge.undone_at or merge.at, *values.values()),
            )

    async def _hand_over(self, moved: Moved, customer_id: str) -> None:
        for table, ids in moved.rows.items():
            if ids:
                await self._tx.execute(
                    f"UPDATE {table} SET customer_id = $2 WHERE id = ANY($1::uuid[])",  # noqa: S608 - MOVED_TABLES
                    *(ids, customer_id),
                )
        await self._tx.execute(
            "UPDATE customer_keys SET customer_id = $2 WHERE key = ANY($1::text[])", moved.keys, customer_id
        )

    async def _follow_leads(self, lead_ids: Sequence[str], customer_id: str) -> None:
        """What was written of leads since they were moved goes where they go."""
        await self._tx.execute(
            "UPDATE follow_ups SET customer_id = $2 WHERE lead_id = ANY($1::uuid[]) AND customer_id <> $2",
            *(lead_ids, customer_id),
        )
        await self._tx.execute(
            """
            UPDATE activities SET customer_id = $2 FROM transcripts t
            WHERE t.activity_id = activities.id AND t.lead_id = ANY($1::uuid[]) AND activities.customer_id <> $2
            """,
            *(lead_ids, customer_id),
        )

    async def _decide_pair(self, merge: Merge, state: str) -> None:
        low, high = sorted((merge.kept_id, merge.merged_id))
        await self._tx.execute(
            """
            INSERT INTO duplicates (low_id, high_id, state, score, reasons, found_at, decided_by, decided_at)
            VALUES ($1, $2, $3, 0, '[]', $5, $4, $5)
            ON CONFLICT (low_id, high_id) DO UPDATE SET state = $3, decided_by = $4, decided_at = $5
            """,
            *(low, high, state, merge.undone_by or merge.by, merge.undone_at or merge.at),
        )


def _keys_of(row: Record) -> tuple[str, ...]:
    refs = (row["external_id"],) if row["external_id"] else ()
    return strong_keys(Identity(row["name"], row["company"], row["phone"], row["email"], refs))


def _merge(row: Record) -> Merge:
    moved = orjson.loads(row["moved"])
    return Merge(
        id=str(row["id"]),
        kept_id=str(row["kept_id"]),
        merged_id=str(row["merged_id"]),
        by=row["merged_by"],
        reason=row["reason"],
        at=row["merged_at"],
        moved=Moved(
            fields={name: (before, after) for name, (before, after) in moved["fields"].items()},
            keys=tuple(moved["keys"]),
            rows={table: tuple(ids) for table, ids in moved["rows"].items()},
            leads=tuple(OwnedLead(**lead) for lead in moved["leads"]),
        ),
        undone_by=row["undone_by"],
        undone_at=row["undone_at"],
    )
