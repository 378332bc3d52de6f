"""The timeliness board, and the leads behind each of its figures."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError, PayloadTooLargeError
from breakwater.chassis.identity import Actor
from services.leads.boards.domain import (
    PEOPLE_MAX,
    Days,
    Figure,
    LeadTimes,
    LostLead,
    LostProfile,
    Measures,
    Tallies,
    TimelinessBoard,
    business_seconds,
    counts,
    days_of,
    dwell_between,
    judge,
)
from services.leads.intake.domain import is_id
from services.leads.intake.usecases import PAGE_DEFAULT, PAGE_MAX, SnapshotReader, permit
from services.leads.organisation.domain import DUTY_DESK, Directory, Person
from services.leads.routing.domain import TargetKind
from services.leads.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """What boards are measured by, and what one takes on."""

    measures: Measures = field(default_factory=Measures)
    leads_max: int = 200_000
    """Leads one board adds up; more are refused."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    """Whose days are meant where no team is named."""


@dataclass(frozen=True, slots=True)
class BoardQuery:
    """The days and whose leads; empty fields do not narrow."""

    first: str = ""
    last: str = ""
    """YYYY-MM-DD."""
    team_id: str = ""
    owner_id: str = ""
    below: bool = False
    """Of the team, those of the teams below it too."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Leads to read. `owners` narrows to leads first given to these people, None does not."""

    begin: datetime
    end: datetime
    owners: Sequence[str] | None
    desks: Sequence[str]
    """People who are nobody's owner: leads that lie with them are unassigned."""


@dataclass(frozen=True, slots=True)
class LostFilter:
    """Narrows lost leads; empty fields do not."""

    industry: str = ""
    source: str = ""
    dwell: str = ""


@dataclass(frozen=True, slots=True)
class BoardLead:
    """A lead as a figure counts it, with what people know it by."""

    times: LeadTimes
    name: str
    company: str
    present_owner_id: str | None
    stage: str
    industry: str
    source: str
    lost_at: datetime | None
    owner_name: str = ""
    business_s: float | None = None
    """Working time until the response."""


class BoardReader(SnapshotReader, Protocol):
    """One moment of the database."""

    def times(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[LeadTimes], None]:
        """Leads taken in meanwhile, in chunks; those that never had to be routed are none of them."""
        ...

    async def unassigned(self, selection: Selection) -> int:
        """Open leads taken in before `selection.end` that have no owner of their own."""
        ...

    def lost(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[LostLead], None]:
        """Leads lost meanwhile, in chunks."""
        ...

    def leads(self, selection: Selection, before: str | None) -> AsyncGenerator[Sequence[BoardLead], None]:
        """The leads of `times`, newest first, those older than the lead `before`."""
        ...

    async def unassigned_leads(self, selection: Selection, before: str | None, limit: int) -> list[BoardLead]: ...

    async def lost_leads(
        self, selection: Selection, criteria: LostFilter, before: str | None, limit: int
    ) -> list[BoardLead]: ...


BeginBoard = Callable[[], AbstractAsyncContextManager[BoardReader]]


async def get_lead_timeliness(
    begin: BeginBoard, actor: Actor, query: BoardQuery, *, now: datetime, options: BoardOptions
) -> TimelinessBoard:
    """The board of the leads the actor may see.

    Raises InvalidRequestError for days no board can be made of, NotFoundError for a team or a person that is not there or
    not the actor's, PayloadTooLargeError past `leads_max`.
    """
    permit(actor)
    async with begin() as reader:
        return await timeliness(reader, actor, query, now=now, options=options)


async def timeliness(
    reader: BoardReader, actor: Actor, query: BoardQuery, *, now: datetime, options: BoardOptions
) -> TimelinessBoard:
    """As `get_lead_timeliness`, by a reader that is open."""
    snapshot = await reader.snapshot()
    days, selection = _selection(snapshot, actor, query, now, options)
    tallies = Tallies(snapshot.directory, snapshot.first_touch, now, options.measures)
    seen = 0
    async with aclosing(reader.times(selection, options.leads_max + 1)) as chunks:
        async for chunk in chunks:
            seen += len(chunk)
            if seen > options.leads_max:
                raise too_many(options)
            for times in chunk:
                tallies.add(times)
    lost = LostProfile()
    async with aclosing(reader.lost(selection, options.leads_max)) as chunks_lost:
        async for chunk_lost in chunks_lost:
            for lead in chunk_lost:
                lost.add(lead)
    return TimelinessBoard(
        days=days,
        as_of=now,
        total=tallies.total(),
        teams=tallies.teams(),
        people=tallies.people()[:PEOPLE_MAX],
        unassigned=await reader.unassigned(_waiting_since(selection, now, options.measures)),
        lost=lost,
        measures=replace(options.measures, on_time_weight=snapshot.directory.demands.on_time_weight),
    )


