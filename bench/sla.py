"""What a due time costs beside businesstimedelta, processor time in one run: `python -m bench.sla`.

Office hours with lunch in Shanghai, public holidays of China, starts at any second of 2026, limits of a minute to two days of
office hours. The peer knows no make-up days (调休), so that none are asked of either here; how often both say the same is a
figure. The rounds of both are interleaved and the median counts.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_time
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import businesstimedelta
import pytz

from services.leads.sla.calendar import Calendar, Holidays, working_week
from services.leads.sla.calendars import load_holidays

HOLIDAYS = Path(__file__).parents[1] / "services/leads/sla/holidays.yaml"
ZONE = "Asia/Shanghai"
LUNCH = (wall_time(12), wall_time(13, 30))
CASES = 1_000
ROUNDS = 5
PEER_CASES = 100
"""Of a round: it takes its time."""

Case = tuple[datetime, timedelta]
Asked = TypeVar("Asked")


def main() -> None:
    # The peer fails where it knows of no further holiday.
    holidays = load_holidays(HOLIDAYS).holidays | {date(2028, 1, 3)}
    calendar = Calendar(ZoneInfo(ZONE), Holidays(holidays), working_week(lunch=LUNCH))
    zone = pytz.timezone(ZONE)
    rules = businesstimedelta.Rules(
        [
            businesstimedelta.WorkDayRule(
                start_time=wall_time(9), end_time=wall_time(18), working_days=[0, 1, 2, 3, 4], tz=zone
            ),
            businesstimedelta.LunchTimeRule(
                start_time=LUNCH[0], end_time=LUNCH[1], working_days=[0, 1, 2, 3, 4], tz=zone
            ),
            businesstimedelta.HolidayRule(dict.fromkeys(holidays, "holiday"), tz=zone),
        ]
    )

    def ours(case: Case) -> datetime:
        return calendar.after(*case)

    def peers(case: Case) -> datetime:
        due: datetime = case[0] + businesstimedelta.BusinessTimeDelta(rules, seconds=int(case[1].total_seconds()))
        return due

    cases = drawn(CASES)
    alike = sum(ours(case) == peers(case) for case in cases[:PEER_CASES]) / PEER_CASES
    taken: dict[str, list[float]] = {"ours": [], "peers": []}
    for _ in range(ROUNDS):
        taken["ours"].append(us_each(ours, cases))
        taken["peers"].append(us_each(peers, cases[:PEER_CASES]))
    mine, theirs = (statistics.median(taken[who]) for who in ("ours", "peers"))
    tell("due_time", mine, "us", theirs, mine / theirs)
    tell("due_times_alike", alike, "share", None, None)
    paused = [(start, start + 3 * limit) for start, limit in cases]
    tell("time_between", us_each(lambda pair: calendar.between(*pair), paused), "us", None, None)


def drawn(count: int) -> list[Case]:
    draw = random.Random(5)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        (first + timedelta(seconds=draw.randrange(350 * 86_400)), timedelta(seconds=draw.randrange(60, 2 * 27_000)))
        for _ in range(count)
    ]


def us_each(work: Callable[[Asked], object], cases: list[Asked]) -> float:
    began = time.process_time()
    for case in cases:
        work(case)
    return (time.process_time() - began) / len(cases) * 1e6


def tell(figure: str, value: float, unit: str, peer_value: float | None, ratio: float | None) -> None:
    peer = None if peer_value is None else "businesstimedelta"
    line = {"bench": "sla", "figure": figure, "value": round(value, 3), "unit": unit, "peer": peer}
    print(json.dumps(line | {"peer_value": peer_value and round(peer_value, 3), "ratio": ratio and round(ratio, 5)}))


if __name__ == "__main__":
    main()
