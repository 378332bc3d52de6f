"""Customers and leads in PostgreSQL: what capturing needs, set-based.

Locks are taken in one order, so that no two transactions wait for each other: keys of customers, customers, leads,
workloads; within each by key.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import outbox
from breakwater.chassis.database import Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadCaptured, LeadStageChanged
from services.leads.intake.capture import CaptureBatch, KnownLead, MergedLead, NewLead
from services.leads.intake.customers import Customer
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.routing import store as routing
from services.leads.routing.domain import Ledger
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.store import stop_timers


class PostgresCaptureStore:
    """The `CaptureStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: routing.Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def claim_keys(self, claims: Mapping[str, str]) -> dict[str, str]:
        keys = sorted(claims)
        # Updating a key to itself waits for, then shows, whoever claimed it first.
        rows = await self._tx.fetch(
            """
            INSERT INTO customer_keys AS held (key, customer_id) SELECT * FROM unnest($1::text[], $2::uuid[])
            ON CONFLICT (key) DO UPDATE SET customer_id = held.customer_id
            RETURNING key, customer_id::text
            """,
            keys,
            [claims[key] for key in keys],
        )
        return {key: customer_id for key, customer_id in rows}  # noqa: C416 - records are no pairs to dict()

    async def move_keys(self, keys: Mapping[str, str]) -> None:
        await self._tx.execute(
            """
            UPDATE customer_keys SET customer_id = t.customer_id
            FROM unnest($1::text[], $2::uuid[]) AS t (key, customer_id) WHERE customer_keys.key = t.key
            """,
            list(keys),
            list(keys.values()),
        )

    async def lock_customers(self, ids: Sequence[str]) -> list[Customer]:
        rows = await self._tx.fetch(
            """
            SELECT id::text, name, company, phone, email, owner_id FROM customers
            WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
            """,
            ids,
        )
        # A statement of its own: it must see what those committed who held the locks before us.
        first_open = await self._tx.fetch(
            """
            SELECT DISTINCT ON (customer_id) customer_id::text, id::text FROM leads
            WHERE customer_id = ANY($1::uuid[]) AND stage IN ('new', 'contacted', 'qualified')
            ORDER BY customer_id, id
            """,
            ids,
        )
        open_lead_ids = {row["customer_id"]: row["id"] for row in first_open}
        return [Customer(**row, open_lead_id=open_lead_ids.get(row["id"])) for row in rows]

    async def lock_leads(self, external_ids: Sequence[str]) -> dict[str, KnownLead]:
        rows = await self._tx.fetch(
            """
            SELECT external_id, id::text, customer_id::text, stage, owner_id, sequence FROM leads
            WHERE external_id = ANY($1::text[]) ORDER BY id FOR UPDATE
            """,
            external_ids,
        )
        return {
            row["external_id"]: KnownLead(
                row["id"], row["customer_id"], Stage(row["stage"]), row["owner_id"], row["sequence"]
            )
            for row in rows
        }

    async def lock_ledger(self) -> Ledger:
        return await routing.lock_ledger(self._tx)

    async def write(self, batch: CaptureBatch) -> None:
        await self._insert_customers(batch)
        await self._update_customers(batch)
        await self._insert_leads(batch)
        await self._update_leads(batch)
        leads: list[NewLead | MergedLead] = [*batch.new, *batch.merged]
        assigned = await routing.add_assignments(self._tx, [each.assignment for each in leads if each.assignment])
        await stop_timers(self._tx, [each.known.id for each in batch.merged if each.ends])
        if batch.ledger is not None:
            await routing.keep_ledger(self._tx, batch.ledger)
        ended = [_stage_changed(each, batch) for each in batch.merged if each.ends]
        await outbox.add(self._tx, [*(_captured(lead, batch) for lead in batch.new), *ended, *assigned])

    async def _insert_customers(self, batch: CaptureBatch) -> None:
        new = [customer for customer in batch.customers if customer.is_new]
        if not new:
            return
        await self._tx.execute(
            """
            INSERT INTO customers (id, name, company, phone, email, owner_id, created_at, updated_at)
            SELECT *, $1::timestamptz, $1
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
            """,
            batch.now,
            *_columns((each.id, each.name, each.company, each.phone, each.email, each.owner_id) for each in new),
        )

    async def _update_customers(self, batch: CaptureBatch) -> None:
        changed = [customer for customer in batch.customers if customer.changed]
        if not changed:
            return
        await self._tx.execute(
            """
            UPDATE customers SET company = t.company, phone = t.phone, email = t.email, owner_id = t.owner_id,
                                 updated_at = $1
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
                 AS t (id, company, phone, email, owner_id)
            WHERE customers.id = t.id
            """,
            batch.now,
            *_columns((each.id, each.company, each.phone, each.email, each.owner_id) for each in changed),
        )

    async def _insert_leads(self, batch: CaptureBatch) -> None:
        if not batch.new:
            return
        await self._tx.execute(
            """
            INSERT INTO leads (
                captured_at, import_id, routed_version, id, customer_id, name, company, phone, email, website, city_code,
                region, industry, source, budget, urgency, need, utm, anonymous_id, stage, source_status, external_id,
                duplicate_of, owner_id, created_at, priority, waiting, assigned_at, claim_by, sequence)
            SELECT $1::timestamptz, $2::text, $3::bigint, t.* FROM unnest(
                $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::text[], $13::text[], $14::text[], $15::numeric[], $16::text[], $17::text[], $18::jsonb[], $19::text[],
                $20::text[], $21::text[], $22::text[], $23::uuid[], $24::text[], $25::timestamptz[], $26::text[],
                $27::boolean[], $28::timestamptz[], $29::timestamptz[], $30::bigint[]) AS t
            """,
            batch.now,
            batch.import_id,
            batch.snapshot.version,
            *_columns(_new_row(lead, batch.now) for lead in batch.new),
        )

    async def _update_leads(self, batch: CaptureBatch) -> None:
        """Newer values win, blanks lose nothing (53); the owner changes with a new assignment only."""
        if not batch.merged:
            return
        await self._tx.execute(
            """
            UPDATE leads SET
                name = t.name,
                source = t.source,
                company = coalesce(nullif(t.company, ''), leads.company),
                phone = coalesce(nullif(t.phone, ''), leads.phone),
                email = coalesce(nullif(t.email, ''), leads.email),
                website = coalesce(nullif(t.website, ''), leads.website),
                city_code = coalesce(nullif(t.city_code, ''), leads.city_code),
                region = coalesce(nullif(t.region, ''), leads.region),
                industry = coalesce(nullif(t.industry, ''), leads.industry),
                budget = coalesce(t.budget, leads.budget),
                urgency = coalesce(nullif(t.urgency, ''), leads.urgency),
                need = coalesce(nullif(t.need, ''), leads.need),
                utm = leads.utm || t.utm,
                source_status = coalesce(nullif(t.source_status, ''), leads.source_status),
                stage = coalesce(t.ended, leads.stage),
                sequence = leads.sequence + t.events
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                        $9::text[], $10::text[], $11::numeric[], $12::text[], $13::text[], $14::jsonb[], $15::text[],
                        $16::text[], $17::bigint[])
                 AS t (id, name, company, phone, email, website, city_code, region, industry, source, budget, urgency,
                       need, utm, source_status, ended, events)
            WHERE leads.id = t.id
            """,
            *_columns(_merged_row(lead) for lead in batch.merged),
        )
        moved = [lead.assignment for lead in batch.merged if lead.assignment is not None]
        await routing.move_leads(self._tx, moved, batch.snapshot.version)


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows as arrays for `unnest`."""
    return zip(*rows, strict=True)


def _new_row(lead: NewLead, now: datetime) -> tuple[Any, ...]:
    assignment = lead.assignment
    return (
        lead.id,
        lead.customer_id,
        *_draft_row(lead.draft),
        lead.draft.anonymous_id,
        lead.draft.stage,
        lead.draft.source_status,
        lead.draft.external_id or None,
        lead.duplicate_of,
        lead.owner_id,
        lead.draft.created_at or now,
        assignment.decision.priority if assignment else "",
        assignment is not None and assignment.decision.waiting,
        assignment.decided_at if assignment else None,
        assignment.claim_by if assignment else None,
        assignment.sequence if assignment else 1,
    )


def _merged_row(lead: MergedLead) -> tuple[Any, ...]:
    ended = lead.draft.stage if lead.ends else None
    return (lead.known.id, *_draft_row(lead.draft), lead.draft.source_status, ended, int(lead.ends))


def _draft_row(draft: LeadDraft) -> tuple[Any, ...]:
    return (
        *(draft.name, draft.company, draft.phone, draft.email, draft.website, draft.city_code, draft.region),
        *(draft.industry, draft.source, draft.budget, draft.urgency, draft.need),
        orjson.dumps(draft.utm).decode() if draft.utm else "{}",
    )


def _captured(lead: NewLead, batch: CaptureBatch) -> OutboxEvent:
    captured_at = Timestamp()
    captured_at.FromDatetime(batch.now)
    event = LeadCaptured(
        lead_id=lead.id,
        customer_id=lead.customer_id,
        source=lead.draft.source,
        stage=lead.draft.stage,
        industry=lead.draft.industry,
        region=lead.draft.region,
        captured_at=captured_at,
        import_id=batch.import_id,
    )
    return OutboxEvent.of(event, subject_id=lead.id, sequence=1, occurred_at=batch.now)


def _stage_changed(lead: MergedLead, batch: CaptureBatch) -> OutboxEvent:
    event = LeadStageChanged(
        lead_id=lead.known.id,
        customer_id=lead.known.customer_id,
        from_stage=lead.known.stage,
        to_stage=lead.draft.stage,
        reason="导入的状态",
    )
    return OutboxEvent.of(event, subject_id=lead.known.id, sequence=lead.known.sequence + 1, occurred_at=batch.now)
