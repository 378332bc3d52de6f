"""When a lead that nobody follows up is told about: a day after it was given to somebody, always (117), then again.

Pure. Time is wall time: the catalogue says 24 hours, and neither a calendar nor a pause of the first-touch clock stops it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """How often a silence is told."""

    after: timedelta = timedelta(hours=24)
    """From assignment to the first alarm, and between the daily ones."""
    daily_max: int = 7
    """Alarms that come daily; then one comes a week (136), until the lead is followed up or ends."""
    weekly: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Silence:
    """An open lead without a follow-up whose alarm is due; its row is locked until the transaction ends."""

    lead_id: str
    customer_id: str
    owner_id: str | None
    lead_name: str
    company: str
    sequence: int
    """Of the lead's last event."""
    since: datetime
    counted_from: datetime
    times: int
    """How often it was told so far."""


def next_counted_from(silence: Silence, limits: SilenceLimits, now: datetime) -> datetime:
    """What the next alarm counts from, so that it is due after `limits.after`.

    Steps from the due time, not from `now`: alarms do not drift. What fell into an outage is told once, not once a day.
    """
    step = limits.after if silence.times + 1 < limits.daily_max else limits.weekly
    due = silence.counted_from + limits.after
    missed = (now - due) // step
    return due + step * missed + step - limits.after
