"""Seeded calendars and due times: our arithmetic beside the oracle's, case by case."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from services.leads.sla.calendar import Calendar, Holidays
from services.leads.sla.calendars import load_holidays
from services.leads.sla.domain import FirstTouch, Limits
from services.leads.sla.pauses.domain import RunningClock, paused, resumed
from tests.businesstime.oracle import Minutes, Rules, stepping

CASES_A_CALENDAR = 1_000
STEPPED_A_CALENDAR = 2
STEPPED_MAX = timedelta(hours=2)
SHIPPED = load_holidays(Path(__file__).parents[2] / "services/leads/sla/holidays.yaml")

ZONES = (
    *("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"),
    *("America/St_Johns", "America/Havana", "Africa/Cairo", "Pacific/Chatham", "America/Santiago", "Asia/Beirut"),
)
"""Half hours, three quarters, half hours of summer time, changes at midnight, north and south."""

WEEKS = (
    (((540, 720), (810, 1080)),) * 5 + ((),) * 2,
    (((540, 1080),),) * 5 + ((),) * 2,
    (((510, 705), (735, 1035)),) * 6 + ((),),
    (((0, 1440),),) * 7,
    (((0, 360), (1320, 1440)),) * 5 + ((), ((600, 960),)),
    (((30, 150), (151, 187)),) * 7,
    ((), ((60, 210),), ((90, 150), (1410, 1440)), ((0, 90),), (), ((0, 1),), ((120, 1439),)),
)
CHANGES = (
    date(2025, 3, 9),
    date(2025, 3, 30),
    date(2025, 4, 6),
    date(2025, 10, 26),
    date(2025, 11, 2),
    date(2025, 4, 25),
)
"""Nights in which some of the zones change their clocks, or the days before."""


@dataclass(frozen=True, slots=True)
class Case:
    """One lead's clock: from when, how long, and when it stood."""

    start: datetime
    limit_s: int
    pauses: tuple[tuple[datetime, datetime], ...]


def rules_of(seed: int) -> tuple[Rules, datetime]:
    """A calendar, and the first moment of its window (UTC)."""
    draw = random.Random(f"calendar {seed}")
    zone, week = draw.choice(ZONES), draw.choice(WEEKS)
    if draw.random() < 0.5:
        first = draw.choice(CHANGES) - timedelta(days=draw.randint(3, 20))
    else:
        first = date(2025, 1, 1) + timedelta(days=draw.randrange(700))
    if zone == "Asia/Shanghai" or draw.random() < 0.3:
        holidays, workdays = set(SHIPPED.holidays), set(SHIPPED.workdays)
    else:
        holidays, workdays = set[date](), set[date]()
        for _ in range(draw.randrange(4)):
            begin = first + timedelta(days=draw.randrange(50))
            holidays |= {begin + timedelta(days=day) for day in range(draw.randint(1, 9))}
        workdays |= {first + timedelta(days=draw.randrange(60)) for _ in range(draw.randrange(6))}
    opened = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return Rules(zone, week, frozenset(holidays), frozenset(workdays)), opened


@lru_cache(maxsize=64)
def minutes_of(seed: int) -> tuple[Rules, Minutes]:
    """The calendar of a seed with the oracle's table of it."""
    rules, first = rules_of(seed)
    return rules, Minutes(rules, first)


def cases_of(seed: int, count: int, minutes: Minutes) -> Iterator[Case]:
    """Starts at any second of a month, limits of a second to four days of office hours, up to three pauses."""
    draw = random.Random(f"cases {seed}")
    for _ in range(count):
        start = minutes.first + timedelta(days=1, seconds=draw.randrange(30 * 86_400))
        limit_s = draw.choice(
            (draw.randint(1, 7_200), 900, 7_200, 60 * draw.randint(1, 2_400), 3_600 * draw.randint(1, 40))
        )
        pauses: list[tuple[datetime, datetime]] = []
        at, left = start, limit_s
        for _ in range(draw.choice((0, 0, 1, 2, 3))):
            begin = at + timedelta(seconds=draw.randrange(2 * 86_400))
            left -= minutes.between(at, begin)
            if left <= 0:
                break
            at = begin + timedelta(seconds=draw.randrange(3 * 86_400))
            pauses.append((begin, at))
        yield Case(start, limit_s, tuple(pauses))


def ours(calendar: Calendar, case: Case) -> datetime:
    """The due time by the service's own code: a clock that is started, paused and resumed."""
    limits = Limits(timedelta(seconds=case.limit_s), timedelta(days=300))
    touch = FirstTouch({("", ""): limits}, {"team": calendar})
    due = touch.start("team", "", case.start)
    clock = RunningClock(1, due.at, due.remind_at, case.start, timedelta(0))
    for begin, end in case.pauses:
        clock = resumed(paused(clock, touch, "team", begin), touch, "team", "", end)
    return clock.due_at


@dataclass(slots=True)
class Compared:
    """What a calendar's cases came to."""

    cases: int = 0
    beyond: int = 0
    """Due past the oracle's window: not compared."""
    with_pauses: int = 0
    stepped: int = 0
    """Compared second by second, too."""
    differences: int = 0
    first_difference: str = ""


def compare(seed: int, count: int = CASES_A_CALENDAR, calendar_type: type[Calendar] = Calendar) -> Compared:
    """Our due times of a seeded calendar beside the oracle's."""
    rules, minutes = minutes_of(seed)
    calendar = calendar_type(ZoneInfo(rules.zone), Holidays(rules.holidays, rules.workdays), rules.week)
    found = Compared()
    for case in cases_of(seed, count, minutes):
        expected = minutes.due(case.start, case.limit_s, case.pauses)
        if expected is None:
            found.beyond += 1
            continue
        found.cases += 1
        found.with_pauses += bool(case.pauses)
        given = ours(calendar, case)
        if not case.pauses and found.stepped < STEPPED_A_CALENDAR and expected - case.start <= STEPPED_MAX:
            found.stepped += 1
            expected = stepping(rules, case.start, case.limit_s)
        if given != expected:
            found.differences += 1
            found.first_difference = (
                found.first_difference or f"seed {seed}, {rules.zone}, {case}: {given}, not {expected}"
            )
    return found
