"""Creating leads, and reading leads and customers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from breakwater.chassis.errors import (
    BreakwaterError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.idempotence import Answer, Keyed
from services.leads.intake.capture import Captured, CaptureStore, Lead, capture_leads
from services.leads.intake.domain import LeadDraft, is_id
from services.leads.routing.domain import Candidate
from services.leads.routing.snapshot import Snapshot

BUSINESS_ROLES = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})
"""Roles with business data; on-call and SRE have none (expectations.md, Security 1)."""

PAGE_DEFAULT, PAGE_MAX = 50, 200


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A normalised lead to create for a caller."""

    keyed: Keyed
    draft: LeadDraft


class CreateStore(CaptureStore, Protocol):
    """A capture's transaction that also keeps answers."""

    async def first_answers(self, requests: Sequence[Keyed]) -> list[bytes | BreakwaterError | None]:
        """For each: its first answer, why it cannot be answered, or None when it is new."""
        ...

    async def keep_answers(self, answers: Sequence[tuple[Keyed, bytes]]) -> None: ...


async def create_leads(
    begin: Callable[[], AbstractAsyncContextManager[CreateStore]],
    requests: Sequence[CreateRequest],
    *,
    now: datetime,
    encode: Callable[[CreateRequest, Captured, datetime], bytes],
) -> list[Answer | BreakwaterError]:
    """Creates all leads in one transaction; replays get their first answer, a reused key its refusal."""
    async with begin() as store:
        outcomes = [
            Answer(found, replayed=True) if isinstance(found, bytes) else found
            for found in await store.first_answers([request.keyed for request in requests])
        ]
        new = [request for request, outcome in zip(requests, outcomes, strict=True) if outcome is None]
        captured = await capture_leads(store, [request.draft for request in new], now=now)
        contents = [encode(request, each, now) for request, each in zip(new, captured, strict=True)]
        await store.keep_answers([(request.keyed, content) for request, content in zip(new, contents, strict=True)])
    fresh = iter(contents)
    return [Answer(next(fresh)) if outcome is None else outcome for outcome in outcomes]


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Narrows a list; empty fields do not."""

    stage: str = ""
    owner_id: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class KeptAssignment:
    """One decision of a lead's history (8)."""

    id: str
    lead_id: str
    owner_id: str | None
    rule_id: str
    rule_version: int
    priority: str
    reason: str
    candidates: tuple[Candidate, ...]
    claim_by: datetime | None
    decided_at: datetime
    score: Decimal | None = None
    """The lead's by the formula of the rules."""


@dataclass(frozen=True, slots=True)
class PainTag:
    """What hurts a customer, as its records say (12)."""

    tag: str
    records: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class KnownCustomer:
    """A customer with those of its leads the actor may see."""

    id: str
    name: str
    company: str
    phone: str
    email: str
    owner_id: str | None
    created_at: datetime
    leads: tuple[Lead, ...] = ()
    pain_tags: tuple[PainTag, ...] = ()
    """The most frequent first."""


class SnapshotReader(Protocol):
    """Whoever can tell the newest organisation."""

    async def snapshot(self) -> Snapshot: ...


class LeadReader(SnapshotReader, Protocol):
    """Reading; `owners` narrows to records of these owners, None does not."""

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...

    async def leads(
        self, owners: Sequence[str] | None, criteria: LeadFilter, before: str | None, limit: int
    ) -> list[Lead]:
        """Newest first, those older than the lead `before`."""
        ...

    async def assignments(self, lead_id: str) -> list[KeptAssignment]: ...

    async def customer(self, customer_id: str, owners: Sequence[str] | None) -> KnownCustomer | None: ...


BeginReading = Callable[[], AbstractAsyncContextManager[LeadReader]]


def permit(actor: Actor, roles: frozenset[Role] = BUSINESS_ROLES) -> None:
    """Raises PermissionDeniedError unless the actor has one of the roles."""
    if actor.role not in roles:
        raise PermissionDeniedError(f"The role {actor.role} has no access to this.")


async def owners_of(reader: SnapshotReader, actor: Actor) -> Sequence[str] | None:
    """Whose records the actor may see; asks for the organisation only where a team is meant."""
    if actor.scope is Scope.ALL:
        return None
    if actor.scope is Scope.OWN:
        return (actor.sub,)
    return (await reader.snapshot()).directory.visible_owners(actor)


async def get_lead(begin: BeginReading, actor: Actor, lead_id: str) -> Lead:
    """One lead; another's is not found."""
    permit(actor)
    async with begin() as reader:
        lead = await reader.lead(lead_id, await owners_of(reader, actor))
    if lead is None:
        raise NotFoundError("There is no such lead.")
    return lead


async def list_leads(
    begin: BeginReading, actor: Actor, criteria: LeadFilter, before: str | None, limit: int
) -> tuple[list[Lead], str | None]:
    """A page, newest first, and the id to go on from. `limit` 0 means 50; raises InvalidRequestError past 200."""
    permit(actor)
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    if before is not None and not is_id(before):
        raise InvalidRequestError("The cursor is not one we gave.", errors=[FieldError("cursor", "is not one we gave")])
    limit = limit or PAGE_DEFAULT
    async with begin() as reader:
        leads = await reader.leads(await owners_of(reader, actor), criteria, before, limit + 1)
    return leads[:limit], leads[limit - 1].id if len(leads) > limit else None


async def list_assignments(begin: BeginReading, actor: Actor, lead_id: str) -> list[KeptAssignment]:
    """Every decision of a lead the actor may see, oldest first (8)."""
    permit(actor)
    async with begin() as reader:
        if await reader.lead(lead_id, await owners_of(reader, actor)) is None:
            raise NotFoundError("There is no such lead.")
        return await reader.assignments(lead_id)


async def get_customer(begin: BeginReading, actor: Actor, customer_id: str) -> KnownCustomer:
    """One customer the actor owns, or has a lead of."""
    permit(actor)
    async with begin() as reader:
        customer = await reader.customer(customer_id, await owners_of(reader, actor))
    if customer is None:
        raise NotFoundError("There is no such customer.")
    return customer
