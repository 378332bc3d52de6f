"""The report of a period, for those who steer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor
from services.leads.intake.usecases import permit
from services.leads.routing.snapshot import Snapshot
from services.leads.sla.report.domain import Check, Counts, Targets, by_team, checks

PERIOD_DEFAULT, PERIOD_MAX = timedelta(days=7), timedelta(days=92)


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted of leads captured from `since` until `until`."""

    since: datetime
    until: datetime
    total: Counts
    teams: Mapping[str, Counts]
    checks: tuple[Check, ...]


class ReportStore(Protocol):
    """What a report needs to read."""

    async def snapshot(self) -> Snapshot: ...

    async def counts(
        self, since: datetime, until: datetime, owners: Sequence[str] | None, targets: Targets, now: datetime
    ) -> list[tuple[str, Counts]]:
        """By who has the leads now; '' for those nobody has."""
        ...


async def get_report(
    begin: Callable[[], AbstractAsyncContextManager[ReportStore]],
    actor: Actor,
    since: datetime | None,
    until: datetime | None,
    *,
    targets: Targets,
    now: datetime,
) -> Report:
    """The report of at most `PERIOD_MAX`, of the last week when left out; of the leads `actor` may see."""
    permit(actor)
    until = until or now
    since = since or until - PERIOD_DEFAULT
    if not timedelta(0) < until - since <= PERIOD_MAX:
        raise InvalidRequestError(
            "The period cannot be taken.",
            errors=[FieldError("from", f"must be before to, by {PERIOD_MAX.days} days at most")],
        )
    async with begin() as store:
        directory = (await store.snapshot()).directory
        counted = await store.counts(since, until, directory.visible_owners(actor), targets, now)
    total, teams = by_team(counted, directory)
    return Report(since, until, total, teams, checks(total, targets))
