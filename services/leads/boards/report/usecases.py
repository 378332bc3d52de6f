"""The report of a period, for those who steer."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor
from services.leads.boards.report.domain import Check, Counted, Counts, Watched, checks
from services.leads.boards.usecases import BoardOptions, Selection, desks_of, too_many
from services.leads.intake.usecases import SnapshotReader, permit

PERIOD_DEFAULT, PERIOD_MAX = timedelta(days=7), timedelta(days=92)


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted of leads captured from `since` until `until`."""

    since: datetime
    until: datetime
    total: Counts
    teams: Mapping[str, Counts]
    checks: tuple[Check, ...]


class ReportReader(SnapshotReader, Protocol):
    """One moment of the database."""

    def watched(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[Watched], None]:
        """The leads a board of these days counts, in chunks."""
        ...


BeginReport = Callable[[], AbstractAsyncContextManager[ReportReader]]


async def get_report(
    begin: BeginReport,
    actor: Actor,
    since: datetime | None,
    until: datetime | None,
    *,
    now: datetime,
    options: BoardOptions,
) -> Report:
    """The report of at most `PERIOD_MAX`, of the last week when left out; of the leads `actor` may see.

    Raises InvalidRequestError for another period, PayloadTooLargeError past `leads_max`.
    """
    permit(actor)
    until = until or now
    since = since or until - PERIOD_DEFAULT
    if not timedelta(0) < until - since <= PERIOD_MAX:
        raise InvalidRequestError(
            "The period cannot be taken.",
            errors=[FieldError("from", f"must be before to, by {PERIOD_MAX.days} days at most")],
        )
    async with begin() as reader:
        snapshot = await reader.snapshot()
        selection = Selection(since, until, snapshot.directory.visible_owners(actor), desks_of(snapshot))
        counted, seen = Counted(snapshot.directory, now, options.measures), 0
        async with aclosing(reader.watched(selection, options.leads_max + 1)) as chunks:
            async for chunk in chunks:
                seen += len(chunk)
                if seen > options.leads_max:
                    raise too_many(options)
                for lead in chunk:
                    counted.add(lead)
    total = counted.total()
    return Report(since, until, total, counted.teams(), checks(total, options.measures))
