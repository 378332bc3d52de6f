"""An independent count of working time: asks the wall clock of every minute, one after the other.

Nothing of it is shared with services/leads: no days, no intervals, no transitions are worked out. What is working time is asked
minute by minute, and minutes are added up. Offsets of today's zones are whole minutes, so that no minute is half worked. The
table of minutes is itself compared with `stepping`, which goes on second by second.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

WINDOW_DAYS = 75
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """When a team works, as plain data."""

    zone: str
    week: tuple[tuple[tuple[int, int], ...], ...]
    """Seven days from Monday, each with its stretches in minutes of the day."""
    holidays: frozenset[date]
    workdays: frozenset[date]


def works(rules: Rules, local: datetime) -> bool:
    """Whether the wall clock's minute `local` is working time."""
    minute = local.hour * 60 + local.minute
    today = local.date()
    stretches = rules.week[today.weekday()]
    if today in rules.workdays:
        if not stretches:
            for other in rules.week:
                if other:
                    stretches = other
                    break
    elif today in rules.holidays:
        return False
    return any(begin <= minute < end for begin, end in stretches)


def stepping(rules: Rules, start: datetime, working_s: int) -> datetime:
    """Second by second, for a few cases: what the table below must say as well."""
    zone = ZoneInfo(rules.zone)
    at, left = start, working_s
    second = timedelta(seconds=1)
    if left == 0:
        while not works(rules, at.astimezone(zone)):
            at += second
        return at
    while True:
        if works(rules, at.astimezone(zone)):
            left -= 1
            if left == 0:
                return at + second
        at += second


class Minutes:
    """Every minute of a window, and how many worked ones came before it."""

    def __init__(self, rules: Rules, first: datetime) -> None:
        self.first = first.replace(second=0, microsecond=0)
        zone = ZoneInfo(rules.zone)
        self._worked = bytearray(WINDOW_DAYS * 1_440)
        self._before = array("q", bytes(8 * (len(self._worked) + 1)))
        at, count = self.first, 0
        for index in range(len(self._worked)):
            if works(rules, at.astimezone(zone)):
                self._worked[index] = 1
                count += 1
            at += _MINUTE
            self._before[index + 1] = count

    def due(self, start: datetime, working_s: int, pauses: Sequence[tuple[datetime, datetime]] = ()) -> datetime | None:
        """When `working_s` seconds are over that lie outside of the pauses; None beyond the window."""
        left = working_s
        at = start
        for begin, end in pauses:
            left -= self.between(at, begin)
            at = end
        target = self._seconds(at) + left
        index = self._index(at)
        # The first minute at whose end enough is counted.
        low, high = index, len(self._worked)
        if self._before[high] * 60 < target:
            return None
        if left == 0:
            while not self._worked[low]:
                low += 1
            return max(at, self.first + low * _MINUTE)
        while low < high:
            middle = (low + high) // 2
            if self._before[middle + 1] * 60 >= target:
                high = middle
            else:
                low = middle + 1
        return self.first + low * _MINUTE + timedelta(seconds=target - self._before[low] * 60)

    def between(self, start: datetime, end: datetime) -> int:
        """Worked seconds from start to end."""
        return self._seconds(end) - self._seconds(start)

    def _index(self, at: datetime) -> int:
        return int((at.astimezone(UTC) - self.first) // _MINUTE)

    def _seconds(self, at: datetime) -> int:
        index = self._index(at)
        inside = int((at.astimezone(UTC) - self.first).total_seconds()) - index * 60
        return self._before[index] * 60 + inside * self._worked[index]
