"""Telling more of a lead, as far as its growth has come (75, 76), and what completeness is worth (78)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.leads.idempotence import Answer, Keyed, KeyedStore, answer_once
from services.leads.intake.capture import Lead
from services.leads.intake.domain import LeadDraft, money, normalise
from services.leads.intake.growth.domain import COLUMNS, Growth, known_of
from services.leads.intake.usecases import LeadReader, owners_of, permit

REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Grown:
    """A lead with how far it has come."""

    lead: Lead
    open_stages: int
    """Of the document's stages, from the first on."""
    completeness: int
    """Percent."""
    missing: tuple[str, ...]
    """What the newest open stage still asks for; `phone|email` where either is enough."""
    growth: Growth


@dataclass(frozen=True, slots=True)
class Band:
    """Leads of one completeness, and what became of them."""

    from_percent: int
    leads: int
    converted: int


class GrowthStore(KeyedStore, LeadReader, Protocol):
    """One transaction."""

    async def growth(self) -> Growth: ...

    async def edit(
        self, lead: Lead, draft: LeadDraft, changed: Sequence[str], by: str, reason: str, now: datetime
    ) -> None:
        """Writes the changed fields of a lead; its customer learns what it did not know."""
        ...

    async def lock_lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...


class GrowthReader(LeadReader, Protocol):
    """Reading."""

    async def growth(self) -> Growth: ...

    async def bands(self, growth: Growth, since: datetime, owners: Sequence[str] | None) -> list[Band]:
        """Leads captured since, by completeness in steps of 20 percent."""
        ...


BeginGrowth = Callable[[], AbstractAsyncContextManager[GrowthStore]]
BeginGrowthReading = Callable[[], AbstractAsyncContextManager[GrowthReader]]


def grown(lead: Lead, growth: Growth) -> Grown:
    """How far a lead has come."""
    known = known_of(lead.draft)
    opened = growth.open_stages(known)
    return Grown(lead, opened, growth.completeness(known), tuple(growth.stages[opened - 1].missing(known)), growth)


async def get_grown(begin: BeginGrowthReading, actor: Actor, lead_id: str) -> Grown:
    """A lead the actor may see, with what its stage unlocks."""
    permit(actor)
    async with begin() as reader:
        lead = await reader.lead(lead_id, await owners_of(reader, actor))
        if lead is None:
            raise NotFoundError("There is no such lead.")
        return grown(lead, await reader.growth())


async def edit_lead(
    begin: BeginGrowth,
    request: Keyed,
    actor: Actor,
    lead_id: str,
    given: Mapping[str, str],
    reason: str,
    *,
    now: datetime,
    encode: Callable[[Grown], bytes],
) -> Answer:
    """Sets fields of a lead; a blank clears one.

    Raises InvalidRequestError naming every field that is none, belongs to a stage that is not open, or cannot be taken.
    """
    permit(actor)
    if not given or len(reason) > REASON_CHARS_MAX:
        wrong = FieldError("fields", "is empty") if not given else FieldError("reason", "is too long")
        raise InvalidRequestError(
            "There is nothing to change." if not given else "The reason is too long.", errors=[wrong]
        )
    async with begin() as store:

        async def work() -> bytes:
            lead = await store.lock_lead(lead_id, await owners_of(store, actor))
            if lead is None:
                raise NotFoundError("There is no such lead.")
            growth = await store.growth()
            if errors := growth.against(known_of(lead.draft), given):
                raise InvalidRequestError("The lead has not come so far.", code="growth_stage", errors=errors)
            draft = edited(lead.draft, given)
            before, after = known_of(lead.draft), known_of(draft)
            changed = sorted(name for name in given if before.get(name, "") != after.get(name, ""))
            if changed:
                await store.edit(lead, draft, changed, actor.sub, reason, now)
            return encode(grown(replace(lead, draft=draft), growth))

        return await answer_once(store, request, work)


def edited(draft: LeadDraft, given: Mapping[str, str]) -> LeadDraft:
    """The draft with fields set, in their one form; raises InvalidRequestError naming `fields.NAME`."""
    values: dict[str, Any] = {name: value for name, value in given.items() if name in COLUMNS}
    errors = []
    if "budget" in values:
        try:
            values["budget"] = money(given["budget"])
        except ValueError as error:
            values["budget"] = Decimal(0)
            errors.append(FieldError("fields.budget", str(error)))
    details = {**draft.details, **{name: value for name, value in given.items() if name not in COLUMNS}}
    changed = replace(draft, **values, details={name: value for name, value in details.items() if value})
    try:
        changed = normalise(changed)
    except InvalidRequestError as error:
        errors += [FieldError(f"fields.{each.field}", each.reason) for each in error.errors]
    if errors:
        raise InvalidRequestError("The lead has fields that cannot be taken.", errors=errors)
    return changed


async def check_details(begin: BeginGrowthReading, draft: LeadDraft) -> None:
    """Raises InvalidRequestError naming details of a new lead that are none, or belong to a stage that is not open."""
    if not draft.details:
        return
    async with begin() as reader:
        growth = await reader.growth()
    if errors := growth.against(known_of(replace(draft, details={})), draft.details):
        raise InvalidRequestError("The lead has not come so far.", code="growth_stage", errors=errors)


async def get_bands(begin: BeginGrowthReading, actor: Actor, since: datetime) -> list[Band]:
    """How often leads of each completeness are converted (78), of those the actor may see."""
    permit(actor)
    async with begin() as reader:
        return await reader.bands(await reader.growth(), since, await owners_of(reader, actor))
