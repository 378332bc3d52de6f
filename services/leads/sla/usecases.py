"""Timers that have come due: the reminder before, the limit, the transfer to the supervisor (5)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.organisation.domain import DUTY_DESK, Directory, Person
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Decision, Ledger, Priority, candidate
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.domain import Due
from services.leads.sla.escalation import above, who_acts

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
    remind_at: datetime | None
    """Where it is still to come: before `due_at` it is the reminder that has come due."""
    started_at: datetime
    used: timedelta
    """Business time that ran before `started_at`."""

    @property
    def next_at(self) -> datetime:
        """When the timer should have been looked at."""
        return self.remind_at or self.due_at


@dataclass(frozen=True, slots=True)
class Overdue:
    """What a passed limit leads to: always an event; after the first stage, the second."""

    timer: DueTimer
    supervisor_id: str
    next_due: Due | None = None


@dataclass(slots=True)
class FiredTimers:
    """Everything one transaction writes."""

    snapshot: Snapshot
    now: datetime
    due_soon: list[DueTimer] = field(default_factory=list)
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
        passed = [timer for timer in timers if timer.due_at <= now]
        second = [timer for timer in passed if timer.stage == 2]  # noqa: PLR2004 - of the two stages
        siblings = await store.lock_siblings([timer.lead for timer in second]) if second else []
        snapshot, ledger = await store.lock_ledger() if second else (await store.snapshot(), None)
        # A reminder that comes after its limit helps nobody: then the limit is told.
        fired = FiredTimers(snapshot, now, [timer for timer in timers if timer.due_at > now], ledger=ledger)
        for timer in passed:
            if timer.stage == 1:
                _unclaimed(timer, fired)
        for timer in second:
            _hand_over(timer, siblings, fired)
        await store.write(fired)
    return [timer.next_at for timer in timers]


def _unclaimed(timer: DueTimer, fired: FiredTimers) -> None:
    directory, lead = fired.snapshot.directory, timer.lead
    next_due = fired.snapshot.first_touch.due(
        directory.team_of(lead.owner_id), lead.source, timer.started_at, stage=2, used=timer.used
    )
    fired.overdue.append(Overdue(timer, who_acts(directory, lead.owner_id), next_due))


def _hand_over(timer: DueTimer, siblings: Sequence[OwnedLead], fired: FiredTimers) -> None:
    """Gives the customer with all its open leads to whoever is above: one customer, one owner (116)."""
    directory, lead = fired.snapshot.directory, timer.lead
    owner = directory.people.get(lead.owner_id) or Person(lead.owner_id, lead.owner_id, active=False)
    receiver = _receiver(directory, owner)
    if receiver is None:
        # Nobody above can take it: the owner keeps it, the event says so, and the 24 h alarm (117) goes on.
        fired.overdue.append(Overdue(timer, ""))
        return
    fired.overdue.append(Overdue(timer, receiver.id))
    moved = {each.lead_id for each in fired.transfers}
    _transfer(lead, owner, receiver, "超时未处理", fired)
    for sibling in siblings:
        if sibling.customer_id == lead.customer_id and sibling.id not in moved:
            _transfer(sibling, owner, receiver, "同一客户的线索超时未处理", fired)


def _receiver(directory: Directory, owner: Person) -> Person | None:
    """The nearest above who can take leads; else the duty desk, where the owner cannot keep theirs."""
    for person in above(directory, owner.id):
        if person.may_own:
            return person
    desk = directory.people.get(DUTY_DESK)
    return desk if desk is not None and desk.active and not owner.may_own else None


def _transfer(lead: OwnedLead, owner: Person, receiver: Person, cause: str, fired: FiredTimers) -> None:
    passed_over = (
        candidate(person.id, person.name, "不能承接线索")
        for person in above(fired.snapshot.directory, owner.id)
        if not person.may_own and person.id != receiver.id
    )
    decision = Decision(
        owner_id=receiver.id,
        rule_id=TRANSFER_RULE,
        rule_version=fired.snapshot.rules.version,
        priority=lead.priority,
        reason=f"{owner.name}的{cause}，转交主管{receiver.name}（双阶超时）",
        candidates=(
            candidate(owner.id, owner.name, cause),
            *passed_over,
            candidate(receiver.id, receiver.name, ""),
        ),
    )
    if fired.ledger is not None:
        if owner.id in fired.snapshot.directory.people:
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
