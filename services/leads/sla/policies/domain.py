"""The policies document: limits by team and source, calendars by team, read with the place of each error (5, 40).

Pure. services/leads/README.md describes the format.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.leads.documents.domain import DocumentReader
from services.leads.organisation.domain import Team
from services.leads.sla.calendar import Calendar, Holidays, Hours, Week, calendar_of, working_week
from services.leads.sla.domain import FirstTouch, Limits

POLICIES_MAX = 2_000
CALENDARS_MAX = 500
LIMIT_MIN_MAX = 43_200
"""Minutes of business time: half a year of office days."""
DAYS_MAX = 1_000
"""Own days of a calendar, ranges counted out."""
RANGE_DAYS_MAX = 60
SPANS_MAX = 6
"""Stretches of work in a day."""
TEXT_CHARS_MAX = 200

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_POLICY_KEYS = frozenset({"team", "source", "claim_min", "claim_remind_min", "work_min", "work_remind_min"})
_CALENDAR_KEYS = frozenset({"team", "time_zone", "week", "public_holidays", "holidays", "workdays"})
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))")


@dataclass(frozen=True, slots=True)
class _OwnCalendar:
    """A team's calendar where it has one of its own."""

    team_id: str
    time_zone: str
    week: Week
    public: bool
    holidays: frozenset[date]
    workdays: frozenset[date]

    def over(self, public: Holidays) -> Calendar:
        if not self.public:
            return calendar_of(self.time_zone, self.week, Holidays(self.holidays, self.workdays))
        # What the team says of a day of its own is stronger than what is announced.
        holidays = (public.holidays - self.workdays) | self.holidays
        workdays = (public.workdays - self.holidays) | self.workdays
        return calendar_of(self.time_zone, self.week, Holidays(holidays, workdays, public.known_until))


def read_policies(
    document: Mapping[str, Any], version: int, teams: Sequence[Team], public: Holidays, *, strict: bool = False
) -> FirstTouch:
    """The limits and calendars of a document; teams without a calendar of their own have the hours of the organisation.

    `strict`, for new documents: the teams it names must exist. Raises InvalidRequestError with one error a place.
    """
    reader = _Reader({team.id for team in teams} if strict else None)
    limits, own = reader.document(document)
    reader.raise_errors("The policies cannot be taken.", "invalid_policies")
    calendars = {team.id: _hours_of(team, public) for team in teams}
    calendars |= {each.team_id: each.over(public) for each in own}
    return FirstTouch(limits, calendars, version)


def _hours_of(team: Team, public: Holidays) -> Calendar:
    lunch = None if team.lunch_start is None or team.lunch_end is None else (team.lunch_start, team.lunch_end)
    return calendar_of(team.time_zone, working_week(team.work_start, team.work_end, lunch), public)


