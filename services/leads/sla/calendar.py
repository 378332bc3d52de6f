"""Working time: a week of hours in a time zone, less holidays, plus make-up days (5, domain.md Open points).

Pure. Working time is every moment whose wall clock in the zone shows working hours of that day: in the night summer time begins
the hour that is skipped is not worked, in the night it ends an hour shown twice is worked twice. Durations are real time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAYS_AHEAD_MAX = 3_660
"""A due time further away than this is a mistake in the calendar (it has no working time)."""
_DAYS_AT_ONCE = 400
"""Days laid out when a calendar is asked for the first time, and each time it is asked for what lies beyond."""

Hours = tuple[tuple[int, int], ...]
"""Working hours of a day: minutes since midnight, from and until, in order."""
Week = tuple[Hours, Hours, Hours, Hours, Hours, Hours, Hours]
"""From Monday."""

_DAY = timedelta(days=1)
_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)


class NoWorkingTimeError(Exception):
    """The calendar has no working time within `DAYS_AHEAD_MAX` days."""


@dataclass(frozen=True, slots=True)
class Holidays:
    """Days that differ from the week's rule, as announced; nothing is known after `known_until`."""

    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()
    """Days of rest on which people work (调休); they win where a day is both."""
    known_until: date = date.max


def working_week(
    start: time = time(9), end: time = time(18), lunch: tuple[time, time] | None = None, days: int = 5
) -> Week:
    """The same hours on the first `days` days of the week."""
    hours = ((_minutes(start), _minutes(end)),)
    if lunch is not None:
        hours = ((_minutes(start), _minutes(lunch[0])), (_minutes(lunch[1]), _minutes(end)))  # type: ignore[assignment]
    first, second, third, fourth, fifth, sixth, seventh = (hours if day < days else () for day in range(7))
    return first, second, third, fourth, fifth, sixth, seventh


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


@lru_cache(maxsize=1_000)
def calendar_of(zone: str, week: Week, holidays: Holidays) -> "Calendar":
    """The calendar, made once: laying out its days takes some milliseconds."""
    return Calendar(ZoneInfo(zone), holidays, week)


class Calendar:
    """The working time of a team."""

    def __init__(self, zone: ZoneInfo, holidays: Holidays = Holidays(), week: Week = working_week()) -> None:  # noqa: B008 - constants
        self.zone = zone
        self.holidays = holidays
        self.week = week
        # A make-up day is worked like a Monday, or like the first day of the week that is worked at all.
        self._make_up = next((hours for hours in week if hours), ())
        self._first = self._end = date.min
        self._opens: list[datetime] = []
        self._ends: list[datetime] = []
        self._before: list[timedelta] = []
        """Working time laid out before each span."""
        self._after: list[timedelta] = []

    def after(self, start: datetime, working: timedelta) -> datetime:
        """The moment (UTC) at which `working` time has passed since `start`; raises NoWorkingTimeError."""
        # Adding to a wall time would jump with it when summer time begins.
        start = start.astimezone(UTC)
        index = self._span(start)
        opened = self._opens[index]
        target = self._before[index] + working
        if start > opened:
            target += start - opened
        until = self._after
        while (found := bisect_left(until, target, index)) == len(until):
            self._lay_out_further(start)
        return self._opens[found] + (target - self._before[found])

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Working time from `start` to `end`; nothing when `end` comes first. Raises NoWorkingTimeError."""
        start, end = start.astimezone(UTC), end.astimezone(UTC)
        if end <= start:
            return _NOTHING
        if (end - start).days > DAYS_AHEAD_MAX:
            raise NoWorkingTimeError(f"more than {DAYS_AHEAD_MAX} days are not counted")
        passed = self._passed(start)
        return self._passed(end) - passed

    def _passed(self, at: datetime) -> timedelta:
        index = self._span(at)
        return self._before[index] + max(at - self._opens[index], _NOTHING)

    def _span(self, at: datetime) -> int:
        """The span `at` is in, or the next one."""
        # West of Greenwich the day of `at` is the one before its date in UTC.
        if at.date() <= self._first or not self._ends:
            self._lay_out(at.date() - 2 * _DAY)
        while (index := bisect_right(self._ends, at)) == len(self._ends):
            self._lay_out_further(at)
        return index

    def _lay_out(self, first: date) -> None:
        self._first = self._end = first
        for kept in (self._opens, self._ends, self._before, self._after):
            kept.clear()

    def _lay_out_further(self, start: datetime) -> None:
        if (self._end - start.date()).days > DAYS_AHEAD_MAX:
            raise NoWorkingTimeError(f"no working time within {DAYS_AHEAD_MAX} days")
        if (start.date() - self._end).days > DAYS_AHEAD_MAX:
            self._lay_out(start.date() - 2 * _DAY)
        passed = self._after[-1] if self._after else _NOTHING
        for _ in range(_DAYS_AT_ONCE):
            for opened, end in self._spans(self._end):
                self._opens.append(opened)
                self._ends.append(end)
                self._before.append(passed)
                passed += end - opened
                self._after.append(passed)
            self._end += _DAY

    def hours(self, day: date) -> Hours:
        """Working hours of a day by the wall clock."""
        own = self.week[day.weekday()]
        if day in self.holidays.workdays:
            return own or self._make_up
        return () if day in self.holidays.holidays else own

    def _spans(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """Working time of a day as pairs of UTC moments, in order."""
        hours = self.hours(day)
        if not hours:
            return
        midnight, next_midnight = self._midnight(day), self._midnight(day + _DAY)
        if next_midnight - midnight == _DAY:
            for begin, end in hours:
                yield midnight + timedelta(minutes=begin), midnight + timedelta(minutes=end)
            return
        wall_midnight = datetime.combine(day, time(), UTC)
        for piece, piece_end in self._pieces(midnight, next_midnight):
            shown_at_zero = wall_midnight - self._offset(piece)
            for begin, end in hours:
                opened = max(piece, shown_at_zero + timedelta(minutes=begin))
                closed = min(piece_end, shown_at_zero + timedelta(minutes=end))
                if opened < closed:
                    yield opened, closed

    def _pieces(self, start: datetime, end: datetime) -> Iterable[tuple[datetime, datetime]]:
        """The two parts of a day in which the clocks are changed (or one: the change is at its edge)."""
        if self._offset(start) == self._offset(end - _SECOND):
            return ((start, end),)
        before, after = start, end - _SECOND
        while after - before > _SECOND:
            middle = before + (after - before) // 2
            middle -= timedelta(microseconds=middle.microsecond)
            if self._offset(middle) == self._offset(start):
                before = middle
            else:
                after = middle
        return (start, after), (after, end)

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or _NOTHING
