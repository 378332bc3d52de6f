"""Instants as people of one zone read them: canonical UTC text to a spreadsheet's day numbers or to local text.

Spreadsheets keep times without zone (the header names it) as days since 1899-12-30. Days before 1900-03-01 are read
differently by Excel and LibreOffice, so they have no number here and become text.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # day numbers have no zone
_FIRST_SAFE = datetime(1900, 3, 1)  # noqa: DTZ001
_MICROSECOND = timedelta(microseconds=1)
_HOURS_CACHED_MAX = 50_000
_SECOND_US = {
    f":{minute:02}:{second:02}": (minute * 60 + second) * 1_000_000 for minute in range(60) for second in range(60)
}

_HOUR = 13  # characters of 2026-01-05T01
_SECOND = 19  # characters of 2026-01-05T01:30:00
_REST = r":[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z"
_FRACTION = re.compile(r"\.[0-9]{1,6}")
_RESTS = re.compile(f"{_REST}(?:,{_REST})*")


class ZoneTimes:
    """Conversions into one zone, a column at a time.

    What an hour of UTC is there is worked out once and kept, within a bound: nearly every column needs nothing else.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._hours: dict[str, tuple[int, str]] = {}

    def day_numbers(self, instants: Sequence[str]) -> list[str | None]:
        """`2026-01-05T01:30:00.5Z` -> `46027.39583912037`; None for what is no instant or too early, empty for empty."""
        if not self._know_hours(instants):
            return [instant and self._exact_day_number(instant) for instant in instants]
        hours = self._hours
        return [
            instant
            and _as_days(hours[instant[:_HOUR]][0] + _SECOND_US[instant[_HOUR:_SECOND]] + _microseconds(instant))
            for instant in instants
        ]

    def texts(self, instants: Sequence[str]) -> list[str | None]:
        """`2026-01-05T01:30:00Z` -> `2026-01-05 09:30:00`; None for what is no instant, empty for empty."""
        if not self._know_hours(instants) or not all(
            hour[1] for hour in map(self._hours.get, _hours_of(instants)) if hour
        ):
            return [instant and self._exact_text(instant) for instant in instants]
        hours = self._hours
        return [instant and hours[instant[:_HOUR]][1] + instant[_HOUR:-1] for instant in instants]

    def _know_hours(self, instants: Sequence[str]) -> bool:
        # False when any of them has to be worked out the exact way.
        rests = ",".join([instant[_HOUR:] for instant in instants if instant])
        if rests and _RESTS.fullmatch(rests) is None:
            return False
        if len(self._hours) >= _HOURS_CACHED_MAX:
            self._hours.clear()
        return all(hour in self._hours or self._learn(hour) for hour in _hours_of(instants))

    def _learn(self, hour: str) -> bool:
        # Microseconds since the epoch and text of the local hour. An hour within which the zone's clocks change, or
        # that is none, is left to the exact way; its text is empty where the zone is off by part of an hour.
        first, last = self._local(f"{hour}:00:00Z"), self._local(f"{hour}:59:59Z")
        if first is None or last is None or last - first != timedelta(seconds=3_599) or first < _FIRST_SAFE:
            return False
        text = first.strftime("%Y-%m-%d %H") if first.minute == first.second == 0 else ""
        self._hours[hour] = (first - _EPOCH) // _MICROSECOND, text
        return True

    def _exact_day_number(self, instant: str) -> str | None:
        local = self._local(instant)
        return None if local is None or local < _FIRST_SAFE else _as_days((local - _EPOCH) // _MICROSECOND)

    def _exact_text(self, instant: str) -> str | None:
        local, fraction = self._local(instant), _FRACTION.search(instant)
        if local is None:
            return None
        return local.isoformat(sep=" ", timespec="seconds") + (fraction[0] if fraction else "")

    def _local(self, instant: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(instant)
            return None if moment.tzinfo is None else moment.astimezone(self._zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None


def _hours_of(instants: Sequence[str]) -> set[str]:
    return {instant[:_HOUR] for instant in instants} - {""}


def _microseconds(instant: str) -> int:
    digits = instant[_SECOND + 1 : -1]
    return int(digits.ljust(6, "0")) if digits else 0


def _as_days(microseconds: int) -> str:
    # Days with 11 decimals, below a microsecond: 1e11 / 86.4e9 = 125 / 108. Integers are quicker than floats to text.
    digits = str((microseconds * 125 + 54) // 108)
    return f"{digits[:-11]}.{digits[-11:]}"


def date_number(day: str) -> str | None:
    """`2026-01-05` -> `46027`; None for what is no ISO 8601 date or too early for a number."""
    try:
        ordinal = date.fromisoformat(day).toordinal()
    except ValueError:
        return None
    return str(ordinal - _EPOCH.toordinal()) if ordinal >= _FIRST_SAFE.toordinal() else None
