"""Timers that have come due: the reminder, then the transfer to the supervisor (5)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.organisation.domain import Person
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Decision, Ledger, Priority, candidate
from services.leads.routing.snapshot import Snapshot

TRANSFER_RULE = "first-touch-overdue"
"""Rule id of the decision that gives an unprocessed lead to the supervisor."""


@dataclass(frozen=True, slots=True)
class OwnedLead:
    """An open lead and who has it; its row is locked until the transaction ends."""

    id: str
    customer_id: str
    owner_id: str
    priority: Priority
    sequence: int
    """Of its last event."""
    name: str
    company: str
    source: str


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer past its time; it, its lead and the lead's customer are locked until the transaction ends."""

    lead: OwnedLead
    stage: int
    due_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Overdue:
    """What a fired timer leads to: always an event; after the first stage, the second."""

    timer: DueTimer
    supervisor_id: str
    next_due_at: datetime | None = None


@dataclass(slots=True)
class FiredTimers:
    """Everything one transaction writes."""

    snapshot: Snapshot
    now: datetime
    overdue: list[Overdue] = field(default_factory=list)
    transfers: list[Assignment] = field(default_factory=list)
    ledger: Ledger | None = None


class TimerStore(Protocol):
    """What firing timers needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def take_due(self, now: datetime, limit: int) -> list[DueTimer]:
        """Timers due at `now`, the most overdue first; those that another worker has are left to it."""
        ...

    async def lock_siblings(self, leads: Sequence[OwnedLead]) -> list[OwnedLead]:
        """The other open leads of the same customers, locked."""
        ...

    async def lock_ledger(self) -> tuple[Snapshot, Ledger]: ...

    async def write(self, fired: FiredTimers) -> None: ...


async def fire_due_timers(
    begin: Callable[[], AbstractAsyncContextManager[TimerStore]], *, now: datetime, limit: int
) -> list[datetime]:
    """Fires at most `limit` timers in one transaction; returns when each was due, the most overdue first."""
    async with begin() as store:
        timers = await store.take_due(now, limit)
        if not timers:
            return []
        second = [timer.lead for timer in timers if timer.stage == 2]  # noqa: PLR2004 - of the two stages
        siblings = await store.lock_siblings(second) if second else []
        snapshot, ledger = await store.lock_ledger() if second else (await store.snapshot(), None)
        fired = FiredTimers(snapshot, now, ledger=ledger)
        for timer in timers:
            if timer.stage == 1:
                _remind(timer, fired)
        for timer in timers:
            if timer.stage != 1:
                _hand_over(timer, siblings, fired)
        await store.write(fired)
    return [timer.due_at for timer in timers]


def _remind(timer: DueTimer, fired: FiredTimers) -> None:
    directory, lead = fired.snapshot.directory, timer.lead
    next_due_at = fired.snapshot.first_touch.due(
        directory.team_of(lead.owner_id), lead.source, timer.started_at, stage=2
    )
    fired.overdue.append(Overdue(timer, directory.supervisor_of(lead.owner_id), next_due_at))


def _hand_over(timer: DueTimer, siblings: Sequence[OwnedLead], fired: FiredTimers) -> None:
    """Gives the customer with all its open leads to the supervisor: one customer, one owner (116)."""
    directory, lead = fired.snapshot.directory, timer.lead
    owner = directory.people.get(lead.owner_id)
    supervisor = directory.people.get(directory.supervisor_of(lead.owner_id))
    if owner is None or supervisor is None or not supervisor.may_own:
        # Nobody above can take it: the owner keeps it, and the event says so.
        fired.overdue.append(Overdue(timer, ""))
        return
    fired.overdue.append(Overdue(timer, supervisor.id))
    moved = {each.lead_id for each in fired.transfers}
    _transfer(lead, owner, supervisor, "超时未处理", fired)
    for sibling in siblings:
        if sibling.customer_id == lead.customer_id and sibling.id not in moved:
            _transfer(sibling, owner, supervisor, "同一客户的线索超时未处理", fired)


def _transfer(lead: OwnedLead, owner: Person, supervisor: Person, cause: str, fired: FiredTimers) -> None:
    decision = Decision(
        owner_id=supervisor.id,
        rule_id=TRANSFER_RULE,
        rule_version=fired.snapshot.rules.version,
        priority=lead.priority,
        reason=f"{owner.name}的{cause}，转交主管{supervisor.name}（双阶超时）",
        candidates=(candidate(owner.id, owner.name, cause), candidate(supervisor.id, supervisor.name, "")),
    )
    if fired.ledger is not None:
        fired.ledger.release(owner.id)
        fired.ledger.record(decision)
    fired.transfers.append(
        Assignment(
            id=uuid7(),
            lead_id=lead.id,
            customer_id=lead.customer_id,
            decision=decision,
            decided_at=fired.now,
            claim_by=None,
            sequence=lead.sequence + sum(each.timer.lead.id == lead.id for each in fired.overdue) + 1,
            lead_name=lead.name,
            company=lead.company,
            source=lead.source,
        )
    )
