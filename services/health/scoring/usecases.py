"""Scoring customers soon after each signal and all of them at night (18); reading the scores."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, tzinfo
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.health.scoring.domain import Health, Model, Observation, score

LIMIT_DEFAULT = 50
LIMIT_MAX = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Worst first; `next_cursor` is opaque and empty on the last page."""

    items: tuple[Health, ...]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class Observations:
    """What is known of one customer: a value by metric, and how many signals there are in all."""

    by_metric: Mapping[str, Observation]
    signals: int


class Scores(Protocol):
    """The scores within one transaction."""

    async def observe(self, model: Model, customer_ids: Sequence[str], now: datetime) -> dict[str, Observations]:
        """What each metric of the model measures, for each customer that has signals."""
        ...

    async def put(self, scored: Sequence[Health]) -> None:
        """Replaces the scores; publishes each change of grade and each fall below the care threshold."""
        ...

    async def take_due(self, customers_max: int) -> Mapping[str, datetime]:
        """Takes customers that wait to be scored, and since when; another replica gets others."""
        ...

    async def start_nightly(self, now: datetime, next_at: datetime) -> bool:
        """Marks every customer as due and moves the nightly run on, when it is due and nobody else did."""
        ...


class ScoreTransactions(Protocol):
    """Opens transactions over the scores."""

    def scores(self) -> AbstractAsyncContextManager[Scores]: ...


class ScoreReader(Protocol):
    """Reading scores that an actor may see: of their own customers, their team's, or all."""

    async def get(self, actor: Actor, customer_id: str) -> Health | None: ...

    async def page(self, actor: Actor, limit: int, cursor: str, *, needs_care: bool) -> Page: ...


async def rescore(scores: Scores, model: Model, customer_ids: Sequence[str], now: datetime) -> dict[str, Health]:
    """Scores the customers anew, within the transaction behind `scores`."""
    observed = await scores.observe(model, customer_ids, now)
    # An import brings thousands nothing is known of yet: they all score alike.
    unknown = score(model, "", {}, 0, now)
    scored = {}
    for customer_id in customer_ids:
        seen = observed.get(customer_id)
        if seen is None:
            scored[customer_id] = replace(unknown, customer_id=customer_id)
        else:
            scored[customer_id] = score(model, customer_id, seen.by_metric, seen.signals, now)
    await scores.put(list(scored.values()))
    return scored


@dataclass(frozen=True, slots=True)
class Scoring:
    """The verbs that keep scores fresh."""

    transactions: ScoreTransactions
    model: Model
    clock: Clock
    nightly_at: time
    zone: tzinfo
    batch_customers_max: int

    async def score_due(self) -> list[float]:
        """Scores one batch of waiting customers; the seconds that each has waited."""
        async with self.transactions.scores() as scores:
            due = await scores.take_due(self.batch_customers_max)
            if due:
                await rescore(scores, self.model, sorted(due), self.clock.now())
        now = self.clock.now()
        return [max(0.0, (now - since).total_seconds()) for since in due.values()]

    async def start_nightly(self) -> bool:
        """Marks all customers when the nightly run is due (18); True when this call did it."""
        now = self.clock.now()
        async with self.transactions.scores() as scores:
            return await scores.start_nightly(now, next_nightly(now, self.nightly_at, self.zone))


def next_nightly(now: datetime, at: time, zone: tzinfo) -> datetime:
    """The first moment after `now` at which it is `at` in `zone`."""
    local = now.astimezone(zone)
    due = local.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return due if due > local else due + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReadHealth:
    """The reading verbs."""

    reader: ScoreReader

    async def get(self, actor: Actor, customer_id: str) -> Health:
        """A customer's score. Raises `NotFoundError`, also for another's customer."""
        health = await self.reader.get(actor, customer_id)
        if health is None:
            raise NotFoundError("no score of such a customer")
        return health

    async def list(self, actor: Actor, limit: int, cursor: str, *, needs_care: bool) -> Page:
        """A page, worst first. Raises `InvalidRequestError` for a limit out of range."""
        if not 0 <= limit <= LIMIT_MAX:
            raise InvalidRequestError("limit is out of range", errors=[FieldError("limit", f"1 to {LIMIT_MAX}")])
        return await self.reader.page(actor, limit or LIMIT_DEFAULT, cursor, needs_care=needs_care)
