"""How fast leads are answered, as measured checks (2, 7, 43, 63, 117). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta

from services.leads.organisation.domain import Directory


@dataclass(frozen=True, slots=True)
class Targets:
    """What the checks ask for, in wall time."""

    assigned_within: timedelta = timedelta(minutes=15)
    assigned_share: float = 0.9
    contact_within: timedelta = timedelta(hours=48)
    contact_share: float = 0.95
    alarm_within: timedelta = timedelta(hours=24)


@dataclass(slots=True)
class Counts:
    """Of leads captured in a period that were to be worked on."""

    leads: int = 0
    assigned_in_time: int = 0
    """Somebody had them in time (43); the duty desk is somebody."""
    assigned_late: int = 0
    """Or not yet, and the time is over."""
    duty_desk_first: int = 0
    """Of the assigned ones: the duty desk had them first, because nobody else was eligible."""
    contact_in_time: int = 0
    """A first follow-up was recorded in time (63)."""
    contact_late: int = 0
    """Or not yet, and the time is over."""
    claimed_in_time: int = 0
    """Within the limit of the policies, in business time (7)."""
    claimed_late: int = 0
    answered: int = 0
    """Claimed or followed up: the first of them is the response."""
    answered_in_5_min: int = 0
    answered_in_2_h: int = 0
    response_s: float = 0.0
    """Of all the answered ones together."""
    silent: int = 0
    """Open, never followed up, and given to somebody more than 24 hours ago (117)."""
    alarmed: int = 0
    """Of these: those whose alarm went out."""

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


def checks(counts: Counts, targets: Targets) -> tuple[Check, ...]:
    """The checks the catalogue asks for."""
    return (
        Check(43, counts.assigned_in_time, counts.assigned_in_time + counts.assigned_late, targets.assigned_share),
        Check(63, counts.contact_in_time, counts.contact_in_time + counts.contact_late, targets.contact_share),
        Check(117, counts.alarmed, counts.silent, 1.0),
    )


def by_team(owners: Iterable[tuple[str, Counts]], directory: Directory) -> tuple[Counts, Mapping[str, Counts]]:
    """All together, and by the team of who has them now; of nobody's and of unknown people's the team is ''."""
    total, teams = Counts(), dict[str, Counts]()
    for owner_id, counts in owners:
        total.add(counts)
        person = directory.people.get(owner_id)
        teams.setdefault(person.team_id if person else "", Counts()).add(counts)
    return total, dict(sorted(teams.items()))
