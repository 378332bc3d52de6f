"""Finding customers that look alike: looked for after they are committed, shown to a person, decided once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.idempotence import Keyed
from services.leads.intake.domain import draft_of
from services.leads.intake.duplicates.domain import Judgement, Likeness, Thresholds, Verdict, judge
from services.leads.intake.merges.usecases import BeginMerging, MergeOrder, merge_customers
from services.leads.intake.usecases import LeadReader, owners_of, permit

FINDER = Actor("duplicates", Role.SERVICE, Scope.ALL)
"""Who merges what is the same without asking."""
CANDIDATES_MAX = 20
"""Compared in full for each of the two ways of finding them; the likeliest first."""


@dataclass(frozen=True, slots=True)
class Resembling:
    """A customer that may be the same."""

    id: str
    name: str
    company: str
    phone: str
    email: str
    owner_id: str | None

    @property
    def likeness(self) -> Likeness:
        return Likeness.of(self.name, self.company, self.phone, self.email)


@dataclass(frozen=True, slots=True)
class Found:
    """Two customers that look alike."""

    customer_id: str
    other: Resembling
    verdict: Verdict
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class KeptDuplicate:
    """A found pair as one of the two sees it."""

    other: Resembling
    state: str
    """suspected, or same while it waits to be merged."""
    judgement: Judgement
    found_at: datetime


@dataclass(frozen=True, slots=True)
class SamePair:
    """Two customers that are one, to be merged."""

    low_id: str
    high_id: str
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of somebody before anything is entered."""

    name: str
    company: str = ""
    phone: str = ""
    email: str = ""


class CheckStore(Protocol):
    """One transaction of the worker."""

    async def take(self, limit: int) -> list[Resembling] | None:
        """Customers to compare, as they are now; None when nothing is asked, or another process is at it."""
        ...

    async def remember(self, customers: Mapping[str, Likeness]) -> None:
        """Makes customers findable."""
        ...

    async def alike(self, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]:
        """For each id asked for, whoever may be the same."""
        ...

    async def keep(self, checked: Sequence[str], found: Sequence[Found], now: datetime) -> None:
        """Replaces what was suspected of the checked ones; pairs that were decided stay as they are."""
        ...

    async def same(self, limit: int) -> list[SamePair]:
        """Pairs that wait to be merged, the oldest first."""
        ...

    async def ask(self, pair: SamePair) -> None:
        """Leaves the pair to a person."""
        ...


class DuplicateReader(LeadReader, Protocol):
    """Reading what was found."""

    async def duplicates_of(self, customer_id: str) -> list[KeptDuplicate]: ...

    async def alike(self, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]: ...

    async def with_keys(self, keys: Sequence[str]) -> list[Resembling]:
        """Customers that have one of these keys."""
        ...


class DismissStore(LeadReader, Protocol):
    """Deciding that two are not the same."""

    async def dismiss(self, customer_id: str, other_id: str, by: str, now: datetime) -> bool:
        """False when no such pair is suspected."""
        ...


async def check_customers(
    begin: Callable[[], AbstractAsyncContextManager[CheckStore]],
    thresholds: Thresholds,
    *,
    now: datetime,
    limit: int,
) -> int:
    """Compares at most `limit` new or changed customers with all there are; returns how many.

    One process at a time does: of two that came together, the second is compared when the first can be found.
    """
    async with begin() as store:
        customers = await store.take(limit)
        if customers is None:
            return 0
        likenesses = {customer.id: customer.likeness for customer in customers}
        await store.remember(likenesses)
        alike = await store.alike(likenesses, CANDIDATES_MAX)
        found: dict[frozenset[str], Found] = {}
        for customer_id, candidates in alike.items():
            for each in _found(customer_id, likenesses[customer_id], candidates, thresholds):
                found.setdefault(frozenset((customer_id, each.other.id)), each)
            # Twenty comparisons are a millisecond of the loop that answers requests.
            await asyncio.sleep(0)
        await store.keep(list(likenesses), list(found.values()), now)
        return len(customers)


async def merge_same(
    begin: Callable[[], AbstractAsyncContextManager[CheckStore]],
    begin_merging: BeginMerging,
    *,
    now: datetime,
    limit: int,
) -> int:
    """Merges what was found to be the same, into the record that was there first; returns how many pairs were settled."""
    async with begin() as store:
        pairs = await store.same(limit)
    for pair in pairs:
        why = "，".join(reason.text for reason in pair.judgement.reasons)
        order = MergeOrder(pair.low_id, pair.high_id, f"判定为同一客户（{pair.judgement.score} 分）：{why}")
        try:
            await merge_customers(
                begin_merging, Keyed(FINDER.sub, "", "", b""), FINDER, order, now=now, encode=lambda _: b""
            )
        except (ConflictError, NotFoundError):
            # One of the two is at work, or part of a third by now: a person looks at what is left of it.
            async with begin() as store:
                await store.ask(pair)
    return len(pairs)


def _found(
    customer_id: str, likeness: Likeness, candidates: Sequence[Resembling], thresholds: Thresholds
) -> list[Found]:
    judged = [(each, judge(likeness, each.likeness)) for each in candidates]
    found = [Found(customer_id, each, thresholds.verdict(judgement.score), judgement) for each, judgement in judged]
    return [each for each in found if each.verdict is not Verdict.DIFFERENT]


async def list_duplicates(
    begin: Callable[[], AbstractAsyncContextManager[DuplicateReader]], actor: Actor, customer_id: str
) -> list[KeptDuplicate]:
    """Who may be the same as a customer the actor may see, the likeliest first."""
    permit(actor)
    async with begin() as reader:
        if await reader.customer(customer_id, await owners_of(reader, actor)) is None:
            raise NotFoundError("There is no such customer.")
        return await reader.duplicates_of(customer_id)


async def find_duplicates(
    begin: Callable[[], AbstractAsyncContextManager[DuplicateReader]],
    actor: Actor,
    asked: Asked,
    thresholds: Thresholds,
) -> list[Found]:
    """Who is there already, asked before anything is entered; the likeliest first, 20 at most."""
    permit(actor)
    draft = draft_of(
        {"name": asked.name, "company": asked.company, "phone": asked.phone, "email": asked.email, "source": "-"}
    )
    likeness = Likeness.of(draft.name, draft.company, draft.phone, draft.email)
    keys = [f"{kind}:{value}" for kind, value in (("phone", draft.phone), ("email", draft.email)) if value]
    async with begin() as reader:
        known = await reader.with_keys(keys) if keys else []
        candidates = (await reader.alike({"": likeness}, CANDIDATES_MAX)).get("", [])
    by_id = {each.id: each for each in (*known, *candidates)}
    found = _found("", likeness, list(by_id.values()), thresholds)
    return sorted(found, key=lambda each: -each.judgement.score)[:CANDIDATES_MAX]


async def dismiss_duplicate(
    begin: Callable[[], AbstractAsyncContextManager[DismissStore]],
    actor: Actor,
    customer_id: str,
    other_id: str,
    *,
    now: datetime,
) -> None:
    """Somebody has looked: the two are two. They are not found again."""
    permit(actor)
    if customer_id == other_id:
        raise InvalidRequestError("A customer is itself.", errors=[FieldError("other_id", "is the same customer")])
    async with begin() as store:
        if await store.customer(customer_id, await owners_of(store, actor)) is None:
            raise NotFoundError("There is no such customer.")
        if not await store.dismiss(customer_id, other_id, actor.sub, now):
            raise NotFoundError("These two are not suspected.")
