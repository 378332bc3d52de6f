"""First-touch limits and calendars from their tables; the holidays from their file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from breakwater.chassis.database import Reader
from services.leads.organisation.domain import Team
from services.leads.sla.domain import Calendar, FirstTouch, Holidays, Limits

DAYS_PER_RANGE_MAX = 60


def load_holidays(path: Path) -> Holidays:
    """The overlay file: `known_until`, and lists `holidays` and `workdays` of days or ranges. Raises ValueError."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only
    if not isinstance(document, Mapping) or set(document) != {"known_until", "holidays", "workdays"}:
        raise ValueError(f"{path.name} must have exactly known_until, holidays and workdays")
    return Holidays(
        holidays=frozenset(_days(document["holidays"])),
        workdays=frozenset(_days(document["workdays"])),
        known_until=date.fromisoformat(document["known_until"]),
    )


def _days(entries: Iterable[Any]) -> Iterator[date]:
    for entry in entries:
        first_text, _, last_text = str(entry).partition("..")
        first = date.fromisoformat(first_text)
        last = date.fromisoformat(last_text) if last_text else first
        if not 0 <= (last - first).days < DAYS_PER_RANGE_MAX:
            raise ValueError(f"{entry} is no range of at most {DAYS_PER_RANGE_MAX} days")
        yield from (first + timedelta(days=day) for day in range((last - first).days + 1))


async def read_first_touch(reader: Reader, teams: Sequence[Team], holidays: Holidays) -> FirstTouch:
    """The limits in force and the calendar of each team."""
    rows = await reader.fetch("SELECT team_id, source, stage1_s, stage2_s FROM first_touch_policies")
    limits = (
        (
            row["team_id"],
            row["source"],
            Limits(timedelta(seconds=row["stage1_s"]), timedelta(seconds=row["stage2_s"])),
        )
        for row in rows
    )
    return FirstTouch.of(limits, {team.id: _calendar(team, holidays) for team in teams})


def _calendar(team: Team, holidays: Holidays) -> Calendar:
    lunch = None if team.lunch_start is None or team.lunch_end is None else (team.lunch_start, team.lunch_end)
    return Calendar(ZoneInfo(team.time_zone), holidays, team.work_start, team.work_end, lunch)
