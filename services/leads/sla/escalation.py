"""Who is told, and gets a lead, when its owner does not move: the nearest person above who can act. Pure."""

from collections.abc import Iterator

from services.leads.organisation.domain import DEFAULT_TEAM, DUTY_DESK, Directory, Person

LEVELS_MAX = 8
"""How far up is looked: an organisation that goes in circles ends the search, too."""


def above(directory: Directory, person_id: str) -> Iterator[Person]:
    """The people above somebody, the nearest first, whether they can act or not; of somebody unknown, the first team's."""
    seen = {person_id}
    for _ in range(LEVELS_MAX):
        supervisor_id = directory.supervisor_of(person_id)
        if not supervisor_id and person_id not in directory.people and DEFAULT_TEAM in directory.teams:
            supervisor_id = directory.teams[DEFAULT_TEAM].supervisor_id
        if not supervisor_id or supervisor_id in seen:
            return
        seen.add(supervisor_id)
        if supervisor_id in directory.people:
            yield directory.people[supervisor_id]
        person_id = supervisor_id


def who_acts(directory: Directory, owner_id: str) -> str:
    """The id of the nearest person above `owner_id` who can act, else of the duty desk; empty when there is only the owner."""
    for person in above(directory, owner_id):
        if person.may_own:
            return person.id
    desk = directory.people.get(DUTY_DESK)
    return DUTY_DESK if desk is not None and desk.active and owner_id != DUTY_DESK else ""
