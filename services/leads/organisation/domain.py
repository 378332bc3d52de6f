"""People and teams leads are routed to, who can be given a lead, and who may see whose records.

Pure. Rules: only people who are 在职, on duty, permitted to follow up and reachable get leads (118); reachable takes three
steps, 账号 -> 权限 -> 绑定 (119); leads are bound to the organisation (4).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from breakwater.chassis.identity import Actor, Scope
from services.leads.organisation.duty import OrdinaryDays, PublicDays, Shift, WallTime, on_shift

DUTY_DESK = "duty-desk"
"""The person every platform starts with: takes what nobody else is eligible for, so no lead is 没人管 (125)."""

DEFAULT_TEAM = "sales"
RANK_MAX = 100
ON_TIME_WEIGHT_MIN = 0.15
HIERARCHY_DEPTH_MAX = 20
"""Teams above a team; a chain that is longer is a circle."""

_DEFAULT_ZONE = "Asia/Shanghai"
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Leave:
    """A time somebody is away, its end excluded."""

    starts_at: datetime
    ends_at: datetime
    id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody leads are routed to. `id` is the id of the source system."""

    id: str
    name: str
    email: str = ""
    team_id: str = DEFAULT_TEAM
    supervisor_id: str = ""
    """Empty: the team's supervisor."""
    rank: int = 0
    """职级: the higher the more senior (4)."""
    regions: tuple[str, ...] = ()
    city_codes: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    """Regions, city codes and skills a rule may ask for; none of a kind means any."""
    active: bool = True
    """在职"""
    has_account: bool = True
    """The account of the source system is activated and not disabled: step 1 of 3."""
    may_follow_up: bool = True
    """Step 2 of 3."""
    on_duty: bool = True
    """Switched by hand; `duty` says the hours."""
    duty: tuple[Shift, ...] = ()
    """The weekly schedule in the team's zone; none: any hour."""
    works_holidays: bool = False
    """Whether `duty` holds on public holidays too."""
    open_leads_max: int | None = None
    """Open leads the person may hold; None: no limit."""
    leads_per_day_max: int | None = None
    leads_per_week_max: int | None = None
    """Leads the person may be given in a day, and in a week from Monday, of the team's zone; None: no limit."""
    weight: int = 1
    """Share of the rotation; 0: takes no part in it."""
    leave: tuple[Leave, ...] = ()
    channels: frozenset[str] = frozenset()
    """Channels bound in notify, beside in-app: step 3 of 3."""

    @property
    def may_own(self) -> bool:
        """Whether leads may stay with the person: being on duty or reachable matters only for getting new ones."""
        return self.active and self.may_follow_up

    @property
    def bound(self) -> frozenset[str]:
        """Channels the person can be reached by beside in-app: an address in the directory needs no binding."""
        return self.channels | {"email"} if self.email else self.channels

    def on_leave(self, now: datetime) -> bool:
        return any(leave.starts_at <= now < leave.ends_at for leave in self.leave)


@dataclass(frozen=True, slots=True)
class Team:
    """A group with one supervisor and one calendar."""

    id: str
    name: str
    supervisor_id: str
    time_zone: str = _DEFAULT_ZONE
    work_start: time = time(9)
    work_end: time = time(18)
    lunch_start: time | None = None
    lunch_end: time | None = None
    parent_id: str = ""
    """The team above; empty for one at the top."""

    @property
    def hours(self) -> tuple[tuple[time, time], ...]:
        """Working time of a working day."""
        if self.lunch_start is None or self.lunch_end is None:
            return ((self.work_start, self.work_end),)
        return ((self.work_start, self.lunch_start), (self.lunch_end, self.work_end))


class Taken(NamedTuple):
    """Leads a person was given by rules in `day` and in its week, Monday to Sunday."""

    day: date
    in_day: int = 0
    in_week: int = 0

    def on(self, day: date) -> "Taken":
        """The same as it counts on `day`. A day that seems to be over again (a team moved west) is the same day."""
        if day <= self.day:
            return self
        return Taken(day, 0, self.in_week if day.isocalendar()[:2] == self.day.isocalendar()[:2] else 0)

    def plus_one(self) -> "Taken":
        return Taken(self.day, self.in_day + 1, self.in_week + 1)


NOTHING_TAKEN = Taken(date.min)


def reason_against(
    person: Person, directory: "Directory", now: datetime, *, open_leads: int = 0, taken: Taken = NOTHING_TAKEN
) -> str:
    """Why `person`, with so many leads on their hands, can be given no lead at `now`; empty when they can (118, 119)."""
    if person.id in directory.always_able:
        return ""
    missing = directory.step_missing(person)
    if missing:
        return missing
    if person.on_leave(now):
        return "休假"
    if not directory.on_duty(person, now):
        return "不在岗"
    return _full(person, directory, now, open_leads, taken)


def _full(person: Person, directory: "Directory", now: datetime, open_leads: int, taken: Taken) -> str:
    if person.open_leads_max is not None and open_leads >= person.open_leads_max:
        return f"在手线索已满（{open_leads}/{person.open_leads_max}）"
    if person.leads_per_day_max is None and person.leads_per_week_max is None:
        return ""
    current = taken.on(directory.day_of(person, now))
    if person.leads_per_day_max is not None and current.in_day >= person.leads_per_day_max:
        return f"今日线索已满（{current.in_day}/{person.leads_per_day_max}）"
    if person.leads_per_week_max is not None and current.in_week >= person.leads_per_week_max:
        return f"本周线索已满（{current.in_week}/{person.leads_per_week_max}）"
    return ""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the organisation asks of its people."""

    channels_required: frozenset[str] = frozenset()
    """One of these must be bound for step 3; none: in-app will do, which everybody with an account has."""
    on_time_weight: float = ON_TIME_WEIGHT_MIN
    """Of the on-time share of first responses in a person's performance, at least `ON_TIME_WEIGHT_MIN` (7)."""


