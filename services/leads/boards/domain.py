"""How soon leads are answered: figures per team and person, and who is late (1, 2, 6, 7, 43, 63).

Pure. A lead belongs to whom it was first given: a lead that went to the supervisor because nobody answered is still the
first owner's. A response is a claim or a follow-up, whichever came first; a contact is a follow-up.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.organisation.domain import Directory
from services.leads.sla.domain import FirstTouch

DAYS_MAX = 92
"""Of one board: a quarter."""
AGE_DAYS_MAX = 400
"""How long ago the first day may be."""
DAYS_DEFAULT = 7
_YEARS = range(1970, 9_000)
PEOPLE_MAX = 200
"""People shown, the latest first."""
LOST_VALUES_MAX = 10
"""Industries or sources shown of lost leads; the others are one."""
OTHERS = "其他"
UNKNOWN = "未填写"
DWELLS: tuple[tuple[str, timedelta | None], ...] = (
    ("1小时内", timedelta(hours=1)),
    ("1天内", timedelta(days=1)),
    ("3天内", timedelta(days=3)),
    ("7天内", timedelta(days=7)),
    ("30天内", timedelta(days=30)),
    ("30天以上", None),
)
"""停留时段: how long a lead had been here when it was lost; below the bound."""


class Figure(StrEnum):
    """What can be asked for the leads behind it (88)."""

    LEADS = "leads"
    RESPONDED = "responded"
    ON_TIME = "on_time"
    LATE = "late"
    ASSIGNED_LATE = "assigned_late"
    CONTACTED_LATE = "contacted_late"
    UNASSIGNED = "unassigned"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Measures:
    """What the figures are measured by."""

    assigned_within: timedelta = timedelta(minutes=15)
    """By the clock on the wall (43)."""
    assigned_share: float = 0.9
    """What is wanted of them."""
    contact_within: timedelta = timedelta(hours=48)
    """By the clock on the wall (63)."""
    contact_share: float = 0.95
    """What is wanted of them."""
    alarm_within: timedelta = timedelta(hours=24)
    """Wall time after which an open lead without a follow-up must have alarmed (117)."""
    unassigned_after: timedelta = timedelta(hours=48)
    """Then an open lead without an owner of its own is one too many (1)."""
    late_people: int = 3
    on_time_weight: float = 0.15
    """Of the on-time share in a person's performance, at least 0.15 (7)."""


@dataclass(frozen=True, slots=True)
class Days:
    """Whole days of a time zone, both ends counted."""

    first: date
    last: date
    zone: ZoneInfo

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.first, time(), self.zone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The moment after."""
        return datetime.combine(self.last + timedelta(days=1), time(), self.zone).astimezone(UTC)


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if day.year not in _YEARS:
        raise ValueError("there is no room for the days beside it")
    return day


def days_of(first: str, last: str, zone: ZoneInfo, now: datetime) -> Days:
    """The days asked for as YYYY-MM-DD, by default the last seven; raises InvalidRequestError naming what is wrong."""
    today = now.astimezone(zone).date()
    errors: list[FieldError] = []
    found: list[date | None] = []
    for name, text in (("from", first), ("to", last)):
        try:
            found.append(_day(text) if text else None)
        except ValueError:
            errors.append(FieldError(name, "is no day such as 2026-11-27"))
    if not errors:
        end = found[1] or (today if found[0] is None else min(today, found[0] + timedelta(days=DAYS_MAX - 1)))
        start = found[0] or end - timedelta(days=DAYS_DEFAULT - 1)
        if start > end:
            errors.append(FieldError("from", "is after to"))
        elif (end - start).days >= DAYS_MAX:
            errors.append(FieldError("from", f"is more than {DAYS_MAX} days before to"))
        elif (today - start).days > AGE_DAYS_MAX:
            errors.append(FieldError("from", f"is more than {AGE_DAYS_MAX} days ago"))
        elif end > today:
            errors.append(FieldError("to", "has not come yet"))
        if not errors:
            return Days(start, end, zone)
    raise InvalidRequestError("No board can be made of these days.", errors=errors)


@dataclass(frozen=True, slots=True)
class LeadTimes:
    """What the board needs to know of a lead."""

    id: str
    owner_id: str
    """Whom it was first given to; empty: nobody, or only the duty desk."""
    captured_at: datetime
    assigned_at: datetime | None
    due_at: datetime | None
    """The end of its first-touch limit."""
    responded_at: datetime | None
    contacted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What can be said of a lead by now; None: nothing yet."""

    on_time: bool | None
    assigned: bool | None
    contacted: bool | None


