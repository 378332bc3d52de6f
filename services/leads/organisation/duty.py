"""When people are on duty: a weekly schedule on the wall clock of their team's zone. Pure.

Somebody without a schedule is on duty at any hour. On a public holiday only those are who work holidays; on a make-up
working day (调休) a schedule without hours for that weekday is taken to mean the team's hours, because what is worked
then is a day of the week that the calendar alone decides.
"""

import re
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


_DAYS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "日": 7, "天": 7} | {
    str(day): day for day in range(1, 8)
}
_ENTRY = re.compile(
    r"(?:(?P<every>每天)|(?:周|星期)?(?P<first>[一二三四五六日天1-7])(?:[-~至到](?:周|星期)?(?P<last>[一二三四五六日天1-7]))?)"
    # Without a space 19:00-22:00 might be Monday from 9.
    r"(?:\s+|(?<=[一-龥])\s*)"
    r"(?P<hours>\d{1,2}:\d{2}-\d{1,2}:\d{2}(?:,\d{1,2}:\d{2}-\d{1,2}:\d{2})*)"
)
_SAME = str.maketrans({"：": ":", "，": ",", "、": ",", "；": ";", "－": "-", "—": "-", "–": "-", "\n": ";"})
_AROUND = re.compile(r"\s*([-~,:至到])\s*")


def shifts_of(text: str) -> tuple[Shift, ...]:
    """A schedule as people write it: `周一-周五 09:00-12:00,13:00-18:00; 周六 22:00-06:00`, which goes on into Sunday.

    Raises ValueError for anything else.
    """
    shifts: set[Shift] = set()
    for entry in _AROUND.sub(r"\1", text.translate(_SAME)).split(";"):
        if not entry.strip():
            continue
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise ValueError("is no schedule such as 周一-周五 09:00-18:00")
        first = 1 if match["every"] else _DAYS[match["first"]]
        last = 7 if match["every"] else _DAYS[match["last"] or match["first"]]
        # From Saturday to Monday is three days.
        days = [(first - 1 + step) % 7 + 1 for step in range((last - first) % 7 + 1)]
        for hours in match["hours"].split(","):
            start, end = (_minute_of_text(clock) for clock in hours.split("-"))
            for day in days:
                if start < end:
                    shifts.add(Shift(day, start, end))
                    continue
                shifts.add(Shift(day, start, MINUTES_PER_DAY))
                if end:
                    shifts.add(Shift(day % 7 + 1, 0, end))
    return tuple(sorted(shifts))


def _minute_of_text(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if minutes >= 60 or hours * 60 + minutes > MINUTES_PER_DAY:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(f"{clock} is no time of a day")
    return hours * 60 + minutes
