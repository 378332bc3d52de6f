"""Rules, decisions and the ledger in PostgreSQL, and the snapshot a process keeps in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import orjson
from asyncpg import Record

from breakwater.chassis.database import Reader, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadAssigned
from services.leads.organisation.domain import Directory, Taken
from services.leads.organisation.store import read_directory
from services.leads.routing.assignment import Assignment
from services.leads.routing.deals import WON_STAGES, read_deals
from services.leads.routing.domain import ACTIVITIES_90D, WON_DEALS, Decision, Facts, Ground, Ledger
from services.leads.routing.replay import digest_of, ground_of, stood_on_to
from services.leads.routing.rules import RuleSet, read_rules
from services.leads.routing.snapshot import Snapshot
from services.leads.rows import jsonb
from services.leads.sla.calendar import Holidays
from services.leads.sla.policies.store import read_first_touch
from services.leads.timestamps import timestamp

RULES_READ_UNDER_LOCK_MAX: Final = 500
"""More are read before the ledger is locked, and in a thread of their own."""


class Snapshots:
    """The newest snapshot, read again when its version has moved: a change is in force in the next transaction."""

    def __init__(self, holidays: Holidays) -> None:
        self._holidays = holidays
        self._newest: Snapshot | None = None

    async def current(self, reader: Reader) -> Snapshot:
        """The snapshot of the newest version the reader sees."""
        return await self._at(reader, await reader.fetchval("SELECT version FROM snapshot_version"))

    async def directory(self, reader: Reader) -> Directory:
        """The organisation of the newest version the reader sees."""
        return (await self.current(reader)).directory

    async def with_ledger(self, tx: Transaction) -> tuple[Snapshot, Ledger]:
        """The newest snapshot and everybody's load and credit; whoever decides next waits until `tx` ends."""
        newest = self._newest
        if newest is not None and len(newest.rules.rules) > RULES_READ_UNDER_LOCK_MAX:
            # Thousands of rules take a while to read; nobody waits for that behind the lock.
            newest = await self.current(tx)
        known = newest.ground if newest is not None else None
        rows = await tx.fetch(_LOCK_LEDGER, known.hash if known else "")
        version = rows[0]["version"] if rows else await tx.fetchval("SELECT version FROM snapshot_version")
        snapshot, ledger = await self._at(tx, version), _ledger(rows)
        if (ground := snapshot.ground) is not None:
            ledger.ground = replace(ground, is_kept=bool(rows) and ground is known and rows[0]["is_kept"])
        return snapshot, ledger

    async def _at(self, reader: Reader, version: int) -> Snapshot:
        newest = self._newest
        if newest is None or newest.version != version:
            newest = self._newest = await self._read(reader, version)
        return newest

    async def _read(self, reader: Reader, version: int) -> Snapshot:
        # What is read may already be newer than `version`; then the next transaction reads once more.
        directory = await read_directory(reader, self._holidays)
        deals = await read_deals(reader)
        return Snapshot(
            version=version,
            directory=directory,
            rules=await self._rules(reader),
            first_touch=await read_first_touch(reader, directory, self._holidays),
            deals=deals,
            ground=ground_of(directory, deals),
        )

    async def _rules(self, reader: Reader) -> RuleSet:
        # People change far more often than rules, and thousands of rules take a while to read.
        version = await reader.fetchval("SELECT max(version) FROM routing_rules")
        if version is None:
            raise RuntimeError("there are no routing rules: the migrations were not applied")
        if self._newest is not None and self._newest.rules.version == version:
            return self._newest.rules
        rules = await rules_of(reader, version)
        if rules is None:
            raise RuntimeError(f"version {version} of the routing rules is gone")
        return rules


async def rules_of(reader: Reader, version: int) -> RuleSet | None:
    """The rules of one version, ready to decide."""
    document = await reader.fetchval("SELECT document FROM routing_rules WHERE version = $1", version)
    if document is None:
        return None
    return await asyncio.to_thread(_ready, document, version)


def _ready(document: str, version: int) -> RuleSet:
    rules = read_rules(orjson.loads(document), version)
    _ = rules.index
    return rules


