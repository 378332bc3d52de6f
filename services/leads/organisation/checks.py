"""What a person, a team or a leave may be. Pure; every refusal names all fields at fault."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.organisation.domain import HIERARCHY_DEPTH_MAX, RANK_MAX, Directory, Leave, Person, Team
from services.leads.organisation.duty import MINUTES_PER_DAY, SHIFTS_MAX, Shift

WEEKDAYS = range(1, 8)
LIST_ITEMS_MAX = 100
"""Regions, city codes or skills of one person."""
LEAVES_MAX = 100
"""Of one person, past ones with them."""


def check_person(person: Person) -> None:
    """Raises InvalidRequestError naming the fields of `person` that cannot be taken."""
    errors = [
        FieldError(name, f"is longer than {limit} characters")
        for name, limit in (("id", 64), ("name", 120), ("email", 254), ("team_id", 64), ("supervisor_id", 64))
        if len(getattr(person, name)) > limit
    ]
    errors.extend(FieldError(name, "is mandatory") for name in ("id", "name", "team_id") if not getattr(person, name))
    errors.extend(
        FieldError(name, f"has more than {LIST_ITEMS_MAX} entries")
        for name in ("regions", "city_codes", "skills")
        if len(getattr(person, name)) > LIST_ITEMS_MAX
    )
    if person.weight < 0:
        errors.append(FieldError("weight", "is negative"))
    if not 0 <= person.rank <= RANK_MAX:
        errors.append(FieldError("rank", f"is not between 0 and {RANK_MAX}"))
    errors.extend(
        FieldError(name, "is negative")
        for name in ("open_leads_max", "leads_per_day_max", "leads_per_week_max")
        if (getattr(person, name) or 0) < 0
    )
    errors.extend(_wrong_shifts(person.duty))
    if errors:
        raise InvalidRequestError("The person has fields that cannot be taken.", errors=errors)


def _wrong_shifts(shifts: tuple[Shift, ...]) -> Iterator[FieldError]:
    if len(shifts) > SHIFTS_MAX:
        yield FieldError("duty", f"has more than {SHIFTS_MAX} shifts")
    for index, shift in enumerate(shifts):
        if shift.weekday not in WEEKDAYS:
            yield FieldError(f"duty.{index}.weekday", "is not between 1 (Monday) and 7")
        if not 0 <= shift.start_min < shift.end_min <= MINUTES_PER_DAY:
            yield FieldError(f"duty.{index}", "does not end after it starts, on the same day")


def check_team(team: Team, directory: Directory) -> None:
    """Raises InvalidRequestError naming the fields of `team` that cannot be taken beside the teams there are."""
    errors = [
        FieldError(name, f"is longer than {limit} characters")
        for name, limit in (("id", 64), ("name", 120), ("supervisor_id", 64), ("parent_id", 64))
        if len(getattr(team, name)) > limit
    ]
    errors.extend(FieldError(name, "is mandatory") for name in ("id", "name") if not getattr(team, name))
    if not _is_zone(team.time_zone):
        errors.append(FieldError("time_zone", "is no time zone such as Asia/Shanghai"))
    errors.extend(_wrong_hours(team))
    if team.supervisor_id and team.supervisor_id not in directory.people:
        errors.append(FieldError("supervisor_id", "is nobody of the organisation"))
    if team.parent_id:
        above = list(directory.chain(team.parent_id))
        if not above:
            errors.append(FieldError("parent_id", "is no team"))
        elif team.id in {each.id for each in above}:
            errors.append(FieldError("parent_id", "is the team itself or one below it"))
        elif len(above) >= HIERARCHY_DEPTH_MAX:
            errors.append(FieldError("parent_id", f"makes more than {HIERARCHY_DEPTH_MAX} levels"))
    if errors:
        raise InvalidRequestError("The team has fields that cannot be taken.", errors=errors)


def _wrong_hours(team: Team) -> Iterator[FieldError]:
    if not team.work_start < team.work_end:
        yield FieldError("work_end", "is not after work_start")
    lunch_start, lunch_end = team.lunch_start, team.lunch_end
    if (lunch_start is None) != (lunch_end is None):
        yield FieldError("lunch_end", "goes with lunch_start: give both or neither")
    elif (
        lunch_start is not None
        and lunch_end is not None
        and not team.work_start < lunch_start < lunch_end < team.work_end
    ):
        yield FieldError("lunch_start", "and lunch_end are not in order within working time")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def check_leave(leave: Leave) -> None:
    """Raises InvalidRequestError for a leave that does not end after it starts, or says too much."""
    errors = []
    if not leave.starts_at < leave.ends_at:
        errors.append(FieldError("ends_at", "is not after starts_at"))
    if len(leave.reason) > 200:  # noqa: PLR2004 - the sentence says what it is
        errors.append(FieldError("reason", "is longer than 200 characters"))
    if errors:
        raise InvalidRequestError("The leave cannot be taken.", errors=errors)
