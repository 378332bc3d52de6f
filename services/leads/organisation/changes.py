"""Changing the organisation: a change is in force with the next transaction of every replica (4, 118, 119, 125).

Who becomes inactive, or loses the permission, keeps no lead: routing gives their open ones to others as soon as the
change is committed (routing.usecases.reroute_waiting_leads). Pure of store and transport, as use cases are.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from services.leads.idempotence import Answer, Keyed, KeyedStore, answer_once
from services.leads.organisation.checks import LEAVES_MAX, check_leave, check_person, check_team
from services.leads.organisation.domain import ON_TIME_WEIGHT_MIN, Demands, Directory, Leave, Person, Team
from services.leads.organisation.usecases import PersonAtWork, TeamOfPeople, Workload, at_work, may_place

CHANNELS = frozenset({"wecom", "dingtalk", "feishu", "email"})
"""What an organisation may require; in-app needs no binding."""
RESERVED_IDS = frozenset({"findings"})
"""Words of our own in the place of a person's id."""
_AUTHORS = frozenset({Role.MANAGER, Role.ADMIN})


class OrganisationStore(KeyedStore, Protocol):
    """What changing the organisation needs of one open transaction."""

    async def lock(self) -> Directory:
        """The organisation; whoever changes it next waits until the transaction ends."""
        ...

    async def workload(self, person_id: str) -> Workload: ...

    async def put_person(self, person: Person) -> None:
        """Adds or changes a person, with the event when something changed; leave and channels stay."""
        ...

    async def put_team(self, team: Team) -> None: ...

    async def add_leave(self, person: Person, leave: Leave, author: str, now: datetime) -> None:
        """With the event of the person."""
        ...

    async def remove_leave(self, person: Person, leave_id: str) -> None:
        """With the event of the person."""
        ...

    async def put_demands(self, demands: Demands) -> None: ...


BeginChanging = Callable[[], AbstractAsyncContextManager[OrganisationStore]]


def _permit(actor: Actor) -> None:
    if actor.role not in _AUTHORS:
        raise PermissionDeniedError(f"The role {actor.role} does not change the organisation.")


def _permit_whole(actor: Actor) -> None:
    _permit(actor)
    if actor.scope is not Scope.ALL:
        raise PermissionDeniedError("Teams and what the organisation asks for are changed with scope all.")


async def put_person(
    begin: BeginChanging, actor: Actor, person: Person, expected_sequence: int = 0, *, now: datetime
) -> tuple[PersonAtWork, bool]:
    """Adds a person, or replaces what is known of them but leave and channels; True when they are new.

    With scope team a manager changes people they see, and puts them into teams they supervise. Raises
    InvalidRequestError, NotFoundError, PermissionDeniedError, and ConflictError when `expected_sequence` (0: any) is
    not in force.
    """
    _permit(actor)
    check_person(person)
    async with begin() as store:
        directory = await store.lock()
        known = directory.people.get(person.id)
        if known is not None:
            _seen(directory, actor, person.id)
        _check_places(directory, person)
        if (known is None or known.team_id != person.team_id) and not may_place(actor, directory, person.team_id):
            raise PermissionDeniedError("Only who supervises a team puts people into it.")
        if known is not None:
            person = replace(person, leave=known.leave, channels=known.channels)
        sequence = (await store.workload(person.id)).sequence
        if expected_sequence not in {0, sequence}:
            raise ConflictError(f"The person is at sequence {sequence}, not {expected_sequence}: look and try again.")
        await store.put_person(person)
        changed = _with(directory, person)
        load = await store.workload(person.id)
    return at_work(changed, person.id, {person.id: load}, now), known is None


def _check_places(directory: Directory, person: Person) -> None:
    errors = []
    if person.id in RESERVED_IDS:
        errors.append(FieldError("id", f"{person.id!r} is taken by the API"))
    if person.team_id not in directory.teams:
        errors.append(FieldError("team_id", "is no team"))
    if person.supervisor_id and person.supervisor_id not in directory.people:
        errors.append(FieldError("supervisor_id", "is nobody of the organisation"))
    if person.supervisor_id == person.id:
        errors.append(FieldError("supervisor_id", "is the person themselves"))
    if errors:
        raise InvalidRequestError("The person has fields that cannot be taken.", errors=errors)


def _seen(directory: Directory, actor: Actor, person_id: str) -> Person:
    visible = directory.visible_owners(actor)
    if person_id not in directory.people or (visible is not None and person_id not in visible):
        raise NotFoundError("There is no such person.")
    return directory.people[person_id]


def _with(directory: Directory, person: Person) -> Directory:
    return replace(directory, people={**directory.people, person.id: person})


async def put_team(begin: BeginChanging, actor: Actor, team: Team) -> tuple[TeamOfPeople, bool]:
    """Adds a team or replaces what is known of it; True when it is new."""
    _permit_whole(actor)
    async with begin() as store:
        directory = await store.lock()
        check_team(team, directory)
        if directory.teams.get(team.id) != team:
            await store.put_team(team)
    return TeamOfPeople(team, len(directory.members.get(team.id, ()))), team.id not in directory.teams


async def add_leave(
    begin: BeginChanging,
    request: Keyed,
    actor: Actor,
    person_id: str,
    leave: Leave,
    *,
    now: datetime,
    encode: Callable[[Leave], bytes],
) -> Answer:
    """Adds a time somebody is away; leads they have stay with them, new ones go to others."""
    _permit(actor)
    check_leave(leave)
    async with begin() as store:

        async def work() -> bytes:
            person = _seen(await store.lock(), actor, person_id)
            if len(person.leave) >= LEAVES_MAX:
                raise ConflictError(f"A person has at most {LEAVES_MAX} leaves: take one back first.")
            added = replace(leave, id=uuid7())
            await store.add_leave(person, added, actor.sub, now)
            return encode(added)

        return await answer_once(store, request, work)


async def remove_leave(begin: BeginChanging, actor: Actor, person_id: str, leave_id: str) -> None:
    """Takes a leave back; raises NotFoundError for one that is not there."""
    _permit(actor)
    async with begin() as store:
        person = _seen(await store.lock(), actor, person_id)
        if leave_id not in {leave.id for leave in person.leave}:
            raise NotFoundError("There is no such leave.")
        await store.remove_leave(person, leave_id)


async def put_demands(begin: BeginChanging, actor: Actor, demands: Demands) -> Demands:
    """Says what the organisation asks of its people: channels (119), the weight of answering in time (7)."""
    _permit_whole(actor)
    errors = []
    if unknown := sorted(demands.channels_required - CHANNELS):
        reason = f"{unknown[0][:60]!r} is none of {', '.join(sorted(CHANNELS))}"
        errors.append(FieldError("channels_required", reason))
    if not ON_TIME_WEIGHT_MIN <= demands.on_time_weight <= 1:
        errors.append(FieldError("on_time_weight", f"is not between {ON_TIME_WEIGHT_MIN} and 1"))
    if errors:
        raise InvalidRequestError("That cannot be asked of people.", errors=errors)
    async with begin() as store:
        if (await store.lock()).demands != demands:
            await store.put_demands(demands)
    return demands
