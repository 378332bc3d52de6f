"""Calendars with one mistake each: a comparison that does not find them is worth nothing."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from services.leads.sla.calendar import Calendar, Hours


class LunchIsWorked(Calendar):
    def hours(self, day: date) -> Hours:
        hours = super().hours(day)
        return ((hours[0][0], hours[-1][1]),) if hours else ()


class HolidaysAreWorked(Calendar):
    def hours(self, day: date) -> Hours:
        return super().hours(day) or self.week[day.weekday()]


class MakeUpDaysAreFree(Calendar):
    def hours(self, day: date) -> Hours:
        return () if day in self.holidays.workdays and not self.week[day.weekday()] else super().hours(day)


class HolidaysWinOverMakeUpDays(Calendar):
    def hours(self, day: date) -> Hours:
        return () if day in self.holidays.holidays else super().hours(day)


class ClocksAreNeverChanged(Calendar):
    """The day's offset is that of its midnight."""

    def _spans(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        midnight = self._midnight(day)
        for begin, end in self.hours(day):
            yield midnight + timedelta(minutes=begin), midnight + timedelta(minutes=end)


class WallTimeIsAdded(Calendar):
    """Both ends are turned into UTC by themselves: an hour that is shown twice counts once."""

    def _spans(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        for begin, end in self.hours(day):
            opened, closed = (
                (datetime.combine(day, time(), self.zone) + timedelta(minutes=minute)).astimezone(UTC)
                for minute in (begin, end)
            )
            if opened < closed:
                yield opened, closed


class DaysAreThoseOfUtc(Calendar):
    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), UTC)


class AnEndIsTheNextBeginning(Calendar):
    """What ends with the day is due the next morning."""

    def after(self, start: datetime, working: timedelta) -> datetime:
        at = super().after(start, working)
        index = bisect_right(self._ends, at)
        return max(at, self._opens[index]) if at in self._ends else at


class TheFirstMinuteIsWhole(Calendar):
    def after(self, start: datetime, working: timedelta) -> datetime:
        return super().after(start.replace(second=0), working)


class PausesCountTwice(Calendar):
    def between(self, start: datetime, end: datetime) -> timedelta:
        return 2 * super().between(start, end)


class PausesCountWallTime(Calendar):
    def between(self, start: datetime, end: datetime) -> timedelta:
        return end - start


BUGS = (
    LunchIsWorked,
    HolidaysAreWorked,
    MakeUpDaysAreFree,
    HolidaysWinOverMakeUpDays,
    ClocksAreNeverChanged,
    WallTimeIsAdded,
    DaysAreThoseOfUtc,
    AnEndIsTheNextBeginning,
    TheFirstMinuteIsWhole,
    PausesCountTwice,
    PausesCountWallTime,
)
