"""Showing the organisation, and what is to be put right in it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.organisation.domain import NOTHING_TAKEN, Demands, Directory, Person, Taken, Team, reason_against
from services.leads.organisation.findings import Finding, Missing, Routed, find

PAGE_DEFAULT, PAGE_MAX = 50, 200
_READERS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Workload:
    """What somebody has on their hands, and the sequence of their last change."""

    open_leads: int = 0
    taken: Taken = NOTHING_TAKEN
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class PersonAtWork:
    """A person, how much they have on their hands, and whether they can be given more."""

    person: Person
    supervisor_id: str
    """Their own or their team's."""
    open_leads: int
    taken: Taken
    """As it counts today."""
    reason_against: str
    """Why they can be given no lead now; empty when they can."""
    sequence: int
    """Of their last change."""


@dataclass(frozen=True, slots=True)
class TeamOfPeople:
    """A team and how many are in it."""

    team: Team
    members: int


class DirectoryReader(Protocol):
    """What showing people needs."""

    async def directory(self) -> Directory: ...

    async def workloads(self) -> dict[str, Workload]:
        """By person."""
        ...

    async def missing(self) -> list[Missing]:
        """Who was not in the latest full export of their directory."""
        ...

    async def routed(self) -> list[Routed]:
        """The teams that the rules in force give leads to, by rule in its order."""
        ...


BeginReading = Callable[[], AbstractAsyncContextManager[DirectoryReader]]


def permit_reading(actor: Actor) -> None:
    """Raises PermissionDeniedError for somebody without business data."""
    if actor.role not in _READERS:
        raise PermissionDeniedError(f"The role {actor.role} has no access to people.")


async def list_people(
    begin: BeginReading, actor: Actor, after: str, limit: int, *, now: datetime
) -> tuple[list[PersonAtWork], str]:
    """A page of the people the actor may see, by id, and the id to go on from; empty at the end."""
    permit_reading(actor)
    limit = _limit(limit)
    async with begin() as reader:
        directory = await reader.directory()
        workloads = await reader.workloads()
    visible = directory.visible_owners(actor)
    ids = sorted(directory.people if visible is None else directory.people.keys() & set(visible))
    page, next_place = _page(ids, after, limit)
    return [at_work(directory, person_id, workloads, now) for person_id in page], next_place


async def get_person(begin: BeginReading, actor: Actor, person_id: str, *, now: datetime) -> PersonAtWork:
    """One person the actor may see; raises NotFoundError."""
    permit_reading(actor)
    async with begin() as reader:
        directory = await reader.directory()
        workloads = await reader.workloads()
    visible = directory.visible_owners(actor)
    if person_id not in directory.people or (visible is not None and person_id not in visible):
        raise NotFoundError("There is no such person.")
    return at_work(directory, person_id, workloads, now)


def at_work(directory: Directory, person_id: str, workloads: dict[str, Workload], now: datetime) -> PersonAtWork:
    """Somebody of the directory as they are shown."""
    person = directory.people[person_id]
    load = workloads.get(person_id, Workload())
    return PersonAtWork(
        person=person,
        supervisor_id=directory.supervisor_of(person_id),
        open_leads=load.open_leads,
        taken=load.taken.on(directory.day_of(person, now)),
        reason_against=reason_against(person, directory, now, open_leads=load.open_leads, taken=load.taken),
        sequence=load.sequence,
    )


async def list_findings(begin: BeginReading, actor: Actor, after: str, limit: int) -> tuple[list[Finding], str]:
    """A page of what is to be put right about people the actor may see, and about teams with scope all."""
    permit_reading(actor)
    limit = _limit(limit)
    async with begin() as reader:
        directory = await reader.directory()
        missing = await reader.missing()
        routed = await reader.routed()
    visible = directory.visible_owners(actor)
    found = {
        f"{each.kind}:{each.person_id}:{each.team_id}": each
        for each in find(directory, missing, routed)
        if visible is None or each.person_id in visible
    }
    page, next_place = _page(sorted(found), after, limit)
    return [found[place] for place in page], next_place


async def list_teams(begin: BeginReading, actor: Actor, after: str, limit: int) -> tuple[list[TeamOfPeople], str]:
    """A page of all teams, by id: their names say nothing of customers."""
    permit_reading(actor)
    limit = _limit(limit)
    async with begin() as reader:
        directory = await reader.directory()
    page, next_place = _page(sorted(directory.teams), after, limit)
    return [TeamOfPeople(directory.teams[each], len(directory.members.get(each, ()))) for each in page], next_place


async def get_demands(begin: BeginReading, actor: Actor) -> Demands:
    """What the organisation asks of its people (7, 119)."""
    permit_reading(actor)
    async with begin() as reader:
        return (await reader.directory()).demands


def may_place(actor: Actor, directory: Directory, team_id: str) -> bool:
    """Whether the actor may put people into the team: with scope all, or as a supervisor of it or of one above."""
    return actor.scope is Scope.ALL or any(team.supervisor_id == actor.sub for team in directory.chain(team_id))


def _limit(limit: int) -> int:
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    return limit or PAGE_DEFAULT


def _page(places: Sequence[str], after: str, limit: int) -> tuple[Sequence[str], str]:
    page = [place for place in places if place > after][: limit + 1]
    return page[:limit], page[limit - 1] if len(page) > limit else ""
