"""Customers and leads in PostgreSQL: what capturing needs, set-based.

Locks are taken in one order, so that no two transactions wait for each other: keys of customers, customers, leads,
workloads; within each by key.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from breakwater.chassis import idempotency, outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import FormAlerted, LeadCaptured, LeadStageChanged
from services.leads.followups.steps import Step, keep_steps
from services.leads.idempotence import Keyed
from services.leads.intake.capture import CaptureBatch, KnownLead, MergedLead, NewLead
from services.leads.intake.changes.store import attribute
from services.leads.intake.customers import Customer
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.routing import store as routing
from services.leads.routing.domain import Facts, Ledger
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
from services.leads.sla.timers import stop_timers
from services.leads.timestamps import timestamp


class PostgresCaptureStore:
    """The `CaptureStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: routing.Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: routing.Snapshots) -> AsyncIterator["PostgresCaptureStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def first_answers(self, requests: Sequence[Keyed]) -> list[bytes | BreakwaterError | None]:
        return await idempotency.replay_many(self._tx, [keyed_request(request) for request in requests])

    async def keep_answers(self, answers: Sequence[tuple[Keyed, bytes]]) -> None:
        await idempotency.store_many(self._tx, [(keyed_request(request), content) for request, content in answers])

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def claim_keys(self, claims: Mapping[str, str]) -> dict[str, str]:
        # Updating a key to itself waits for, then shows, whoever claimed it first. The order prevents deadlocks.
        rows = await self._tx.fetch(
            """
            INSERT INTO customer_keys AS held (key, customer_id)
            SELECT key, value::uuid FROM jsonb_each_text($1::jsonb) ORDER BY key
            ON CONFLICT (key) DO UPDATE SET customer_id = held.customer_id
            RETURNING key, customer_id::text
            """,
            jsonb(claims),
        )
        return {key: customer_id for key, customer_id in rows}  # noqa: C416 - records are no pairs to dict()

    async def move_keys(self, keys: Mapping[str, str]) -> None:
        await self._tx.execute(
            """
            UPDATE customer_keys SET customer_id = moved.value::uuid FROM jsonb_each_text($1::jsonb) AS moved
            WHERE customer_keys.key = moved.key
            """,
            jsonb(keys),
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
            SELECT DISTINCT ON (customer_id) customer_id::text, id::text, count(*) OVER (PARTITION BY customer_id) AS leads
            FROM leads WHERE customer_id = ANY($1::uuid[]) AND stage IN ('new', 'contacted', 'qualified')
            ORDER BY customer_id, id
            """,
            ids,
        )
        known = {row["customer_id"]: (row["id"], row["leads"]) for row in first_open}
        customers = [Customer(**row) for row in rows]
        for customer in customers:
            customer.open_lead_id, customer.open_leads = known.get(customer.id, (None, 0))
        return customers

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

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]:
        return await self._snapshots.with_ledger(self._tx)

    async def histories(self, customer_ids: Sequence[str], now: datetime) -> Mapping[str, Facts]:
        return await routing.read_histories(self._tx, customer_ids, now)

    async def write(self, batch: CaptureBatch) -> None:
        await self._insert(batch)
        await self._update_customers([customer for customer in batch.customers if customer.changed], batch.now)
        await self._ask_again([each.id for each in batch.customers if each.given and each.open_lead_id])
        await self._update_leads(batch.merged, batch.snapshot.version, batch.import_id)
        await keep_steps(self._tx, [_ended(lead) for lead in batch.merged if lead.ends], batch.now)
        events = [_captured(lead, batch) for lead in batch.new]
        events.extend(event for lead in batch.new if (event := _alerted(lead, batch)) is not None)
        events.extend(_stage_changed(lead, batch.now) for lead in batch.merged if lead.ends)
        if batch.ledger is not None:
            leads: list[NewLead | MergedLead] = [*batch.new, *batch.merged]
            assignments = [lead.assignment for lead in leads if lead.assignment is not None]
            events.extend(await routing.keep_decisions(self._tx, assignments, batch.ledger))
        await outbox.add(self._tx, events)

    async def _insert(self, batch: CaptureBatch) -> None:
        new_customers = [customer for customer in batch.customers if customer.is_new]
        if not batch.new and not new_customers:
            return
        await self._tx.execute(
            """
            WITH new_customers AS (
                INSERT INTO customers (id, name, company, phone, email, owner_id, created_at, updated_at)
                SELECT (x->>0)::uuid, x->>1, x->>2, x->>3, x->>4, x->>5, $3, $3
                FROM jsonb_array_elements($1::jsonb) AS x
            )
            INSERT INTO leads (
                id, customer_id, name, company, phone, email, website, city_code, region, industry, source, budget,
                urgency, need, utm, anonymous_id, stage, source_status, external_id, duplicate_of, owner_id,
                created_at, priority, waiting, assigned_at, claim_by, sequence, imported_owner_id, captured_at, import_id,
                routed_version, details, attachments, form)
            SELECT (x->>0)::uuid, (x->>1)::uuid, x->>2, x->>3, x->>4, x->>5, x->>6, x->>7, x->>8, x->>9, x->>10,
                   (x->>11)::numeric, x->>12, x->>13, x->14, x->>15, x->>16, x->>17, x->>18, (x->>19)::uuid, x->>20,
                   (x->>21)::timestamptz, x->>22, (x->>23)::boolean, (x->>24)::timestamptz, (x->>25)::timestamptz,
                   (x->>26)::bigint, x->>27, $3, $4, $5, x->28, x->29, x->>30
            FROM jsonb_array_elements($2::jsonb) AS x
            """,
            jsonb((each.id, each.name, each.company, each.phone, each.email, each.owner_id) for each in new_customers),
            jsonb(_new_row(lead, batch.now) for lead in batch.new),
            batch.now,
            batch.import_id,
            batch.snapshot.version,
        )

    async def _update_customers(self, changed: Sequence[Customer], now: datetime) -> None:
        for by in sorted({each.changed_by for each in changed}):
            await attribute(self._tx, by, "又一条线索" if by else "")
            await self._tx.execute(
                """
                UPDATE customers SET company = x->>1, phone = x->>2, email = x->>3, owner_id = x->>4, updated_at = $2
                FROM jsonb_array_elements($1::jsonb) AS x WHERE customers.id = (x->>0)::uuid
                """,
                jsonb(
                    (each.id, each.company, each.phone, each.email, each.owner_id)
                    for each in changed
                    if each.changed_by == by
                ),
                now,
            )

    async def _ask_again(self, customer_ids: Sequence[str]) -> None:
        """Leads of these customers that wait are routed anew: they go where their customer went (116).

        One that somebody works on at this moment is left: its lock may wait for the ledger, which is ours.
        """
        if customer_ids:
            await self._tx.execute(
                """
                UPDATE leads SET routed_version = 0
                WHERE id IN (
                    SELECT id FROM leads WHERE customer_id = ANY($1::uuid[]) AND waiting
                           AND stage IN ('new', 'contacted', 'qualified') ORDER BY id FOR UPDATE SKIP LOCKED
                )
                """,
                customer_ids,
            )

    async def _update_leads(self, merged: Sequence[MergedLead], version: int, import_id: str) -> None:
        """Newer values win, blanks lose nothing (53); the owner changes with a new assignment only."""
        if not merged:
            return
        await attribute(self._tx, f"import:{import_id}", "再次导入")
        await self._tx.execute(
            """
            UPDATE leads SET
                name = x->>1,
                company = coalesce(nullif(x->>2, ''), company),
                phone = coalesce(nullif(x->>3, ''), phone),
                email = coalesce(nullif(x->>4, ''), email),
                website = coalesce(nullif(x->>5, ''), website),
                city_code = coalesce(nullif(x->>6, ''), city_code),
                region = coalesce(nullif(x->>7, ''), region),
                industry = coalesce(nullif(x->>8, ''), industry),
                source = x->>9,
                budget = coalesce((x->>10)::numeric, budget),
                urgency = coalesce(nullif(x->>11, ''), urgency),
                need = coalesce(nullif(x->>12, ''), need),
                utm = utm || (x->13),
                source_status = coalesce(nullif(x->>14, ''), source_status),
                stage = coalesce(x->>15, stage),
                sequence = sequence + (x->>16)::bigint,
                details = details || (x->17)
            FROM jsonb_array_elements($1::jsonb) AS x WHERE leads.id = (x->>0)::uuid
            """,
            jsonb(_merged_row(lead) for lead in merged),
        )
        await stop_timers(self._tx, [lead.known.id for lead in merged if lead.ends])
        moved = [lead.assignment for lead in merged if lead.assignment is not None]
        if moved:
            await attribute(self._tx, "", "")
        await routing.move_leads(self._tx, moved, version)


_IMPORTED = "导入的状态"


def keyed_request(request: Keyed) -> idempotency.KeyedRequest:
    """The request as the chassis keeps it."""
    return idempotency.KeyedRequest(request.actor, request.route, request.key, request.body_hmac)


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
        lead.draft.owner_id,
        lead.draft.details,
        [(each.name, each.reference, each.media_type) for each in lead.draft.attachments],
        lead.draft.form,
    )


def _merged_row(lead: MergedLead) -> tuple[Any, ...]:
    ended = lead.draft.stage if lead.ends else None
    return (lead.known.id, *_draft_row(lead.draft), lead.draft.source_status, ended, int(lead.ends), lead.draft.details)


def _draft_row(draft: LeadDraft) -> tuple[Any, ...]:
    return (
        *(draft.name, draft.company, draft.phone, draft.email, draft.website, draft.city_code, draft.region),
        *(draft.industry, draft.source, draft.budget, draft.urgency, draft.need),
        draft.utm,
    )


def _captured(lead: NewLead, batch: CaptureBatch) -> OutboxEvent:
    event = LeadCaptured(
        lead_id=lead.id,
        customer_id=lead.customer_id,
        source=lead.draft.source,
        stage=lead.draft.stage,
        industry=lead.draft.industry,
        region=lead.draft.region,
        captured_at=timestamp(batch.now),
        import_id=batch.import_id,
        owner_id="" if lead.assignment else lead.owner_id or "",
    )
    return OutboxEvent.of(
        event,
        subject_id=lead.id,
        sequence=1,
        occurred_at=batch.now,
        traceparent=lead.draft.traceparent,
        urgent=not batch.import_id,
    )


def _ended(lead: MergedLead) -> Step:
    return Step(lead.known.id, "stage_changed", "", lead.known.stage, lead.draft.stage, _IMPORTED)


def _alerted(lead: NewLead, batch: CaptureBatch) -> OutboxEvent | None:
    """What the lead's form says to whom (121); nothing where that is nobody."""
    alert = lead.draft.alert
    if alert is None:
        return None
    recipient_id = alert.to
    if alert.to == "owner":
        recipient_id = lead.owner_id or ""
    elif alert.to == "supervisor":
        recipient_id = batch.snapshot.directory.supervisor_of(lead.owner_id or "")
    if not recipient_id:
        return None
    event = FormAlerted(
        form=lead.draft.form,
        lead_id=lead.id,
        customer_id=lead.customer_id,
        recipient_id=recipient_id,
        title=alert.title,
        body=alert.text,
    )
    return OutboxEvent.of(
        event, subject_id=uuid7(), sequence=1, occurred_at=batch.now, traceparent=lead.draft.traceparent
    )


def _stage_changed(lead: MergedLead, now: datetime) -> OutboxEvent:
    event = LeadStageChanged(
        lead_id=lead.known.id,
        customer_id=lead.known.customer_id,
        from_stage=lead.known.stage,
        to_stage=lead.draft.stage,
        reason=_IMPORTED,
    )
    return OutboxEvent.of(event, subject_id=lead.known.id, sequence=lead.known.sequence + 1, occurred_at=now)
