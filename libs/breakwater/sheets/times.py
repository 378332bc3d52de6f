"""Instants as people of one zone read them: canonical UTC text to a spreadsheet's day number or to local text.

Spreadsheets keep times without zone (the header names it) as days since 1899-12-30. Days before 1900-03-01 are read
differently by Excel and LibreOffice, so they have no number here and become text.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # day numbers have no zone
_EPOCH_ORDINAL = _EPOCH.toordinal()
_FIRST_SAFE = datetime(1900, 3, 1)  # noqa: DTZ001
_FIRST_SAFE_S = int((_FIRST_SAFE - _EPOCH).total_seconds())
_DAY_S = 86_400
_HOURS_CACHED_MAX = 50_000
_SECOND_OF_HOUR = {f":{minute:02}:{second:02}": minute * 60 + second for minute in range(60) for second in range(60)}


class ZoneTimes:
    """Conversions into one zone. What an hour of UTC is there is worked out once and kept, within a bound."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._hours: dict[str, tuple[int, str] | None] = {}

    def day_number(self, instant: str) -> str | None:
        """`2026-01-05T01:30:00.5Z` -> `46027.39583912037`; None for what is no instant or too early."""
        seconds, fraction = _SECOND_OF_HOUR.get(instant[13:19]), instant[19:]
        hour = self._hour(instant[:13])
        if hour is None or seconds is None or not _is_fraction(fraction):
            local = self._local(instant)
            if local is None or local < _FIRST_SAFE:
                return None
            return repr((local - _EPOCH) / timedelta(days=1))
        if fraction == "Z":
            return repr((hour[0] + seconds) / _DAY_S)
        return repr((hour[0] + seconds + float(fraction[:-1])) / _DAY_S)

    def text(self, instant: str) -> str | None:
        """`2026-01-05T01:30:00Z` -> `2026-01-05 09:30:00`; None for what is no such instant."""
        fraction = instant[19:]
        hour = self._hour(instant[:13])
        if hour is None or not hour[1] or instant[13:19] not in _SECOND_OF_HOUR or not _is_fraction(fraction):
            local = self._local(instant)
            return None if local is None else local.isoformat(sep=" ")
        return f"{hour[1]}{instant[13:19]}{fraction[:-1]}"

    def _hour(self, hour: str) -> tuple[int, str] | None:
        try:
            return self._hours[hour]
        except KeyError:
            if len(self._hours) >= _HOURS_CACHED_MAX:
                self._hours.clear()
            known = self._hours[hour] = self._work_out(hour)
            return known

    def _work_out(self, hour: str) -> tuple[int, str] | None:
        # Seconds since the epoch and the text of the local hour; None when the zone's clocks change within it.
        first, last = self._local(f"{hour}:00:00Z"), self._local(f"{hour}:59:59Z")
        if first is None or last is None or last - first != timedelta(seconds=3_599):
            return None
        start_s = int((first - _EPOCH).total_seconds())
        if start_s < _FIRST_SAFE_S:
            return None
        return start_s, first.strftime("%Y-%m-%d %H") if first.minute == first.second == 0 else ""

    def _local(self, instant: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(instant)
            return None if moment.tzinfo is None else moment.astimezone(self._zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None


def _is_fraction(text: str) -> bool:
    return text == "Z" or (text[:1] == "." and text[-1:] == "Z" and text[1:-1].isdecimal() and text.isascii())


def date_number(day: str) -> str | None:
    """`2026-01-05` -> `46027`; None for what is no ISO 8601 date or too early for a number."""
    try:
        ordinal = date.fromisoformat(day).toordinal()
    except ValueError:
        return None
    return str(ordinal - _EPOCH_ORDINAL) if ordinal >= _FIRST_SAFE.toordinal() else None