async def read_histories(reader: Reader, customer_ids: Sequence[str], now: datetime) -> dict[str, Facts]:
    """What is known of customers beside their leads, by id (57)."""
    rows = await reader.fetch(
        """
        SELECT c.id::text,
               (SELECT count(*) FROM activities a
                WHERE a.customer_id = c.id AND a.occurred_at BETWEEN $2::timestamptz - interval '90 days' AND $2)
                   AS activities,
               (SELECT count(*) FROM opportunities o
                WHERE o.customer_id = c.id AND (o.probability = 100 OR o.stage = ANY($3::text[]))) AS won
        FROM unnest($1::uuid[]) AS c(id)
        """,
        customer_ids,
        now,
        WON_STAGES,
    )
    return {row["id"]: {ACTIVITIES_90D: Decimal(row["activities"]), WON_DEALS: Decimal(row["won"])} for row in rows}


async def read_ledger(reader: Reader) -> Ledger:
    """Everybody's load and credit as they are, to try things on."""
    return _ledger(await reader.fetch(f"SELECT {_LEDGER} FROM workloads"))  # noqa: S608 - constants


_LEDGER = "person_id, open_leads, credit, owed, taken_on, taken_in_day, taken_in_week"
_LOCK_LEDGER = f"""
    SELECT {_LEDGER}, (SELECT version FROM snapshot_version) AS version,
           EXISTS (SELECT FROM routing_grounds WHERE hash = $1) AS is_kept
    FROM workloads ORDER BY person_id FOR UPDATE
"""  # noqa: S608 - constants


def _ledger(rows: Sequence[Record]) -> Ledger:
    return Ledger(
        open_leads={row["person_id"]: row["open_leads"] for row in rows},
        credit={row["person_id"]: row["credit"] for row in rows},
        owed={row["person_id"]: row["owed"] for row in rows},
        taken={row["person_id"]: Taken(row["taken_on"], row["taken_in_day"], row["taken_in_week"]) for row in rows},
    )


async def keep_decisions(tx: Transaction, assignments: Sequence[Assignment], ledger: Ledger) -> list[OutboxEvent]:
    """Writes decisions with their explanation, starts or stops first-touch timers, keeps the ledger locked by `tx`.

    One statement; returns the events to be added.
    """
    ground = ledger.ground
    # Only what a decision refers to: a transfer or a merge asks no rule, and nothing has to be pruned later.
    if ground is not None and not ground.is_kept and any(each.decision.stood_on is not None for each in assignments):
        await _keep_ground(tx, ground)
    await tx.execute(
        """
        WITH kept AS (
            INSERT INTO assignments (id, lead_id, owner_id, rule_id, rule_version, priority, reason, candidates, claim_by,
                                     decided_at, ground, stood_on, score, digest)
            SELECT (x->>0)::uuid, (x->>1)::uuid, x->>2, x->>3, (x->>4)::integer, x->>5, x->>6, x->7,
                   (x->>8)::timestamptz, (x->>9)::timestamptz, x->>11, nullif(x->12, 'null'), (x->>13)::numeric, x->>14
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
        UPDATE workloads SET open_leads = (x->>1)::integer, credit = (x->>2)::integer, owed = (x->>3)::integer,
                             taken_on = (x->>4)::date, taken_in_day = (x->>5)::integer, taken_in_week = (x->>6)::integer
        FROM jsonb_array_elements($2::jsonb) AS x WHERE workloads.person_id = x->>0
        """,
        jsonb(_row(each, ground) for each in assignments),
        jsonb((person_id, *ledger.figures(person_id).row) for person_id in ledger.changed),
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


async def _keep_ground(tx: Transaction, ground: Ground) -> None:
    await tx.execute(
        "INSERT INTO routing_grounds (hash, content) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
        ground.hash,
        ground.content,
    )


def _row(each: Assignment, ground: Ground | None) -> tuple[Any, ...]:
    decision = each.decision
    candidates = [
        (candidate.person_id, candidate.name, candidate.rejected_because) for candidate in decision.candidates
    ]
    return (
        *(each.id, each.lead_id, decision.owner_id, decision.rule_id, decision.rule_version, decision.priority),
        *(decision.reason, candidates, each.claim_by, each.decided_at, each.remind_at),
        *_replayable(decision, ground),
    )


def _replayable(decision: Decision, ground: Ground | None) -> tuple[Any, ...]:
    if decision.stood_on is None or ground is None:
        return (None, None, decision.score, None)
    return (ground.hash, stood_on_to(decision.stood_on), decision.score, digest_of(decision))


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
