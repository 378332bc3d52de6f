"""How a lead's first-touch clock stands: what is due when, and who stopped it why. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.sla.domain import FirstTouch

REASON_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class RunningClock:
    """A timer as it is kept."""

    stage: int
    """1: to be claimed; 2: to be worked on."""
    due_at: datetime
    remind_at: datetime | None
    started_at: datetime
    used: timedelta
    """Business time that ran before `started_at`; of a paused clock all of it."""
    paused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """One time the clock stood; it has no end where it stands still, or where the lead was given to somebody else."""

    paused_at: datetime
    paused_by: str
    reason: str
    resumed_at: datetime | None = None
    resumed_by: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """A lead nobody follows up (117): a pause does not stop this."""

    since: datetime
    alarms: int


@dataclass(frozen=True, slots=True)
class LeadClock:
    """All of it, as people see it."""

    lead_id: str
    running: RunningClock | None
    """None: nothing will be due."""
    pauses: tuple[Pause, ...]
    """The oldest first."""
    silence: Silence | None


def paused(clock: RunningClock, touch: FirstTouch, team_id: str, now: datetime) -> RunningClock:
    """The clock standing since `now`, with what it used of its time."""
    return replace(clock, used=clock.used + touch.used(team_id, clock.started_at, now), paused_at=now)


def resumed(clock: RunningClock, touch: FirstTouch, team_id: str, source: str, now: datetime) -> RunningClock:
    """The clock running on from `now` with what is left of its time."""
    due = touch.due(team_id, source, now, stage=clock.stage, used=clock.used)
    return replace(clock, due_at=due.at, remind_at=due.remind_at, started_at=now, paused_at=None)


def check_reason(reason: str) -> str:
    """The reason, trimmed; raises InvalidRequestError."""
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_CHARS_MAX:
        raise InvalidRequestError(
            "A pause needs a reason.",
            errors=[FieldError("reason", f"must be a text of 1 to {REASON_CHARS_MAX} characters")],
        )
    return reason
