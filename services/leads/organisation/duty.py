"""When people are on duty: a weekly schedule on the wall clock of their team's zone. Pure.

Somebody without a schedule is on duty at any hour. On a public holiday only those are who work holidays; on a make-up
working day (调休) a schedule without hours for that weekday is taken to mean the team's hours, because what is worked
then is a day of the week that the calendar alone decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Protocol
from zoneinfo import ZoneInfo

MINUTES_PER_DAY = 24 * 60
SHIFTS_MAX = 42
"""Of one person's week: six a day."""


@dataclass(frozen=True, slots=True, order=True)
class Shift:
    """Hours of one weekday; one that goes past midnight is two."""

    weekday: int
    """1 is Monday, 7 is Sunday."""
    start_min: int
    """Minutes since midnight on the wall clock."""
    end_min: int
    """At most 1,440, which is midnight; no longer on duty then."""


class PublicDays(Protocol):
    """Days that differ from the week's rule."""

    @property
    def holidays(self) -> frozenset[date]: ...

    @property
    def workdays(self) -> frozenset[date]:
        """Weekend days on which people work (调休)."""
        ...


@dataclass(frozen=True, slots=True)
class OrdinaryDays:
    """No day differs."""

    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class WallTime:
    """What clock and calendar of a zone show at one moment."""

    day: date
    weekday: int
    minute: int

    @classmethod
    def of(cls, now: datetime, zone: ZoneInfo) -> "WallTime":
        # What the clock shows decides: an hour that summer time repeats counts twice, one that it skips never comes.
        local = now.astimezone(zone)
        return cls(local.date(), local.isoweekday(), local.hour * 60 + local.minute)


def on_shift(
    shifts: Iterable[Shift],
    wall: WallTime,
    days: PublicDays,
    team_hours: Iterable[tuple[time, time]],
    *,
    works_holidays: bool,
) -> bool:
    """Whether a schedule has its person on duty at `wall`; `team_hours` are the team's of any working day."""
    if wall.day in days.holidays and not works_holidays:
        return False
    today = [(shift.start_min, shift.end_min) for shift in shifts if shift.weekday == wall.weekday]
    if not today and wall.day in days.workdays:
        today = [(minute_of(start), minute_of(end)) for start, end in team_hours]
    return any(start <= wall.minute < end for start, end in today)


def minute_of(at: time) -> int:
    """Minutes since midnight."""
    return at.hour * 60 + at.minute