def judge(times: LeadTimes, as_of: datetime, measures: Measures) -> Judged:
    """Whether the lead was answered, assigned and contacted in time. A limit that still runs says nothing."""
    return Judged(
        None if times.due_at is None else _met(times.responded_at, times.due_at, as_of),
        _met(times.assigned_at, times.captured_at + measures.assigned_within, as_of),
        _met(times.contacted_at, times.captured_at + measures.contact_within, as_of),
    )


def business_seconds(times: LeadTimes, directory: Directory, first_touch: FirstTouch) -> float | None:
    """Working time of the owner's team from arrival to the response; None without one."""
    if times.responded_at is None:
        return None
    return first_touch.used(directory.team_of(times.owner_id), times.captured_at, times.responded_at).total_seconds()


def _met(done_at: datetime | None, due_at: datetime, as_of: datetime) -> bool | None:
    if done_at is not None:
        return done_at <= due_at
    return False if due_at < as_of else None


def counts(figure: Figure, times: LeadTimes, judged: Judged) -> bool:
    """Whether `figure` of the board counts the lead: the board and the list behind it ask the same."""
    if figure is Figure.RESPONDED:
        return times.responded_at is not None
    if figure is Figure.ON_TIME:
        return judged.on_time is True
    if figure is Figure.LATE:
        return judged.on_time is False
    if figure is Figure.ASSIGNED_LATE:
        return judged.assigned is False
    if figure is Figure.CONTACTED_LATE:
        return judged.contacted is False
    return figure is Figure.LEADS


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of some leads; percentiles by nearest rank."""

    mean_s: float
    p50_s: float
    p90_s: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread | None":
        ordered = sorted(seconds)
        if not ordered:
            return None
        # ceil(n * share) in whole numbers: 0.9 * 10 is not 9 in binary.
        p50, p90 = (ordered[-(-len(ordered) * share // 100) - 1] for share in (50, 90))
        return cls(sum(ordered) / len(ordered), p50, p90)


@dataclass(frozen=True, slots=True)
class Share:
    """How many of those it can be said of."""

    met: int
    of: int

    def points(self, weight: float) -> float | None:
        """What it brings where it is `weight` of 100 points (7)."""
        return 100 * weight * self.met / self.of if self.of else None

    def __str__(self) -> str:
        return f"{100 * self.met / self.of:.1f}%" if self.of else "—"


@dataclass(frozen=True, slots=True)
class Timeliness:
    """The figures of a group of leads."""

    id: str
    name: str
    team_id: str
    leads: int
    responded: int
    business: Spread | None
    wall: Spread | None
    on_time: Share
    assigned: Share
    contacted: Share

    @property
    def late(self) -> int:
        return self.on_time.of - self.on_time.met


@dataclass(slots=True)
class Tally:
    """Adds up the leads of one person; groups of people are tallies merged."""

    leads: int = 0
    business_s: "array[float]" = field(default_factory=lambda: array("d"))
    wall_s: "array[float]" = field(default_factory=lambda: array("d"))
    met: list[int] = field(default_factory=lambda: [0, 0, 0])
    of: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, times: LeadTimes, judged: Judged, business_s: float | None) -> None:
        self.leads += 1
        if times.responded_at is not None and business_s is not None:
            self.wall_s.append(max((times.responded_at - times.captured_at).total_seconds(), 0.0))
            self.business_s.append(business_s)
        for place, verdict in enumerate((judged.on_time, judged.assigned, judged.contacted)):
            if verdict is not None:
                self.met[place] += verdict
                self.of[place] += 1

    def merge(self, other: "Tally") -> None:
        self.leads += other.leads
        self.business_s.extend(other.business_s)
        self.wall_s.extend(other.wall_s)
        for place in range(3):
            self.met[place] += other.met[place]
            self.of[place] += other.of[place]

    def figures(self, group_id: str, name: str, team_id: str = "") -> Timeliness:
        on_time, assigned, contacted = (Share(met, of) for met, of in zip(self.met, self.of, strict=True))
        return Timeliness(
            *(group_id, name, team_id, self.leads, len(self.wall_s)),
            *(Spread.of(self.business_s), Spread.of(self.wall_s), on_time, assigned, contacted),
        )


class Tallies:
    """Tallies of everybody, fed lead by lead."""

    def __init__(self, directory: Directory, first_touch: FirstTouch, as_of: datetime, measures: Measures) -> None:
        self._directory = directory
        self._first_touch = first_touch
        self._as_of = as_of
        self._measures = measures
        self._people: defaultdict[str, Tally] = defaultdict(Tally)

    def add(self, times: LeadTimes) -> None:
        business_s = business_seconds(times, self._directory, self._first_touch)
        self._people[times.owner_id].add(times, judge(times, self._as_of, self._measures), business_s)

    def total(self, group_id: str = "", name: str = "") -> Timeliness:
        return _merged(self._people.values()).figures(group_id, name)

    def teams(self) -> tuple[Timeliness, ...]:
        """By id; leads that nobody was given last, with an empty id."""
        directory = self._directory
        found: defaultdict[str, list[Tally]] = defaultdict(list)
        for person_id, tally in self._people.items():
            found[team_of(person_id, directory)].append(tally)
        names = {team_id: team.name for team_id, team in directory.teams.items()}
        return tuple(
            _merged(found[team_id]).figures(team_id, names.get(team_id, team_id))
            for team_id in sorted(found, key=lambda each: (not each, each))
        )

    def people(self) -> tuple[Timeliness, ...]:
        """Those who were given a lead: the most often late first, then the slowest."""
        directory = self._directory
        figures = [
            tally.figures(person_id, directory.people[person_id].name, directory.team_of(person_id))
            if person_id in directory.people
            else tally.figures(person_id, person_id)
            for person_id, tally in self._people.items()
            if person_id
        ]
        return tuple(sorted(figures, key=_lateness))


def team_of(owner_id: str, directory: Directory) -> str:
    """Whose team's figures a lead is in: that of whom it was first given to; empty where that is nobody."""
    return directory.team_of(owner_id) if owner_id else ""


