"""Timers that have come due: the reminder, then the transfer to the supervisor (5)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Candidate, Decision, Ledger, Priority
from services.leads.routing.snapshot import Snapshot

TRANSFER_RULE = "first-touch-overdue"
"""Rule id of the decision that gives an unprocessed lead to the supervisor."""


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer past its time with its lead; both, and the lead's customer, are locked until the transaction ends."""

    lead_id: str
    stage: int
    due_at: datetime
    started_at: datetime
    customer_id: str
    owner_id: str
    priority: Priority
    sequence: int
    """Of the lead's last event."""
    lead_name: str
    company: str
    source: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """What a fired timer leads to: always an event, then the next stage or a new owner."""

    timer: DueTimer
    supervisor_id: str
    next_due_at: datetime | None = None
    transfer: Assignment | None = None


@dataclass(slots=True)
class FiredTimers:
    """Everything one transaction writes."""

    snapshot: Snapshot
    now: datetime
    overdue: list[Overdue] = field(default_factory=list)
    ledger: Ledger | None = None


class TimerStore(Protocol):
    """What firing timers needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def take_due(self, now: datetime, limit: int) -> list[DueTimer]:
        """Timers due at `now`, the most overdue first; those that another worker has are left to it."""
        ...

    async def lock_ledger(self) -> Ledger: ...

    async def write(self, fired: FiredTimers) -> None: ...


async def fire_due_timers(
    begin: Callable[[], AbstractAsyncContextManager[TimerStore]], *, now: datetime, limit: int
) -> list[DueTimer]:
    """Fires at most `limit` timers in one transaction; returns them, the most overdue first."""
    async with begin() as store:
        timers = await store.take_due(now, limit)
        if not timers:
            return []
        fired = FiredTimers(await store.snapshot(), now)
        if any(timer.stage == 2 for timer in timers):  # noqa: PLR2004 - the second of two stages
            fired.ledger = await store.lock_ledger()
        for timer in timers:
            fired.overdue.append(_remind(timer, fired) if timer.stage == 1 else _transfer(timer, fired))
        await store.write(fired)
    return timers


def _remind(timer: DueTimer, fired: FiredTimers) -> Overdue:
    directory, first_touch = fired.snapshot.directory, fired.snapshot.first_touch
    team_id = directory.team_of(timer.owner_id)
    next_due_at = first_touch.due(team_id, timer.source, timer.started_at, stage=2)
    return Overdue(timer, directory.supervisor_of(timer.owner_id), next_due_at=next_due_at)


def _transfer(timer: DueTimer, fired: FiredTimers) -> Overdue:
    directory = fired.snapshot.directory
    supervisor = directory.people.get(directory.supervisor_of(timer.owner_id))
    if supervisor is None or not supervisor.may_own or fired.ledger is None:
        # Nobody above can take it: the owner keeps it, and the event says so.
        return Overdue(timer, "")
    owner = directory.people.get(timer.owner_id)
    owner_name = owner.name if owner else timer.owner_id
    decision = Decision(
        owner_id=supervisor.id,
        rule_id=TRANSFER_RULE,
        rule_version=fired.snapshot.rules.version,
        priority=timer.priority,
        reason=f"{owner_name}超时未处理，转交主管{supervisor.name}（双阶超时）",
        candidates=(
            Candidate(timer.owner_id, owner_name, "超时未处理"),
            Candidate(supervisor.id, supervisor.name, ""),
        ),
    )
    fired.ledger.release(timer.owner_id)
    fired.ledger.record(decision)
    transfer = Assignment(
        id=uuid7(),
        lead_id=timer.lead_id,
        customer_id=timer.customer_id,
        decision=decision,
        decided_at=fired.now,
        claim_by=None,
        sequence=timer.sequence + 2,
        lead_name=timer.lead_name,
        company=timer.company,
        source=timer.source,
    )
    return Overdue(timer, supervisor.id, transfer=transfer)
