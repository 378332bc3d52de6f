"""Working on a lead: claiming it, recording a follow-up, moving its stage."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role
from breakwater.chassis.ids import uuid7
from services.leads.followups.domain import FollowUp, LeadFacts, check_follow_up, check_move, further
from services.leads.followups.playbook import WORD_CHARS_MAX, Playbook
from services.leads.idempotence import Answer, Keyed, KeyedStore, answer_once
from services.leads.intake.capture import Lead
from services.leads.intake.domain import OPEN_STAGES, Stage, clean
from services.leads.intake.usecases import owners_of, permit
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.calendar import Calendar, NoWorkingTimeError


@dataclass(frozen=True, slots=True)
class KeptFollowUp:
    """A follow-up as it is kept."""

    id: str
    lead_id: str
    customer_id: str
    author_id: str
    author_name: str
    record: FollowUp
    created_at: datetime


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
    follow_up: KeptFollowUp | None = None

    @property
    def closes(self) -> bool:
        return self.moved_from is not None and self.lead.draft.stage not in OPEN_STAGES


@dataclass(frozen=True, slots=True)
class Background:
    """What stands behind a locked lead: nobody can change it meanwhile without that lock."""

    owner_id: str | None
    """Whose the customer is; its lead's owner while the customer has none."""
    owner_name: str
    first_touch_at: datetime | None


class WorkStore(KeyedStore, Protocol):
    """What working on one lead needs of one open transaction."""

    async def snapshot(self) -> Snapshot: ...

    async def playbook(self) -> Playbook: ...

    async def lock_lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...

    async def background(self, lead: Lead) -> Background: ...

    async def write(self, work: Work) -> None:
        """Lead, follow-up, timers, load, history and events."""
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
            touched, claims = touch(lead, actor, now)
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
    encode: Callable[[KeptFollowUp], bytes],
) -> Answer:
    """Records what was said and what comes next (9); the owner's first one claims the lead.

    Raises InvalidRequestError naming every field that is missing or wrong (100), ConflictError `owned_by_another` for a
    rep whose customer it is not (116).
    """
    permit(actor)
    async with begin() as store:

        async def work() -> bytes:
            lead, background = await lead_to_work_on(store, actor, lead_id)
            playbook = await store.playbook()
            return encode(await _record(store, actor, lead, background, record, playbook, now))

        return await answer_once(store, request, work)


async def add_quick_follow_up(
    begin: BeginWork,
    request: Keyed,
    actor: Actor,
    lead_id: str,
    code: str,
    keyword: str,
    *,
    now: datetime,
    encode: Callable[[KeptFollowUp], bytes],
) -> Answer:
    """Records a follow-up that an action code fills (60), held to the same standards; raises as `add_follow_up` does."""
    permit(actor)
    keyword = clean(keyword)
    if len(keyword) > WORD_CHARS_MAX:
        reason = f"is longer than {WORD_CHARS_MAX} characters"
        raise InvalidRequestError("The keyword is too long.", errors=[FieldError("keyword", reason)])
    async with begin() as store:

        async def work() -> bytes:
            lead, background = await lead_to_work_on(store, actor, lead_id)
            playbook = await store.playbook()
            action = playbook.actions.get(code)
            if action is None:
                known = "、".join(playbook.actions) or "none"
                raise InvalidRequestError(
                    "There is no such action.", errors=[FieldError("code", f"is no action code; known are {known}")]
                )
            snapshot = await store.snapshot()
            calendar = snapshot.first_touch.calendars[snapshot.directory.team_of(actor.sub)]
            record = action.fill(keyword, _after(calendar, now, timedelta(hours=action.due_after_h)))
            # A code does not know what was reached before: it moves a lead on, never back, and no ended one.
            record = replace(record, stage=further(lead.draft.stage, action.stage) or "")
            return encode(await _record(store, actor, lead, background, record, playbook, now))

        return await answer_once(store, request, work)


def _after(calendar: Calendar, now: datetime, working: timedelta) -> datetime:
    try:
        return calendar.after(now, working)
    except NoWorkingTimeError:
        # As limits do: a calendar in which hardly anybody works keeps nobody from working.
        return now + working


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
            lead, _ = await lead_to_work_on(store, actor, lead_id)
            present = lead.draft.stage
            stage = check_move(present, wanted, reason)
            if stage is present:
                return encode(lead)
            touched, claims = touch(lead, actor, now)
            moved = replace(touched, draft=replace(lead.draft, stage=stage))
            await store.write(Work(moved, now, actor.sub, claimed=claims, moved_from=present, reason=reason.strip()))
            return encode(moved)

        return await answer_once(store, request, work)


async def _record(
    store: WorkStore,
    actor: Actor,
    lead: Lead,
    background: Background,
    record: FollowUp,
    playbook: Playbook,
    now: datetime,
) -> KeptFollowUp:
    present = lead.draft.stage
    facts = LeadFacts(present, lead.draft.source, background.first_touch_at or now)
    checked = check_follow_up(record, playbook.standards, facts, now)
    touched, claims = touch(lead, actor, now)
    moved_from = None
    if checked.stage != present:
        stage = check_move(present, checked.stage, "")
        touched, moved_from = replace(touched, draft=replace(lead.draft, stage=stage)), present
    author = (await store.snapshot()).directory.people.get(actor.sub)
    kept = KeptFollowUp(
        uuid7(), lead.id, lead.customer_id, actor.sub, author.name if author else actor.sub, checked, now
    )
    await store.write(
        Work(touched, now, actor.sub, claimed=claims, moved_from=moved_from, reason="跟进记录", follow_up=kept)
    )
    return kept


async def _locked(store: WorkStore, actor: Actor, lead_id: str) -> Lead:
    lead = await store.lock_lead(lead_id, await owners_of(store, actor))
    if lead is None:
        raise NotFoundError("There is no such lead.")
    return lead


async def lead_to_work_on(store: WorkStore, actor: Actor, lead_id: str) -> tuple[Lead, Background]:
    """The lead, locked, for somebody who may work on it: one customer, one owner (116).

    A rep works on their own customers alone, whatever more they may see; those who lead and other systems on all they see.
    While a customer's owner may own none any more, it is whoever has the lead.
    """
    lead = await _locked(store, actor, lead_id)
    background = await store.background(lead)
    if (
        actor.role is Role.SALES
        and background.owner_id != actor.sub
        and not await _stands_in(store, actor, lead, background)
    ):
        owner = f"{background.owner_name}（{background.owner_id}）" if background.owner_id else "nobody yet"
        raise ConflictError(
            f"One customer, one owner: this one belongs to {owner}.",
            code="owned_by_another",
            errors=[FieldError("owner_id", f"is {background.owner_id or 'nobody yet'}")],
        )
    return lead, background


async def _stands_in(store: WorkStore, actor: Actor, lead: Lead, background: Background) -> bool:
    if lead.owner_id != actor.sub:
        return False
    owner = (await store.snapshot()).directory.people.get(background.owner_id or "")
    return owner is None or not owner.may_own


def touch(lead: Lead, actor: Actor, now: datetime) -> tuple[Lead, bool]:
    """The lead as its owner's touch leaves it, and whether that claims it: doing something with a lead accepts it."""
    if lead.owner_id != actor.sub or lead.claimed_at is not None or lead.draft.stage not in OPEN_STAGES:
        return lead, False
    return replace(lead, claimed_at=now), True