def _merged(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole


def _lateness(each: Timeliness) -> tuple[int, float, str]:
    return (-each.late, -(each.business.mean_s if each.business else 0.0), each.id)


@dataclass(frozen=True, slots=True)
class LostLead:
    """A lead that was lost, and how long it had been here."""

    industry: str
    source: str
    dwell: timedelta


def dwell_of(dwell: timedelta) -> str:
    """The 停留时段 of a lost lead."""
    return next(name for name, below in DWELLS if below is None or dwell < below)


def dwell_between(name: str) -> tuple[timedelta | None, timedelta | None] | None:
    """From when and below what a dwell of this name is; None for none of ours."""
    lower: timedelta | None = None
    for each, upper in DWELLS:
        if each == name:
            return lower, upper
        lower = upper
    return None


@dataclass(slots=True)
class LostProfile:
    """Lost leads by 行业, 来源 and 停留时段."""

    leads: int = 0
    industries: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    dwells: Counter[str] = field(default_factory=Counter)

    def add(self, lead: LostLead) -> None:
        self.leads += 1
        self.industries[lead.industry or UNKNOWN] += 1
        self.sources[lead.source or UNKNOWN] += 1
        self.dwells[dwell_of(lead.dwell)] += 1

    def by_industry(self) -> tuple[tuple[str, int], ...]:
        return _most(self.industries)

    def by_source(self) -> tuple[tuple[str, int], ...]:
        return _most(self.sources)

    def by_dwell(self) -> tuple[tuple[str, int], ...]:
        """The shortest first, all of them."""
        return tuple((name, self.dwells[name]) for name, _ in DWELLS)


def _most(counter: Counter[str]) -> tuple[tuple[str, int], ...]:
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    shown, others = ordered[:LOST_VALUES_MAX], ordered[LOST_VALUES_MAX:]
    return (*shown, (OTHERS, sum(leads for _, leads in others))) if others else tuple(shown)


@dataclass(frozen=True, slots=True)
class TimelinessBoard:
    """线索时效看板 (6)."""

    days: Days
    as_of: datetime
    total: Timeliness
    teams: tuple[Timeliness, ...]
    people: tuple[Timeliness, ...]
    unassigned: int
    lost: LostProfile
    measures: Measures

    @property
    def late(self) -> Sequence[Timeliness]:
        """The top late people; fewer when fewer were late."""
        return [each for each in self.people if each.late][: self.measures.late_people]
