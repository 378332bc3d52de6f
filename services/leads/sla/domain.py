"""When a first touch is due: limits by team and source, counted in business hours (5).

Pure. Stage 1 ends with the claim, stage 2 with the first work on the lead; before each a reminder comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.leads.organisation.domain import DEFAULT_TEAM
from services.leads.sla.calendar import Calendar, NoWorkingTimeError

_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a first touch may take, in business time."""

    stage1: timedelta
    """Then owner and supervisor are told that nobody has claimed it."""
    stage2: timedelta
    """Then the supervisor gets the lead."""
    remind1: timedelta = _NOTHING
    """So long before stage 1 the owner is reminded; nothing: never."""
    remind2: timedelta = _NOTHING


@dataclass(frozen=True, slots=True)
class Due:
    """When a stage is due, and when its owner is reminded before."""

    at: datetime
    remind_at: datetime | None


@dataclass(frozen=True, slots=True)
class FirstTouch:
    """The limits in force; '' stands for any team or any source."""

    limits: Mapping[tuple[str, str], Limits]
    calendars: Mapping[str, Calendar]
    """By team."""
    version: int = 0

    def limits_for(self, team_id: str, source: str) -> Limits:
        """The most specific limits: of team and source, of the source, of the team, of everybody."""
        for key in ((team_id, source), ("", source), (team_id, ""), ("", "")):
            if key in self.limits:
                return self.limits[key]
        raise KeyError("no first-touch limits for everybody: validation of the policies asks for them")

    def start(self, team_id: str, source: str, at: datetime) -> Due:
        """What a lead begins with that is given to somebody of the team."""
        return self.due(team_id, source, at, stage=1)

    def due(self, team_id: str, source: str, started_at: datetime, *, stage: int, used: timedelta = _NOTHING) -> Due:
        """When `stage` (1 or 2) is due whose clock runs since `started_at` and ran `used` before."""
        limits = self.limits_for(team_id, source)
        limit, remind = (limits.stage1, limits.remind1) if stage == 1 else (limits.stage2, limits.remind2)
        left = max(limit - used, _NOTHING)
        at = self._after(team_id, started_at, left)
        return Due(at, self._after(team_id, started_at, left - remind) if _NOTHING < remind < left else None)

    def used(self, team_id: str, started_at: datetime, until: datetime) -> timedelta:
        """Business time the clock has run since `started_at`."""
        calendar = self._calendar(team_id)
        try:
            return calendar.between(started_at, until) if calendar else max(until - started_at, _NOTHING)
        except NoWorkingTimeError:
            return max(until - started_at, _NOTHING)

    def _after(self, team_id: str, started_at: datetime, working: timedelta) -> datetime:
        # No mistake in a calendar may leave a lead without its due time, or stop the timers of others.
        calendar = self._calendar(team_id)
        try:
            return calendar.after(started_at, working) if calendar else started_at + working
        except NoWorkingTimeError:
            return started_at + working

    def _calendar(self, team_id: str) -> Calendar | None:
        return self.calendars.get(team_id) or self.calendars.get(DEFAULT_TEAM)
