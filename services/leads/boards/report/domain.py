"""How fast leads are answered, as measured checks (2, 7, 43, 63, 117). Pure.

What is in time, and whose a lead is, the boards say: both count the same leads the same way (docs/adr/0032).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from services.leads.boards.domain import LeadTimes, Measures, judge, team_of
from services.leads.organisation.domain import Directory

SOON, STILL = timedelta(minutes=5), timedelta(hours=2)
"""Past the first, conversion falls by 43 %; past the second, 68 % are lost (2)."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A lead as the report counts it."""

    times: LeadTimes
    desk_first: bool
    """The duty desk had it first, because nobody else was eligible."""
    silent_since: datetime | None
    """When it was first given to somebody, the desk too; None: it was followed up, or has ended."""
    alarms: int
    """How often that was told."""


@dataclass(slots=True)
class Counts:
    """Of leads captured in a period that were to be worked on. What is not over yet counts neither way."""

    leads: int = 0
    assigned_in_time: int = 0
    """A person had them in time (43); the duty desk is nobody."""
    assigned_late: int = 0
    """Or not yet, and the time is over."""
    duty_desk_first: int = 0
    contact_in_time: int = 0
    """A first follow-up was recorded in time (63)."""
    contact_late: int = 0
    claimed_in_time: int = 0
    """Answered, by claim or follow-up, within the limit of the policies, in business time (7)."""
    claimed_late: int = 0
    answered: int = 0
    """Claimed or followed up: the first of them is the response."""
    answered_in_5_min: int = 0
    answered_in_2_h: int = 0
    response_s: float = 0.0
    """Of all the answered ones together, in wall time."""
    silent: int = 0
    """Open, never followed up, and given to somebody more than 24 hours ago (117)."""
    alarmed: int = 0
    """Of these: those whose alarm went out."""

    def count(self, lead: Watched, as_of: datetime, measures: Measures) -> None:
        """Counts one lead."""
        times, judged = lead.times, judge(lead.times, as_of, measures)
        self.leads += 1
        self.assigned_in_time += judged.assigned is True
        self.assigned_late += judged.assigned is False
        self.duty_desk_first += lead.desk_first
        self.contact_in_time += judged.contacted is True
        self.contact_late += judged.contacted is False
        self.claimed_in_time += judged.on_time is True
        self.claimed_late += judged.on_time is False
        if times.responded_at is not None:
            response = max(times.responded_at - times.captured_at, timedelta(0))
            self.answered += 1
            self.answered_in_5_min += response <= SOON
            self.answered_in_2_h += response <= STILL
            self.response_s += response.total_seconds()
        if lead.silent_since is not None and lead.silent_since + measures.alarm_within < as_of:
            self.silent += 1
            self.alarmed += lead.alarms > 0

    def add(self, other: "Counts") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def response_mean_s(self) -> float | None:
        return self.response_s / self.answered if self.answered else None


@dataclass(frozen=True, slots=True)
class Check:
    """A share against its target; leads whose time is not over count neither way."""

    id: int
    """Of the catalogue."""
    met_by: int
    of: int
    target: float

    @property
    def share(self) -> float | None:
        return self.met_by / self.of if self.of else None

    @property
    def met(self) -> bool | None:
        return None if self.share is None else self.share >= self.target


def checks(counts: Counts, measures: Measures) -> tuple[Check, ...]:
    """The checks the catalogue asks for."""
    return (
        Check(43, counts.assigned_in_time, counts.assigned_in_time + counts.assigned_late, measures.assigned_share),
        Check(63, counts.contact_in_time, counts.contact_in_time + counts.contact_late, measures.contact_share),
        Check(117, counts.alarmed, counts.silent, 1.0),
    )


class Counted:
    """Counts by the team of whom each lead was first given to, fed lead by lead."""

    def __init__(self, directory: Directory, as_of: datetime, measures: Measures) -> None:
        self._directory = directory
        self._as_of = as_of
        self._measures = measures
        self._teams: dict[str, Counts] = {}

    def add(self, lead: Watched) -> None:
        team_id = team_of(lead.times.owner_id, self._directory)
        self._teams.setdefault(team_id, Counts()).count(lead, self._as_of, self._measures)

    def total(self) -> Counts:
        whole = Counts()
        for counts in self._teams.values():
            whole.add(counts)
        return whole

    def teams(self) -> Mapping[str, Counts]:
        """By id; of leads that no person was given the id is empty."""
        return dict(sorted(self._teams.items()))
