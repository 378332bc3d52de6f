"""When a first touch is due: limits by team and source, counted in business hours (5, domain.md Open points).

Pure. Working days are Monday to Friday, less public holidays, plus make-up days (调休); a lunch break does not count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

DAYS_AHEAD_MAX = 3_660
"""A due time further away than this is a mistake in the calendar (it has no working time)."""


class NoWorkingTimeError(Exception):
    """The calendar has no working time within `DAYS_AHEAD_MAX` days."""


@dataclass(frozen=True, slots=True)
class Holidays:
    """Days that differ from the week's rule, as announced; nothing is known after `known_until`."""

    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()
    """Weekend days on which people work (调休)."""
    known_until: date = date.max

    def is_workday(self, day: date) -> bool:
        if day in self.workdays:
            return True
        return day.weekday() < 5 and day not in self.holidays  # noqa: PLR2004 - Saturday is 5


@dataclass(frozen=True)
class Calendar:
    """The working hours of a team, in its own time zone."""

    zone: ZoneInfo
    holidays: Holidays
    work_start: time = time(9)
    work_end: time = time(18)
    lunch: tuple[time, time] | None = None
    _spans: dict[date, tuple[tuple[datetime, datetime], ...]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _hours(self) -> tuple[tuple[time, time], ...]:
        if self.lunch is None:
            return ((self.work_start, self.work_end),)
        return ((self.work_start, self.lunch[0]), (self.lunch[1], self.work_end))

    def spans(self, day: date) -> tuple[tuple[datetime, datetime], ...]:
        """Working time of a day as pairs of UTC moments: durations are real time, also when summer time begins."""
        known = self._spans.get(day)
        if known is None:
            known = ()
            if self.holidays.is_workday(day):
                known = tuple((self._utc(day, start), self._utc(day, end)) for start, end in self._hours)
            self._spans[day] = known
        return known

    def _utc(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)

    def after(self, start: datetime, working: timedelta) -> datetime:
        """The moment (UTC) at which `working` time has passed since `start`; raises NoWorkingTimeError."""
        left = working
        # Adding to a wall time would jump with it when summer time begins.
        start = start.astimezone(UTC)
        day = start.astimezone(self.zone).date()
        for _ in range(DAYS_AHEAD_MAX):
            for opening, end in self.spans(day):
                begin = max(opening, start)
                if begin >= end:
                    continue
                if left <= end - begin:
                    return begin + left
                left -= end - begin
            day += timedelta(days=1)
        raise NoWorkingTimeError(f"no working time within {DAYS_AHEAD_MAX} days")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a first touch may take, in business time."""

    stage1: timedelta
    """Then the owner is reminded."""
    stage2: timedelta
    """Then the supervisor gets the lead."""


@dataclass(frozen=True, slots=True)
class FirstTouch:
    """The limits in force; '' stands for any team or any source."""

    limits: Mapping[tuple[str, str], Limits]
    calendars: Mapping[str, Calendar]
    """By team."""

    @classmethod
    def of(cls, limits: Iterable[tuple[str, str, Limits]], calendars: Mapping[str, Calendar]) -> "FirstTouch":
        return cls({(team_id, source): entry for team_id, source, entry in limits}, calendars)

    def limits_for(self, team_id: str, source: str) -> Limits:
        """The most specific limits: of team and source, of the source, of the team, of everybody."""
        for key in ((team_id, source), ("", source), (team_id, ""), ("", "")):
            if key in self.limits:
                return self.limits[key]
        raise KeyError("no first-touch limits for everybody: the row with empty team and source is missing")

    def due(self, team_id: str, source: str, started_at: datetime, stage: int) -> datetime:
        """When `stage` (1 or 2) is due for a lead given to somebody of the team at `started_at`."""
        limits = self.limits_for(team_id, source)
        return self.calendars[team_id].after(started_at, limits.stage1 if stage == 1 else limits.stage2)
