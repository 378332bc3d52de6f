"""Showing the organisation."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role
from services.leads.organisation.domain import Directory, Person

PAGE_DEFAULT, PAGE_MAX = 50, 200
_READERS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class PersonAtWork:
    """A person and how much they have on their hands."""

    person: Person
    supervisor_id: str
    """Their own or their team's."""
    open_leads: int


class DirectoryReader(Protocol):
    """What showing people needs."""

    async def directory(self) -> Directory: ...

    async def open_leads(self) -> dict[str, int]:
        """Open leads by person."""
        ...


async def list_people(
    begin: Callable[[], AbstractAsyncContextManager[DirectoryReader]], actor: Actor, after: str, limit: int
) -> tuple[list[PersonAtWork], str]:
    """A page of the people the actor may see, by id, and the id to go on from; empty at the end."""
    if actor.role not in _READERS:
        raise PermissionDeniedError(f"The role {actor.role} has no access to people.")
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    limit = limit or PAGE_DEFAULT
    async with begin() as reader:
        directory = await reader.directory()
        open_leads = await reader.open_leads()
    visible = directory.visible_owners(actor)
    ids = sorted(directory.people if visible is None else directory.people.keys() & set(visible))
    page = [person_id for person_id in ids if person_id > after][: limit + 1]
    people = [
        PersonAtWork(directory.people[person_id], directory.supervisor_of(person_id), open_leads.get(person_id, 0))
        for person_id in page[:limit]
    ]
    return people, page[limit - 1] if len(page) > limit else ""