@dataclass(frozen=True)
class Directory:
    """The organisation as of one version."""

    people: Mapping[str, Person]
    teams: Mapping[str, Team]
    demands: Demands = Demands()
    days: PublicDays = field(default_factory=OrdinaryDays)
    _walls: dict[str, tuple[datetime, datetime, WallTime]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )
    """By zone: the minute asked for last, its end excluded. Nothing on a wall clock changes within a minute."""
    _duties: dict[str, tuple[Person, WallTime, bool]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )
    """By person: whether they were on duty in the minute asked for last."""

    @classmethod
    def of(
        cls,
        people: Iterable[Person],
        teams: Iterable[Team],
        *,
        channels_required: Iterable[str] = (),
        on_time_weight: float = ON_TIME_WEIGHT_MIN,
        days: PublicDays | None = None,
    ) -> "Directory":
        return cls(
            {person.id: person for person in people},
            {team.id: team for team in teams},
            Demands(frozenset(channels_required), on_time_weight),
            days or OrdinaryDays(),
        )

    @property
    def channels_required(self) -> frozenset[str]:
        return self.demands.channels_required

    @cached_property
    def members(self) -> Mapping[str, tuple[Person, ...]]:
        """People by team, in the order of their ids."""
        found: dict[str, list[Person]] = {team_id: [] for team_id in self.teams}
        for person in self.everybody:
            found.setdefault(person.team_id, []).append(person)
        return {team_id: tuple(people) for team_id, people in found.items()}

    @cached_property
    def everybody(self) -> tuple[Person, ...]:
        """All people in the order of their ids."""
        return tuple(sorted(self.people.values(), key=lambda person: person.id))

    @cached_property
    def skilled(self) -> Mapping[str, tuple[Person, ...]]:
        """People by skill, in the order of their ids: those who have named it (4)."""
        found: dict[str, list[Person]] = {}
        for person in self.everybody:
            for skill in dict.fromkeys(person.skills):
                found.setdefault(skill, []).append(person)
        return {skill: tuple(people) for skill, people in found.items()}

    @cached_property
    def always_able(self) -> frozenset[str]:
        """Ids of people whom nothing keeps from getting a lead, now or later: most, and nobody has to look again."""
        return frozenset(
            person.id
            for person in self.people.values()
            if not self.step_missing(person)
            and person.on_duty
            and not person.duty
            and not person.leave
            and person.open_leads_max is None
            and person.leads_per_day_max is None
            and person.leads_per_week_max is None
        )

    @cached_property
    def unable(self) -> tuple[str, ...]:
        """Ids of people whose leads must go to somebody else."""
        return tuple(sorted(person.id for person in self.people.values() if not person.may_own))

    def step_missing(self, person: Person) -> str:
        """The first of the steps to being reachable that the person lacks (119): at work, account, permission, binding."""
        if not person.active:
            return "不在职"
        if not person.has_account:
            return "账号未激活"
        if not person.may_follow_up:
            return "无跟进权限"
        if self.channels_required and self.channels_required.isdisjoint(person.bound):
            return "未绑定通知渠道"
        return ""

    def on_duty(self, person: Person, now: datetime) -> bool:
        """Whether the person's switch and schedule have them on duty; leave is another matter."""
        if not person.on_duty or not person.duty:
            return person.on_duty
        wall = self._wall(person.team_id, now)
        known = self._duties.get(person.id)
        if known is None or known[0] is not person or known[1] is not wall:
            team = self.teams.get(person.team_id)
            hours = team.hours if team else ()
            on_duty = on_shift(person.duty, wall, self.days, hours, works_holidays=person.works_holidays)
            known = self._duties[person.id] = (person, wall, on_duty)
        return known[2]

    def day_of(self, person: Person, now: datetime) -> date:
        """The date where the person works."""
        return self._wall(person.team_id, now).day

    def _wall(self, team_id: str, now: datetime) -> WallTime:
        team = self.teams.get(team_id)
        zone = team.time_zone if team else _DEFAULT_ZONE
        known = self._walls.get(zone)
        if known is None or not known[0] <= now < known[1]:
            minute = now.replace(second=0, microsecond=0)
            known = self._walls[zone] = (minute, minute + _MINUTE, WallTime.of(now, ZoneInfo(zone)))
        return known[2]

    def supervisor_of(self, person_id: str) -> str:
        """The id of the person's supervisor: their own, their team's, or one further up.

        The nearest who is 在职 and permitted, because what goes to a supervisor is not to go on from there; else the
        nearest there is; empty when there is none but themselves.
        """
        nearest = ""
        for supervisor_id in self._supervisors(person_id):
            if not supervisor_id or supervisor_id == person_id:
                continue
            supervisor = self.people.get(supervisor_id)
            if supervisor is not None and supervisor.may_own:
                return supervisor_id
            nearest = nearest or supervisor_id
        return nearest

    def _supervisors(self, person_id: str) -> Iterator[str]:
        person = self.people.get(person_id)
        if person is None:
            return
        yield person.supervisor_id
        yield from (team.supervisor_id for team in self.chain(person.team_id))

    def chain(self, team_id: str) -> Iterator[Team]:
        """The team and those above it."""
        for _ in range(HIERARCHY_DEPTH_MAX):
            team = self.teams.get(team_id)
            if team is None:
                return
            yield team
            team_id = team.parent_id

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
        teams = {
            team_id for team_id in self.teams if any(above.supervisor_id == actor.sub for above in self.chain(team_id))
        }
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
