"""Rules, decisions and the ledger in PostgreSQL, and the snapshot a process keeps in memory."""

from collections.abc import Sequence
from typing import Any

import orjson
from asyncpg import Record

from breakwater.chassis.database import Reader, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadAssigned
from services.leads.organisation.domain import NOTHING_TAKEN, Taken
from services.leads.organisation.store import read_directory
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Ledger
from services.leads.routing.rules import read_rules
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
from services.leads.sla.calendar import Holidays
from services.leads.sla.policies.store import read_first_touch
from services.leads.timestamps import timestamp


class Snapshots:
    """The newest snapshot, read again when its version has moved: a change is in force in the next transaction."""

    def __init__(self, holidays: Holidays) -> None:
        self._holidays = holidays
        self._newest: Snapshot | None = None

    async def current(self, reader: Reader) -> Snapshot:
        """The snapshot of the newest version the reader sees."""
        return await self._at(reader, await reader.fetchval("SELECT version FROM snapshot_version"))

    async def with_ledger(self, tx: Transaction) -> tuple[Snapshot, Ledger]:
        """The newest snapshot and everybody's load and credit; whoever decides next waits until `tx` ends."""
        rows = await tx.fetch(_LOCK_LEDGER)
        version = rows[0]["version"] if rows else await tx.fetchval("SELECT version FROM snapshot_version")
        return await self._at(tx, version), _ledger(rows)

    async def _at(self, reader: Reader, version: int) -> Snapshot:
        newest = self._newest
        if newest is None or newest.version != version:
            newest = self._newest = await self._read(reader, version)
        return newest

    async def _read(self, reader: Reader, version: int) -> Snapshot:
        # What is read may already be newer than `version`; then the next transaction reads once more.
        directory = await read_directory(reader, self._holidays)
        row = await reader.fetchrow("SELECT version, document FROM routing_rules ORDER BY version DESC LIMIT 1")
        if row is None:
            raise RuntimeError("there are no routing rules: the migrations were not applied")
        return Snapshot(
            version=version,
            directory=directory,
            rules=read_rules(orjson.loads(row["document"]), row["version"]),
            first_touch=await read_first_touch(reader, directory, self._holidays),
        )


async def read_ledger(reader: Reader) -> Ledger:
    """Everybody's load and credit as they are, to try things on."""
    return _ledger(await reader.fetch(f"SELECT {_LEDGER} FROM workloads"))  # noqa: S608 - constants


_LEDGER = "person_id, open_leads, credit, taken_on, taken_in_day, taken_in_week"
_LOCK_LEDGER = f"""
    SELECT {_LEDGER}, (SELECT version FROM snapshot_version) AS version
    FROM workloads ORDER BY person_id FOR UPDATE
"""  # noqa: S608 - constants


def _ledger(rows: Sequence[Record]) -> Ledger:
    return Ledger(
        {row["person_id"]: row["open_leads"] for row in rows},
        {row["person_id"]: row["credit"] for row in rows},
        {row["person_id"]: Taken(row["taken_on"], row["taken_in_day"], row["taken_in_week"]) for row in rows},
    )


