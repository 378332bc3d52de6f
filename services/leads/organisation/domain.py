"""People and teams leads are routed to, and who may see whose records.

Pure. Rules: only people who are 在职, on duty and permitted to follow up get leads (118); leads are bound to the
organisation (4).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property

from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor, Scope

DUTY_DESK = "duty-desk"
"""The person every platform starts with: takes what nobody else is eligible for, so no lead is 没人管 (125)."""

DEFAULT_TEAM = "sales"
RANK_MAX = 100


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody leads are routed to. `id` is the id of the source system."""

    id: str
    name: str
    email: str = ""
    team_id: str = DEFAULT_TEAM
    supervisor_id: str = ""
    """Empty: the team's supervisor."""
    regions: tuple[str, ...] = ()
    city_codes: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    """Regions, city codes and skills a rule may ask for; none of a kind means any."""
    active: bool = True
    """在职"""
    may_follow_up: bool = True
    on_duty: bool = True
    absent_until: datetime | None = None
    """On leave until then."""
    open_leads_max: int | None = None
    """Open leads the person may hold; None: no limit."""
    weight: int = 1
    """Share of the rotation; 0: takes no part in it."""
    rank: int = 0
    """职级: the higher the more senior (4)."""

    @property
    def may_own(self) -> bool:
        """Whether leads may stay with the person: being on duty matters only for getting new ones."""
        return self.active and self.may_follow_up


@dataclass(frozen=True, slots=True)
class Team:
    """A group with one supervisor and one calendar."""

    id: str
    name: str
    supervisor_id: str
    time_zone: str = "Asia/Shanghai"
    work_start: time = time(9)
    work_end: time = time(18)
    lunch_start: time | None = None
    lunch_end: time | None = None


def reason_against(person: Person, open_leads: int, now: datetime) -> str:
    """Why `person`, holding `open_leads`, can be given no lead at `now`; empty when they can (118)."""
    if not person.active:
        return "不在职"
    if not person.may_follow_up:
        return "无跟进权限"
    if not person.on_duty or (person.absent_until is not None and now < person.absent_until):
        return "不在岗"
    if person.open_leads_max is not None and open_leads >= person.open_leads_max:
        return f"在手线索已满（{open_leads}/{person.open_leads_max}）"
    return ""


@dataclass(frozen=True)
class Directory:
    """The organisation as of one version."""

    people: Mapping[str, Person]
    teams: Mapping[str, Team]

    @classmethod
    def of(cls, people: Iterable[Person], teams: Iterable[Team]) -> "Directory":
        return cls({person.id: person for person in people}, {team.id: team for team in teams})

    @cached_property
    def members(self) -> Mapping[str, tuple[Person, ...]]:
        """People by team, in the order of their ids."""
        found: dict[str, list[Person]] = {team_id: [] for team_id in self.teams}
        for person in sorted(self.people.values(), key=lambda person: person.id):
            found.setdefault(person.team_id, []).append(person)
        return {team_id: tuple(people) for team_id, people in found.items()}

    @cached_property
    def always_able(self) -> frozenset[str]:
        """Ids of people whom nothing keeps from getting a lead, now or later: most, and nobody has to look again."""
        return frozenset(
            person.id
            for person in self.people.values()
            if person.may_own and person.on_duty and person.absent_until is None and person.open_leads_max is None
        )

    @cached_property
    def unable(self) -> tuple[str, ...]:
        """Ids of people whose leads must go to somebody else."""
        return tuple(sorted(person.id for person in self.people.values() if not person.may_own))

    def supervisor_of(self, person_id: str) -> str:
        """The id of the person's supervisor, their own or their team's; empty when there is none but themselves."""
        person = self.people.get(person_id)
        if person is None:
            return ""
        team = self.teams.get(person.team_id)
        supervisor_id = person.supervisor_id or (team.supervisor_id if team else "")
        return "" if supervisor_id == person_id else supervisor_id

    def team_of(self, person_id: str) -> str:
        """The id of the person's team; the default team's for somebody unknown."""
        person = self.people.get(person_id)
        return person.team_id if person else DEFAULT_TEAM

    def visible_owners(self, actor: Actor) -> tuple[str, ...] | None:
        """Ids of the owners whose records `actor` may see (42); None: everybody's, and what nobody owns."""
        if actor.scope is Scope.ALL:
            return None
        if actor.scope is Scope.OWN:
            return (actor.sub,)
        teams = {team.id for team in self.teams.values() if team.supervisor_id == actor.sub}
        if actor.sub in self.people:
            teams.add(self.people[actor.sub].team_id)
        return tuple(
            sorted(
                {actor.sub}
                | {
                    person.id
                    for person in self.people.values()
                    if person.team_id in teams or person.supervisor_id == actor.sub
                }
            )
        )


def check_person(person: Person) -> None:
    """Raises InvalidRequestError naming the fields of `person` that cannot be taken."""
    errors = [
        FieldError(name, f"is longer than {limit} characters")
        for name, limit in (("id", 60), ("name", 120), ("email", 254), ("team_id", 60), ("supervisor_id", 60))
        if len(getattr(person, name)) > limit
    ]
    errors.extend(FieldError(name, "is mandatory") for name in ("id", "name", "team_id") if not getattr(person, name))
    if person.weight < 0:
        errors.append(FieldError("weight", "is negative"))
    if not 0 <= person.rank <= RANK_MAX:
        errors.append(FieldError("rank", f"is not between 0 and {RANK_MAX}"))
    if person.open_leads_max is not None and person.open_leads_max < 0:
        errors.append(FieldError("open_leads_max", "is negative"))
    if errors:
        raise InvalidRequestError("The person has fields that cannot be taken.", errors=errors)
