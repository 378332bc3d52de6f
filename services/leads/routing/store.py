"""Rules, decisions and the ledger in PostgreSQL, and the snapshot a process keeps in memory."""

from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis.database import Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadAssigned
from services.leads.organisation.store import read_directory
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Ledger
from services.leads.routing.rules import read_rules
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.domain import Holidays
from services.leads.sla.store import read_first_touch, start_timers


class Snapshots:
    """The newest snapshot, read again when its version has moved: a change is in force in the next transaction."""

    def __init__(self, holidays: Holidays) -> None:
        self._holidays = holidays
        self._newest: Snapshot | None = None

    async def current(self, tx: Transaction) -> Snapshot:
        """The snapshot of the newest version `tx` sees."""
        version = await tx.fetchval("SELECT version FROM snapshot_version")
        newest = self._newest
        if newest is None or newest.version != version:
            newest = self._newest = await self._read(tx, version)
        return newest

    async def _read(self, tx: Transaction, version: int) -> Snapshot:
        # What is read may already be newer than `version`; then the next transaction reads once more.
        directory = await read_directory(tx)
        row = await tx.fetchrow("SELECT version, document FROM routing_rules ORDER BY version DESC LIMIT 1")
        if row is None:
            raise RuntimeError("there are no routing rules: the migrations were not applied")
        return Snapshot(
            version=version,
            directory=directory,
            rules=read_rules(orjson.loads(row["document"]), row["version"]),
            first_touch=await read_first_touch(tx, list(directory.teams.values()), self._holidays),
        )


async def move_version(tx: Transaction) -> None:
    """Makes every process read organisation and rules again, once `tx` is committed."""
    await tx.execute("UPDATE snapshot_version SET version = version + 1")
    tx.announce("snapshot")


async def lock_ledger(tx: Transaction) -> Ledger:
    """Everybody's load and credit; whoever decides next waits until `tx` ends."""
    rows = await tx.fetch("SELECT person_id, open_leads, credit FROM workloads ORDER BY person_id FOR UPDATE")
    return Ledger(
        {row["person_id"]: row["open_leads"] for row in rows}, {row["person_id"]: row["credit"] for row in rows}
    )


async def keep_ledger(tx: Transaction, ledger: Ledger) -> None:
    """Writes what decisions changed in a ledger locked by `tx`."""
    people = sorted(ledger.changed)
    if not people:
        return
    await tx.execute(
        """
        UPDATE workloads SET open_leads = t.open_leads, credit = t.credit
        FROM unnest($1::text[], $2::integer[], $3::integer[]) AS t (person_id, open_leads, credit)
        WHERE workloads.person_id = t.person_id
        """,
        people,
        [ledger.open_leads.get(person_id, 0) for person_id in people],
        [ledger.credit.get(person_id, 0) for person_id in people],
    )


async def add_assignments(tx: Transaction, assignments: Sequence[Assignment]) -> list[OutboxEvent]:
    """Writes decisions with their explanation and starts the timers; returns the events to be added."""
    if not assignments:
        return []
    await tx.execute(
        """
        INSERT INTO assignments (id, lead_id, owner_id, rule_id, rule_version, priority, reason, candidates, claim_by,
                                 decided_at)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[],
                             $8::jsonb[], $9::timestamptz[], $10::timestamptz[])
        """,
        *zip(*(_row(each) for each in assignments), strict=True),
    )
    await start_timers(
        tx, [(each.lead_id, each.claim_by, each.decided_at) for each in assignments if each.claim_by is not None]
    )
    return [_assigned(each) for each in assignments if each.decision.owner_id is not None]


async def move_leads(tx: Transaction, assignments: Sequence[Assignment], version: int) -> None:
    """Gives leads that are there, locked by `tx`, to the owners their newest decisions name."""
    if not assignments:
        return
    await tx.execute(
        """
        UPDATE leads SET owner_id = t.owner_id, priority = t.priority, waiting = t.waiting, claim_by = t.claim_by,
                         assigned_at = t.decided_at, claimed_at = NULL, sequence = t.sequence, routed_version = $1
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[], $7::timestamptz[],
                    $8::bigint[])
             AS t (id, owner_id, priority, waiting, claim_by, decided_at, sequence)
        WHERE leads.id = t.id
        """,
        version,
        *zip(*(_move(each) for each in assignments), strict=True),
    )


def _row(each: Assignment) -> tuple[Any, ...]:
    decision = each.decision
    candidates = [
        (candidate.person_id, candidate.name, candidate.rejected_because) for candidate in decision.candidates
    ]
    return (
        *(each.id, each.lead_id, decision.owner_id, decision.rule_id, decision.rule_version, decision.priority),
        *(decision.reason, orjson.dumps(candidates).decode(), each.claim_by, each.decided_at),
    )


def _move(each: Assignment) -> tuple[Any, ...]:
    decision = each.decision
    return (
        *(each.lead_id, decision.owner_id, decision.priority, decision.waiting),
        *(each.claim_by, each.decided_at, each.sequence),
    )


def _assigned(assignment: Assignment) -> OutboxEvent:
    decision = assignment.decision
    claim_by = None
    if assignment.claim_by is not None:
        claim_by = Timestamp()
        claim_by.FromDatetime(assignment.claim_by)
    event = LeadAssigned(
        lead_id=assignment.lead_id,
        customer_id=assignment.customer_id,
        assignment_id=assignment.id,
        owner_id=decision.owner_id or "",
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        priority=decision.priority,
        reason=decision.reason,
        claim_by=claim_by,
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
    )