async def keep_decisions(tx: Transaction, assignments: Sequence[Assignment], ledger: Ledger) -> list[OutboxEvent]:
    """Writes decisions with their explanation, starts or stops first-touch timers, keeps the ledger locked by `tx`.

    One statement; returns the events to be added.
    """
    await tx.execute(
        """
        WITH kept AS (
            INSERT INTO assignments (id, lead_id, owner_id, rule_id, rule_version, priority, reason, candidates, claim_by,
                                     decided_at)
            SELECT (x->>0)::uuid, (x->>1)::uuid, x->>2, x->>3, (x->>4)::integer, x->>5, x->>6, x->7,
                   (x->>8)::timestamptz, (x->>9)::timestamptz
            FROM jsonb_array_elements($1::jsonb) AS x
        ), started AS (
            INSERT INTO first_touch_timers (lead_id, stage, due_at, started_at, remind_at)
            SELECT (x->>1)::uuid, 1, (x->>8)::timestamptz, (x->>9)::timestamptz, (x->>10)::timestamptz
            FROM jsonb_array_elements($1::jsonb) AS x WHERE x->>8 IS NOT NULL
            ON CONFLICT (lead_id) DO UPDATE
            SET stage = 1, due_at = excluded.due_at, started_at = excluded.started_at, remind_at = excluded.remind_at,
                used_ms = 0, paused_at = NULL
        ), stopped AS (
            DELETE FROM first_touch_timers USING jsonb_array_elements($1::jsonb) AS x
            WHERE lead_id = (x->>1)::uuid AND x->>8 IS NULL
        )
        UPDATE workloads SET open_leads = (x->>1)::integer, credit = (x->>2)::integer, taken_on = (x->>3)::date,
                             taken_in_day = (x->>4)::integer, taken_in_week = (x->>5)::integer
        FROM jsonb_array_elements($2::jsonb) AS x WHERE workloads.person_id = x->>0
        """,
        jsonb(_row(each) for each in assignments),
        jsonb(
            (
                *(person_id, ledger.open_leads.get(person_id, 0), ledger.credit.get(person_id, 0)),
                *ledger.taken.get(person_id, NOTHING_TAKEN),
            )
            for person_id in ledger.changed
        ),
    )
    return [_assigned(each) for each in assignments if each.decision.owner_id is not None]


async def move_leads(tx: Transaction, assignments: Sequence[Assignment], version: int) -> None:
    """Gives leads that are there, locked by `tx`, to the owners their newest decisions name."""
    if not assignments:
        return
    await tx.execute(
        """
        UPDATE leads SET owner_id = x->>1, priority = x->>2, waiting = (x->>3)::boolean,
                         claim_by = (x->>4)::timestamptz, assigned_at = (x->>5)::timestamptz, claimed_at = NULL,
                         sequence = (x->>6)::bigint, routed_version = $2
        FROM jsonb_array_elements($1::jsonb) AS x WHERE leads.id = (x->>0)::uuid
        """,
        jsonb(_move(each) for each in assignments),
        version,
    )


async def move_customers(tx: Transaction, assignments: Sequence[Assignment]) -> None:
    """One customer, one owner (116): the customer goes with its lead, except to the duty desk."""
    moved = {
        each.customer_id: each.decision.owner_id
        for each in assignments
        if each.decision.owner_id is not None and not each.decision.waiting
    }
    if moved:
        await tx.execute(
            """
            UPDATE customers SET owner_id = moved.value FROM jsonb_each_text($1::jsonb) AS moved
            WHERE customers.id = moved.key::uuid
            """,
            jsonb(moved),
        )


def _row(each: Assignment) -> tuple[Any, ...]:
    decision = each.decision
    candidates = [
        (candidate.person_id, candidate.name, candidate.rejected_because) for candidate in decision.candidates
    ]
    return (
        *(each.id, each.lead_id, decision.owner_id, decision.rule_id, decision.rule_version, decision.priority),
        *(decision.reason, candidates, each.claim_by, each.decided_at, each.remind_at),
    )


def _move(each: Assignment) -> tuple[Any, ...]:
    decision = each.decision
    return (
        *(each.lead_id, decision.owner_id, decision.priority, decision.waiting),
        *(each.claim_by, each.decided_at, each.sequence),
    )


def _assigned(assignment: Assignment) -> OutboxEvent:
    decision = assignment.decision
    event = LeadAssigned(
        lead_id=assignment.lead_id,
        customer_id=assignment.customer_id,
        assignment_id=assignment.id,
        owner_id=decision.owner_id or "",
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        priority=decision.priority,
        reason=decision.reason,
        claim_by=timestamp(assignment.claim_by) if assignment.claim_by else None,
        lead_name=assignment.lead_name,
        company=assignment.company,
        source=assignment.source,
        import_id=assignment.import_id,
    )
    return OutboxEvent.of(
        event,
        subject_id=assignment.lead_id,
        sequence=assignment.sequence,
        occurred_at=assignment.decided_at,
        traceparent=assignment.traceparent,
        urgent=not assignment.import_id,
    )
