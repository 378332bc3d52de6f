"""Working on a lead: claiming it, recording a follow-up, moving its stage."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import ConflictError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.leads.followups.domain import FollowUp, check_follow_up, check_move
from services.leads.idempotence import Answer, Keyed, KeyedStore, answer_once
from services.leads.intake.capture import Lead
from services.leads.intake.domain import OPEN_STAGES, Stage
from services.leads.intake.usecases import owners_of, permit
from services.leads.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Work:
    """What was done to a lead: everything one transaction writes."""

    lead: Lead
    """As it is afterwards."""
    at: datetime
    actor_sub: str
    claimed: bool = False
    moved_from: Stage | None = None
    reason: str = ""
    follow_up_id: str = ""
    follow_up: FollowUp | None = None

    @property
    def closes(self) -> bool:
        return self.moved_from is not None and self.lead.draft.stage not in OPEN_STAGES


class WorkStore(KeyedStore, Protocol):
    """What working on one lead needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def lock_lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...

    async def write(self, work: Work) -> None:
        """Lead, follow-up, timers, load and events."""
        ...


BeginWork = Callable[[], AbstractAsyncContextManager[WorkStore]]


async def claim_lead(
    begin: BeginWork, request: Keyed, actor: Actor, lead_id: str, *, now: datetime, encode: Callable[[Lead], bytes]
) -> Answer:
    """The owner accepts the lead, which ends its first-touch timers (5); claiming again changes nothing."""
    permit(actor)
    async with begin() as store:

        async def work() -> bytes:
            lead = await _locked(store, actor, lead_id)
            if lead.owner_id != actor.sub:
                raise PermissionDeniedError("Only its owner claims a lead.")
            if lead.draft.stage not in OPEN_STAGES:
                raise ConflictError(f"The lead is {lead.draft.stage}.")
            touched, claims = _touch(lead, actor, now)
            if claims:
                await store.write(Work(touched, now, actor.sub, claimed=True))
            return encode(touched)

        return await answer_once(store, request, work)


async def add_follow_up(
    begin: BeginWork,
    request: Keyed,
    actor: Actor,
    lead_id: str,
    record: FollowUp,
    *,
    now: datetime,
    encode: Callable[[str], bytes],
) -> Answer:
    """Records what was said and what comes next (9); the owner's first one claims the lead."""
    permit(actor)
    checked = check_follow_up(record, now)
    async with begin() as store:

        async def work() -> bytes:
            lead = await _locked(store, actor, lead_id)
            touched, claims = _touch(lead, actor, now)
            follow_up_id = uuid7()
            await store.write(
                Work(touched, now, actor.sub, claimed=claims, follow_up_id=follow_up_id, follow_up=checked)
            )
            return encode(follow_up_id)

        return await answer_once(store, request, work)


async def change_stage(
    begin: BeginWork,
    request: Keyed,
    actor: Actor,
    lead_id: str,
    wanted: str,
    reason: str,
    *,
    now: datetime,
    encode: Callable[[Lead], bytes],
) -> Answer:
    """Moves a lead; one that is closed frees its owner and runs no timers."""
    permit(actor)
    async with begin() as store:

        async def work() -> bytes:
            lead = await _locked(store, actor, lead_id)
            present = lead.draft.stage
            stage = check_move(present, wanted, reason)
            if stage is present:
                return encode(lead)
            touched, claims = _touch(lead, actor, now)
            moved = replace(touched, draft=replace(lead.draft, stage=stage))
            await store.write(Work(moved, now, actor.sub, claimed=claims, moved_from=present, reason=reason.strip()))
            return encode(moved)

        return await answer_once(store, request, work)


async def _locked(store: WorkStore, actor: Actor, lead_id: str) -> Lead:
    lead = await store.lock_lead(lead_id, await owners_of(store, actor))
    if lead is None:
        raise NotFoundError("There is no such lead.")
    return lead


def _touch(lead: Lead, actor: Actor, now: datetime) -> tuple[Lead, bool]:
    """The lead as its owner's touch leaves it, and whether that claims it: doing something with a lead accepts it."""
    if lead.owner_id != actor.sub or lead.claimed_at is not None or lead.draft.stage not in OPEN_STAGES:
        return lead, False
    return replace(lead, claimed_at=now), True
