"""Routing anew what waits for somebody: when people or rules have changed, and when an owner may own no leads any more."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Facts, Ledger, Priority
from services.leads.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class WaitingLead:
    """An open lead that has nobody, only the duty desk, or somebody who may no longer own leads.

    Its row and its customer's are locked until the transaction ends.
    """

    id: str
    customer_id: str
    customer_owner_id: str | None
    owner_id: str | None
    sequence: int
    priority: Priority
    facts: Facts
    lead_name: str
    company: str
    source: str


@dataclass(slots=True)
class Rerouted:
    """Everything one transaction writes."""

    snapshot: Snapshot
    ledger: Ledger
    seen: list[str] = field(default_factory=list)
    """Leads that were looked at: they wait until organisation or rules change again."""
    assignments: list[Assignment] = field(default_factory=list)


class RerouteStore(Protocol):
    """What routing anew needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def take_waiting(self, snapshot: Snapshot, now: datetime, limit: int) -> list[WaitingLead]:
        """Leads last routed under an older snapshot, or whose owner may own none; those of other workers are left."""
        ...

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]: ...

    async def write(self, rerouted: Rerouted) -> None: ...


async def reroute_waiting_leads(
    begin: Callable[[], AbstractAsyncContextManager[RerouteStore]], *, now: datetime, limit: int
) -> int:
    """Routes at most `limit` waiting leads anew in one transaction (125); returns how many it looked at.

    Those with the highest priority first, so that where few have room the most promising leads get it (93).
    """
    async with begin() as store:
        leads = await store.take_waiting(await store.snapshot(), now, limit)
        if not leads:
            return 0
        rerouted = Rerouted(*await store.lock_ledger())
        owners: dict[str, str | None] = {}
        for lead in sorted(leads, key=lambda each: (each.priority, each.id)):
            rerouted.seen.append(lead.id)
            _route_anew(lead, rerouted, owners, now)
        await store.write(rerouted)
    return len(leads)


def _route_anew(lead: WaitingLead, rerouted: Rerouted, owners: dict[str, str | None], now: datetime) -> None:
    snapshot, ledger = rerouted.snapshot, rerouted.ledger
    decision = snapshot.decide(
        lead.facts,
        ledger,
        now,
        customer_owner_id=owners.get(lead.customer_id, lead.customer_owner_id),
        again=lead.owner_id is not None,
    )
    if decision.owner_id == lead.owner_id:
        return
    if lead.owner_id is not None:
        ledger.release(lead.owner_id)
    ledger.record(decision)
    due = None
    if decision.owner_id is not None:
        team_id = snapshot.directory.team_of(decision.owner_id)
        due = snapshot.first_touch.start(team_id, lead.source, now)
        if not decision.waiting:
            owners[lead.customer_id] = decision.owner_id
    rerouted.assignments.append(
        Assignment(
            id=uuid7(),
            lead_id=lead.id,
            customer_id=lead.customer_id,
            decision=decision,
            decided_at=now,
            claim_by=due.at if due else None,
            remind_at=due.remind_at if due else None,
            sequence=lead.sequence + 1,
            lead_name=lead.lead_name,
            company=lead.company,
            source=lead.source,
        )
    )