async def list_timeliness_leads(
    begin: BeginBoard,
    actor: Actor,
    query: BoardQuery,
    figure: str,
    lost: LostFilter,
    before: str | None,
    limit: int,
    *,
    now: datetime,
    options: BoardOptions,
) -> tuple[list[BoardLead], str | None]:
    """A page of the leads a figure of the board counts, newest first, and the id to go on from (88).

    Raises as `get_lead_timeliness`, and InvalidRequestError for a figure or a page that is not there.
    """
    permit(actor)
    wanted, limit = _page(figure, lost, before, limit)
    async with begin() as reader:
        snapshot = await reader.snapshot()
        _, selection = _selection(snapshot, actor, query, now, options)
        if wanted is Figure.UNASSIGNED:
            found = await reader.unassigned_leads(_waiting_since(selection, now, options.measures), before, limit + 1)
        elif wanted is Figure.LOST:
            found = await reader.lost_leads(selection, lost, before, limit + 1)
        else:
            found = []
            async with aclosing(reader.leads(selection, before)) as chunks:
                async for chunk in chunks:
                    found += [
                        each for each in chunk if counts(wanted, each.times, judge(each.times, now, options.measures))
                    ]
                    if len(found) > limit:
                        break
    visible = snapshot.directory.visible_owners(actor)
    page = [_told(each, snapshot, visible) for each in found[:limit]]
    return page, page[-1].times.id if len(found) > limit else None


def too_many(options: BoardOptions) -> PayloadTooLargeError:
    """What is raised past `leads_max`."""
    return PayloadTooLargeError(f"A board adds up at most {options.leads_max} leads; ask for fewer days.")


def _page(figure: str, lost: LostFilter, before: str | None, limit: int) -> tuple[Figure, int]:
    errors = []
    if figure not in set(Figure):
        errors.append(FieldError("figure", f"is none of {', '.join(Figure)}"))
    elif figure != Figure.LOST and lost != LostFilter():
        errors.append(
            FieldError("figure", "is not lost, and only lost leads are narrowed by industry, source or dwell")
        )
    if lost.dwell and dwell_between(lost.dwell) is None:
        errors.append(FieldError("dwell", "is none of the board's"))
    if not 0 <= limit <= PAGE_MAX:
        errors.append(FieldError("limit", f"is 1 to {PAGE_MAX}"))
    if before is not None and not is_id(before):
        errors.append(FieldError("cursor", "is not one we gave"))
    if errors:
        raise InvalidRequestError("No page can be given.", errors=errors)
    return Figure(figure), limit or PAGE_DEFAULT


def _selection(
    snapshot: Snapshot, actor: Actor, query: BoardQuery, now: datetime, options: BoardOptions
) -> tuple[Days, Selection]:
    directory = snapshot.directory
    owners = _owners(directory, actor, query)
    zone = ZoneInfo(directory.teams[query.team_id].time_zone) if query.team_id else options.zone
    days = days_of(query.first, query.last, zone, now)
    return days, Selection(days.begin, days.end, owners, desks_of(snapshot))


def _waiting_since(selection: Selection, now: datetime, measures: Measures) -> Selection:
    return Selection(selection.begin, now - measures.unassigned_after, selection.owners, selection.desks)


def _owners(directory: Directory, actor: Actor, query: BoardQuery) -> Sequence[str] | None:
    """Whose leads are meant, of those whose records the actor may see (42)."""
    visible = directory.visible_owners(actor)
    if query.team_id and query.team_id not in directory.teams:
        raise NotFoundError("There is no such team.")
    if query.owner_id and query.owner_id not in directory.people:
        raise NotFoundError("There is no such person.")
    if not query.team_id and not query.owner_id:
        return visible
    asked = {query.owner_id} if query.owner_id else {person.id for person in _members(directory, query)}
    if query.team_id and query.owner_id and directory.team_of(query.owner_id) != query.team_id:
        asked = set()
    owners = sorted(asked if visible is None else asked & set(visible))
    if not owners and visible is not None:
        raise NotFoundError("There is no such team or person.")
    return owners


def _members(directory: Directory, query: BoardQuery) -> Sequence[Person]:
    if not query.below:
        return directory.members[query.team_id]
    return [
        person
        for person in directory.everybody
        if any(team.id == query.team_id for team in directory.chain(person.team_id))
    ]


def desks_of(snapshot: Snapshot) -> list[str]:
    """The duty desks of the rules in force: who takes what nobody else can is nobody's owner."""
    named = {rule.target.id for rule in snapshot.rules.rules if rule.target.kind is TargetKind.DUTY_DESK}
    return sorted({DUTY_DESK, *named})


def _told(each: BoardLead, snapshot: Snapshot, visible: Sequence[str] | None) -> BoardLead:
    """The lead with its owner's name; without its own where it has gone to somebody the actor may not look at."""
    owner = snapshot.directory.people.get(each.times.owner_id)
    business_s = business_seconds(each.times, snapshot.directory, snapshot.first_touch)
    told = replace(each, owner_name=owner.name if owner else "", business_s=business_s)
    if visible is not None and each.present_owner_id not in visible:
        told = replace(told, name="", company="")
    return told
