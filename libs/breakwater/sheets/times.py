"""Instants as people of one zone read them: canonical UTC text to a spreadsheet's day number or to local text.

Spreadsheets keep times without zone (the header names it) as days since 1899-12-30. Days before 1900-03-01 are read
differently by Excel and LibreOffice, so they have no number here and become text.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # day numbers have no zone
_FIRST_SAFE = datetime(1900, 3, 1)  # noqa: DTZ001
_MICROSECOND = timedelta(microseconds=1)
_HOURS_CACHED_MAX = 50_000
_SECOND_US = {
    f":{minute:02}:{second:02}": (minute * 60 + second) * 1_000_000 for minute in range(60) for second in range(60)
}


class ZoneTimes:
    """Conversions into one zone. What an hour of UTC is there is worked out once and kept, within a bound."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._hours: dict[str, tuple[int, str]] = {}

    def day_number(self, instant: str) -> str | None:
        """`2026-01-05T01:30:00.5Z` -> `46027.39583912037`; None for what is no instant or too early."""
        hour = self._hours.get(instant[:13]) or self._learn_hour(instant[:13])
        second_us, fraction_us = _SECOND_US.get(instant[13:19]), _fraction_us(instant[19:])
        if hour is not None and second_us is not None and fraction_us is not None:
            return _as_days(hour[0] + second_us + fraction_us)
        local = self._local(instant)
        return None if local is None or local < _FIRST_SAFE else _as_days((local - _EPOCH) // _MICROSECOND)

    def text(self, instant: str) -> str | None:
        """`2026-01-05T01:30:00Z` -> `2026-01-05 09:30:00`; None for what is no instant."""
        hour = self._hours.get(instant[:13]) or self._learn_hour(instant[:13])
        if hour is not None and hour[1] and instant[13:19] in _SECOND_US and _fraction_us(instant[19:]) is not None:
            return f"{hour[1]}{instant[13:19]}{instant[19:-1]}"
        local = self._local(instant)
        return None if local is None else local.isoformat(sep=" ")

    def _learn_hour(self, hour: str) -> tuple[int, str] | None:
        # Microseconds since the epoch and text of the local hour. An hour within which the zone's clocks change, or
        # that is none, is left to the exact way; its text is empty where the zone is off by part of an hour.
        first, last = self._local(f"{hour}:00:00Z"), self._local(f"{hour}:59:59Z")
        if first is None or last is None or last - first != timedelta(seconds=3_599) or first < _FIRST_SAFE:
            return None
        if len(self._hours) >= _HOURS_CACHED_MAX:
            self._hours.clear()
        text = first.strftime("%Y-%m-%d %H") if first.minute == first.second == 0 else ""
        known = self._hours[hour] = (first - _EPOCH) // _MICROSECOND, text
        return known

    def _local(self, instant: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(instant)
            return None if moment.tzinfo is None else moment.astimezone(self._zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None


def _fraction_us(text: str) -> int | None:
    # "Z" or ".123456Z"; what is below a microsecond does not count.
    if text == "Z":
        return 0
    digits = text[1:-1]
    if text[:1] != "." or text[-1] != "Z" or not digits.isdecimal() or not digits.isascii():
        return None
    return int(digits.ljust(6, "0")[:6])


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
