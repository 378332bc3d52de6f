"""Business hours, limits and the document they are written in (5). The arithmetic itself is held in test_business_time.py."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.organisation.domain import Team
from services.leads.sla.calendar import Calendar, Holidays, NoWorkingTimeError, working_week
from services.leads.sla.calendars import load_holidays
from services.leads.sla.domain import FirstTouch, Limits
from services.leads.sla.policies.domain import read_policies

pytestmark = pytest.mark.capability(5)

SHANGHAI = ZoneInfo("Asia/Shanghai")
MINUTE = timedelta(minutes=1)
SHIPPED = load_holidays(Path(__file__).parents[3] / "services/leads/sla/holidays.yaml")


def in_shanghai(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def due(start: str, minutes: int, *, lunch: tuple[time, time] | None = None) -> str:
    calendar = Calendar(SHANGHAI, SHIPPED, working_week(lunch=lunch))
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
    never = Holidays(holidays=frozenset(first + timedelta(days=day) for day in range(5_000)))
    with pytest.raises(NoWorkingTimeError):
        Calendar(SHANGHAI, never).after(in_shanghai("2026-01-01 09:00"), MINUTE)


def test_the_most_specific_limit_is_in_force() -> None:
    """Limits differ by team and lead source (domain.md, Open points)."""

    def limit(minutes: int) -> Limits:
        return Limits(minutes * MINUTE, 2 * minutes * MINUTE)

    touch = FirstTouch(
        {("", ""): limit(15), ("key", ""): limit(5), ("", "展会"): limit(60), ("key", "展会"): limit(30)},
        {"sales": Calendar(SHANGHAI)},
    )
    found = [
        touch.limits_for(*key).stage1 / MINUTE
        for key in (("sales", "官网"), ("key", "官网"), ("sales", "展会"), ("key", "展会"))
    ]
    assert found == [15, 5, 60, 30]
    assert touch.due("sales", "展会", in_shanghai("2026-03-02 10:00"), stage=2).at == in_shanghai("2026-03-02 12:00")


def test_a_reminder_comes_in_business_time_before_the_limit() -> None:
    """Whoever gets a lead on Friday at five to six is reminded on Monday at five past nine of a quarter of an hour."""
    limits = Limits(15 * MINUTE, 120 * MINUTE, 5 * MINUTE, 30 * MINUTE)
    touch = FirstTouch({("", ""): limits}, {"sales": Calendar(SHANGHAI, SHIPPED)})
    due = touch.start("sales", "官网", in_shanghai("2026-03-06 17:55"))
    assert (due.at, due.remind_at) == (in_shanghai("2026-03-09 09:10"), in_shanghai("2026-03-09 09:05"))


def test_a_clock_that_ran_before_has_less_left() -> None:
    """After a pause the second stage has what was not used; a reminder whose time is past does not come."""
    limits = Limits(15 * MINUTE, 120 * MINUTE, 5 * MINUTE, 30 * MINUTE)
    touch = FirstTouch({("", ""): limits}, {"sales": Calendar(SHANGHAI, SHIPPED)})
    start = in_shanghai("2026-03-02 10:00")
    assert touch.used("sales", in_shanghai("2026-03-06 17:30"), in_shanghai("2026-03-09 10:00")) == 90 * MINUTE
    late = touch.due("sales", "官网", start, stage=2, used=100 * MINUTE)
    assert (late.at, late.remind_at) == (in_shanghai("2026-03-02 10:20"), None)


def test_a_calendar_that_is_all_holidays_leaves_no_lead_without_a_due_time() -> None:
    """One team's mistake stops no timer: its leads count wall time; a team nobody knows has the first team's hours."""
    never = Holidays(holidays=frozenset(date(2026, 1, 1) + timedelta(days=day) for day in range(5_000)))
    limits = Limits(15 * MINUTE, 120 * MINUTE, 5 * MINUTE)
    touch = FirstTouch({("", ""): limits}, {"idle": Calendar(SHANGHAI, never), "sales": Calendar(SHANGHAI, SHIPPED)})
    start = in_shanghai("2026-03-02 20:00")
    assert touch.start("idle", "", start).at == start + 15 * MINUTE
    assert touch.used("idle", start, start + MINUTE) == MINUTE
    assert touch.start("nobody-knows", "", start).at == in_shanghai("2026-03-03 09:15")


TEAMS = [Team("sales", "销售一部", "boss"), Team("berlin", "Berlin", "boss")]
EVERYBODY = {"claim_min": 15, "work_min": 120}


def test_the_document_holds_limits_and_calendars() -> None:
    """A team with a week, a zone and days of its own; what it says of a day is stronger than what is announced."""
    document = {
        "policies": [
            {**EVERYBODY, "claim_remind_min": 5},
            {"team": "berlin", "source": "展会", "claim_min": 60, "work_min": 90},
        ],
        "calendars": [
            {
                "team": "berlin",
                "time_zone": "Europe/Berlin",
                "week": {"tue": ["09:00-12:00", "13:00-17:00"], "sat": ["10:00-24:00"]},
                "public_holidays": "cn",
                "holidays": ["2026-03-10..2026-03-11"],
                "workdays": ["2026-10-06"],
            }
        ],
    }
    touch = read_policies(document, 7, TEAMS, SHIPPED, strict=True)
    assert (touch.version, touch.limits_for("berlin", "展会").stage1) == (7, 60 * MINUTE)
    calendar = touch.calendars["berlin"]
    # Tuesday; its holiday; Saturday 14 February is worked as the Saturday it is; 国庆节 but for the day it works itself.
    days = [date(2026, 3, 3), date(2026, 3, 10), date(2026, 2, 14), date(2026, 10, 6), date(2026, 10, 3)]
    assert [sum(end - begin for begin, end in calendar.hours(day)) // 60 for day in days] == [7, 0, 14, 7, 0]
    assert touch.calendars["sales"].hours(date(2026, 2, 14)) == ((540, 1080),)


@pytest.mark.parametrize(
    ("document", "places"),
    [
        ({}, ["policies", "policies"]),
        ({"policies": []}, ["policies", "policies"]),
        ({"policies": [{**EVERYBODY, "team": "nowhere"}]}, ["policies[0].team", "policies"]),
        ({"policies": [{"claim_min": 15, "work_min": 15}]}, ["policies[0].work_min"]),
        ({"policies": [{**EVERYBODY, "claim_remind_min": 15}]}, ["policies[0].claim_remind_min"]),
        (
            {"policies": [{**EVERYBODY, "claim_min": 1.5}, EVERYBODY, "x"]},
            ["policies[0].claim_min", "policies[2]", "policies[1]"],
        ),
        ({"policies": [EVERYBODY], "holidays": []}, ["holidays"]),
        ({"policies": [EVERYBODY], "calendars": [{"team": "sales"}]}, ["calendars[0].week"]),
        (
            {
                "policies": [EVERYBODY],
                "calendars": [
                    {
                        "team": "sales",
                        "time_zone": "Mars/Olympus",
                        "week": {"mon": ["09:00-12:00", "11:00-13:00"], "tue": ["9-12"], "day": []},
                        "public_holidays": "us",
                        "holidays": ["2026-01-01..2026-12-31", "2026-05-01"],
                        "workdays": ["2026-05-01"],
                    }
                ],
            },
            [
                "calendars[0].time_zone",
                "calendars[0].public_holidays",
                "calendars[0].holidays[0]",
                "calendars[0].workdays",
                "calendars[0].week.day",
                "calendars[0].week.mon[1]",
                "calendars[0].week.tue[0]",
            ],
        ),
    ],
)
def test_every_mistake_is_told_with_its_place(document: dict[str, object], places: list[str]) -> None:
    """The author sees all of them at once, and nothing of it is in force."""
    with pytest.raises(InvalidRequestError) as refused:
        read_policies(document, 1, TEAMS, SHIPPED, strict=True)
    assert sorted(error.field for error in refused.value.errors) == sorted(places)


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