class _Reader(DocumentReader):
    def __init__(self, team_ids: set[str] | None) -> None:
        super().__init__()
        self._team_ids = team_ids

    def document(self, document: Mapping[str, Any]) -> tuple[dict[tuple[str, str], Limits], list[_OwnCalendar]]:
        self.only(document, {"policies", "calendars"})
        limits: dict[tuple[str, str], Limits] = {}
        for place, entry in self.entries(document, "policies", "", POLICIES_MAX, least=1):
            key, value = self._policy(entry, place)
            if key in limits:
                self.wrong(place, "is there twice for this team and source")
            limits[key] = value
        if ("", "") not in limits:
            self.wrong("policies", "must hold one for everybody: without team and source")
        own: dict[str, _OwnCalendar] = {}
        for place, entry in self.entries(document, "calendars", "", CALENDARS_MAX):
            calendar = self._calendar(entry, place)
            if calendar.team_id in own:
                self.wrong(f"{place}.team", "has two calendars")
            own[calendar.team_id] = calendar
        return limits, list(own.values())

    def _policy(self, entry: Mapping[str, Any], place: str) -> tuple[tuple[str, str], Limits]:
        self.only(entry, _POLICY_KEYS, place)
        entry = {"claim_remind_min": 0, "work_remind_min": 0, **entry}
        claim = self.number(entry, "claim_min", place, 1, LIMIT_MIN_MAX - 1)
        work = self.number(entry, "work_min", place, claim + 1, LIMIT_MIN_MAX)
        remind1 = self.number(entry, "claim_remind_min", place, 0, claim - 1)
        remind2 = self.number(entry, "work_remind_min", place, 0, work - 1)
        key = self._team(entry, place), self.text(entry, "source", place, TEXT_CHARS_MAX, blank=True)
        return key, Limits(*(timedelta(minutes=minutes) for minutes in (claim, work, remind1, remind2)))

    def _team(self, entry: Mapping[str, Any], place: str, *, blank: bool = True) -> str:
        team_id = self.text(entry, "team", place, TEXT_CHARS_MAX, blank=blank)
        if team_id and self._team_ids is not None and team_id not in self._team_ids:
            self.wrong(f"{place}.team", f"there is no team {team_id!r}")
        return team_id

    def _calendar(self, entry: Mapping[str, Any], place: str) -> _OwnCalendar:
        self.only(entry, _CALENDAR_KEYS, place)
        entry = {"time_zone": "Asia/Shanghai", **entry}
        team_id = self._team(entry, place, blank=False)
        zone = self.text(entry, "time_zone", place, TEXT_CHARS_MAX)
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.wrong(f"{place}.time_zone", "must be a zone of the IANA database, such as Asia/Shanghai")
            zone = "UTC"
        public = entry.get("public_holidays", "cn")
        if public not in ("cn", "none"):
            self.wrong(f"{place}.public_holidays", "must be cn or none")
        holidays, workdays = (self._days(entry.get(name, []), f"{place}.{name}") for name in ("holidays", "workdays"))
        if holidays & workdays:
            self.wrong(f"{place}.workdays", f"{min(holidays & workdays)} is a holiday, too")
        return _OwnCalendar(
            team_id, zone, self._week(entry.get("week"), f"{place}.week"), public == "cn", holidays, workdays
        )

    def _week(self, week: Any, place: str) -> Week:
        if not isinstance(week, dict):
            self.wrong(place, f"must be an object of {', '.join(_WEEKDAYS)}; a day that is left out is not worked")
            return working_week()
        self.only(week, _WEEKDAYS, place)
        first, second, third, fourth, fifth, sixth, seventh = (
            self._hours(week.get(day, []), f"{place}.{day}") for day in _WEEKDAYS
        )
        found = (first, second, third, fourth, fifth, sixth, seventh)
        if not any(found):
            self.wrong(place, "must hold a day that is worked")
        return found

    def _hours(self, spans: Any, place: str) -> Hours:
        if not isinstance(spans, list) or len(spans) > SPANS_MAX:
            self.wrong(place, f"must be a list of at most {SPANS_MAX} stretches, such as 09:00-12:00")
            return ()
        found: list[tuple[int, int]] = []
        for index, span in enumerate(spans):
            match = _SPAN.fullmatch(span) if isinstance(span, str) else None
            if match is None:
                self.wrong(f"{place}[{index}]", "must be from-until, such as 09:00-12:00; a day ends at 24:00")
                continue
            hour, minute, until_hour, until_minute = (int(part) for part in match.groups() if part is not None)
            begin, end = hour * 60 + minute, until_hour * 60 + until_minute
            if begin >= end or (found and begin < found[-1][1]):
                self.wrong(f"{place}[{index}]", "must end after it begins, and begin after the one before has ended")
                continue
            found.append((begin, end))
        return tuple(found)

    def _days(self, days: Any, place: str) -> frozenset[date]:
        if not isinstance(days, list) or len(days) > DAYS_MAX:
            self.wrong(place, f"must be a list of at most {DAYS_MAX} days")
            return frozenset()
        found: set[date] = set()
        for index, entry in enumerate(days):
            try:
                found.update(days_of(entry if isinstance(entry, str) else ""))
            except ValueError:
                self.wrong(
                    f"{place}[{index}]",
                    f"must be a day or a range of at most {RANGE_DAYS_MAX}, such as 2026-10-01..2026-10-07",
                )
        return frozenset(found)


def days_of(entry: str) -> Iterator[date]:
    """The days of `2026-10-01` or `2026-10-01..2026-10-07`. Raises ValueError."""
    first_text, _, last_text = entry.partition("..")
    first = date.fromisoformat(first_text)
    last = date.fromisoformat(last_text) if last_text else first
    if not 0 <= (last - first).days < RANGE_DAYS_MAX:
        raise ValueError(f"{entry} is no range of at most {RANGE_DAYS_MAX} days")
    yield from (first + timedelta(days=day) for day in range((last - first).days + 1))
