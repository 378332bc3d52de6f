"""Stopping a lead's first-touch clock and letting it run again: the customer asked for time, a certificate is missing (84)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import ConflictError, NotFoundError
from breakwater.chassis.identity import Actor
from services.leads.intake.usecases import permit
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.pauses.domain import LeadClock, Pause, RunningClock, check_reason, paused, resumed


@dataclass(frozen=True, slots=True)
class LockedClock:
    """A lead's clock, locked with the lead until the transaction ends."""

    lead_id: str
    owner_id: str
    source: str
    running: RunningClock | None


class ClockStore(Protocol):
    """What clocks need of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def read_clock(self, lead_id: str, owners: Sequence[str] | None) -> LeadClock | None: ...

    async def lock_clock(self, lead_id: str, owners: Sequence[str] | None) -> LockedClock | None: ...

    async def pause(self, lead_id: str, clock: RunningClock, pause: Pause) -> None: ...

    async def resume(self, lead_id: str, clock: RunningClock, resumed_by: str) -> None: ...


BeginClocks = Callable[[], AbstractAsyncContextManager[ClockStore]]


async def get_clock(begin: BeginClocks, actor: Actor, lead_id: str) -> LeadClock:
    """How the clock of a lead stands that `actor` may see. Raises NotFoundError."""
    permit(actor)
    async with begin() as store:
        return await _clock(store, actor, lead_id)


async def pause_clock(begin: BeginClocks, actor: Actor, lead_id: str, reason: str, *, now: datetime) -> LeadClock:
    """Stops the clock, with who and why; one that stands stands on. The 24 h alarm (117) goes on.

    Raises NotFoundError, InvalidRequestError without a reason, ConflictError when nothing is running.
    """
    permit(actor)
    reason = check_reason(reason)
    async with begin() as store:
        snapshot, locked, running = await _running(store, actor, lead_id)
        if running.paused_at is None:
            team_id = snapshot.directory.team_of(locked.owner_id)
            await store.pause(
                lead_id, paused(running, snapshot.first_touch, team_id, now), Pause(now, actor.sub, reason)
            )
        return await _clock(store, actor, lead_id)


async def resume_clock(begin: BeginClocks, actor: Actor, lead_id: str, *, now: datetime) -> LeadClock:
    """Lets the clock run on with what was left of its time; one that runs runs on. Raises as `pause_clock` does."""
    permit(actor)
    async with begin() as store:
        snapshot, locked, running = await _running(store, actor, lead_id)
        if running.paused_at is not None:
            team_id = snapshot.directory.team_of(locked.owner_id)
            clock = resumed(running, snapshot.first_touch, team_id, locked.source, now)
            await store.resume(lead_id, clock, actor.sub)
        return await _clock(store, actor, lead_id)


async def _running(store: ClockStore, actor: Actor, lead_id: str) -> tuple[Snapshot, LockedClock, RunningClock]:
    snapshot = await store.snapshot()
    locked = await store.lock_clock(lead_id, snapshot.directory.visible_owners(actor))
    if locked is None:
        raise NotFoundError("There is no such lead.")
    if locked.running is None:
        raise ConflictError("No clock is running for this lead: it was worked on, or went to the supervisor.")
    return snapshot, locked, locked.running


async def _clock(store: ClockStore, actor: Actor, lead_id: str) -> LeadClock:
    clock = await store.read_clock(lead_id, (await store.snapshot()).directory.visible_owners(actor))
    if clock is None:
        raise NotFoundError("There is no such lead.")
    return clock
