"""Business hours (5): due times against a slow oracle that counts minute by minute."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.leads.sla.calendars import load_holidays
from services.leads.sla.domain import Calendar, FirstTouch, Holidays, Limits, NoWorkingTimeError

pytestmark = pytest.mark.capability(5)

SHANGHAI = ZoneInfo("Asia/Shanghai")
MINUTE = timedelta(minutes=1)
SHIPPED = load_holidays(Path(__file__).parents[3] / "services/leads/sla/holidays.yaml")


def in_shanghai(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def due(start: str, minutes: int, *, lunch: tuple[time, time] | None = None) -> str:
    calendar = Calendar(SHANGHAI, SHIPPED, lunch=lunch)
    end = calendar.after(in_shanghai(start), minutes * MINUTE)
    assert end.tzinfo is UTC
    return end.astimezone(SHANGHAI).strftime("%m-%d %H:%M")


@pytest.mark.parametrize(
    ("start", "minutes", "end"),
    [
        ("2026-03-02 10:00", 15, "03-02 10:15"),
        ("2026-03-02 17:50", 15, "03-03 09:05"),
        ("2026-03-02 17:45", 15, "03-02 18:00"),
        ("2026-03-02 07:00", 15, "03-02 09:15"),
        ("2026-03-06 20:00", 15, "03-09 09:15"),  # Friday evening, then Monday
        ("2026-02-13 17:50", 15, "02-14 09:05"),  # Saturday 14 February is worked (调休)
        ("2026-02-14 17:50", 15, "02-24 09:05"),  # then 春节 until Monday 23
        ("2026-09-30 17:00", 120, "10-08 10:00"),  # 国庆节
    ],
)
def test_due_times_skip_nights_weekends_and_holidays(start: str, minutes: int, end: str) -> None:
    """Whoever gets a lead at ten to six has five minutes left the next morning."""
    assert due(start, minutes) == end


def test_a_lunch_break_does_not_count() -> None:
    """Two hours from eleven end at half past two."""
    assert due("2026-03-02 11:00", 120, lunch=(time(12), time(13, 30))) == "03-02 14:30"


def test_a_calendar_without_working_time_says_so() -> None:
    """An overlay that is all holidays is a mistake, not an endless loop."""
    first = date(2026, 1, 1)
    never = Holidays(holidays=frozenset(first + timedelta(days=day) for day in range(4_000)))
    with pytest.raises(NoWorkingTimeError):
        Calendar(SHANGHAI, never).after(in_shanghai("2026-01-01 09:00"), MINUTE)


def slow_oracle(calendar: Calendar, start: datetime, minutes: int) -> datetime:
    """Walks real time minute by minute and asks the wall clock of each."""
    at = start
    while minutes:
        local = at.astimezone(calendar.zone)
        works = calendar.work_start <= local.time() < calendar.work_end
        if calendar.lunch and calendar.lunch[0] <= local.time() < calendar.lunch[1]:
            works = False
        weekday = local.weekday() < 5 and local.date() not in calendar.holidays.holidays
        if works and (weekday or local.date() in calendar.holidays.workdays):
            minutes -= 1
        at += MINUTE
    return at


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
days = st.frozensets(st.integers(0, 400).map(lambda day: date(2025, 12, 25) + timedelta(days=day)), max_size=40)
hours = st.sampled_from([(time(9), time(18)), (time(0), time(23, 59)), (time(8, 30), time(17, 15)), (time(1), time(4))])
lunches = st.sampled_from([None, (time(12), time(13, 30)), (time(11, 45), time(12, 15))])


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, 370 * 24 * 60).map(lambda minutes: BEGIN + minutes * MINUTE),
    minutes=st.integers(1, 1_500),
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]),
    worked=hours,
    lunch=lunches,
    holidays=days,
    workdays=days,
)
def test_due_times_equal_a_minute_by_minute_count(
    start: datetime,
    minutes: int,
    zone: str,
    worked: tuple[time, time],
    lunch: tuple[time, time] | None,
    holidays: frozenset[date],
    workdays: frozenset[date],
) -> None:
    """Also over weekends, make-up days and the nights summer time begins and ends."""
    if lunch and not worked[0] < lunch[0] < lunch[1] < worked[1]:
        lunch = None
    calendar = Calendar(ZoneInfo(zone), Holidays(holidays, workdays), *worked, lunch)
    assert calendar.after(start, minutes * MINUTE) == slow_oracle(calendar, start, minutes)


def test_the_most_specific_limit_is_in_force() -> None:
    """Limits differ by team and lead source (domain.md, Open points)."""

    def limit(minutes: int) -> Limits:
        return Limits(minutes * MINUTE, 2 * minutes * MINUTE)

    touch = FirstTouch.of(
        [("", "", limit(15)), ("key", "", limit(5)), ("", "展会", limit(60)), ("key", "展会", limit(30))],
        {"sales": Calendar(SHANGHAI, Holidays())},
    )
    found = [
        touch.limits_for(*key).stage1 / MINUTE
        for key in (("sales", "官网"), ("key", "官网"), ("sales", "展会"), ("key", "展会"))
    ]
    assert found == [15, 5, 60, 30]
    assert touch.due("sales", "展会", in_shanghai("2026-03-02 10:00"), stage=2) == in_shanghai("2026-03-02 12:00")


def test_the_shipped_holidays_say_until_when_they_are_known() -> None:
    """Make-up days are announced yearly: the file ends with a year and has whole days off and on."""
    assert SHIPPED.known_until == date(2026, 12, 31)
    assert len([day for day in SHIPPED.holidays if day.year == 2026]) == 33
    assert all(day.weekday() >= 5 for day in SHIPPED.workdays)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "known_until: 2026-12-31",
        "known_until: soon\nholidays: []\nworkdays: []",
        "known_until: 2026-12-31\nholidays: [2026-05-05..2026-05-01]\nworkdays: []",
    ],
)
def test_a_broken_holidays_file_is_refused(tmp_path: Path, content: str) -> None:
    """A process does not start on a calendar that means nothing."""
    file = tmp_path / "holidays.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"holidays|known_until|isoformat|range"):
        load_holidays(file)
