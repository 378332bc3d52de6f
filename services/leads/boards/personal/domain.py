"""What one person has open, by industry, amount and stage, and what they have to do today (101, 102). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.leads.boards.domain import UNKNOWN, Days, Measures, Timeliness

ACTIONS_MAX = 200
"""Shown, the most overdue first."""
AMOUNTS: tuple[tuple[str, Decimal], ...] = (
    ("10万以下", Decimal(100_000)),
    ("10-50万", Decimal(500_000)),
    ("50-100万", Decimal(1_000_000)),
    ("100万以上", Decimal("Infinity")),
)
"""Bands of a lead's budget in yuan, below the bound."""


@dataclass(frozen=True, slots=True)
class OpenLead:
    """An open lead of the person."""

    id: str
    name: str
    company: str
    industry: str
    budget: Decimal | None
    stage: str
    claimed_at: datetime | None
    claim_by: datetime | None
    next_action: str
    """Of its newest follow-up; empty without one."""
    next_action_due: datetime | None


@dataclass(frozen=True, slots=True)
class DueAction:
    """Something to do: a next action, or a lead to claim when `action` is empty."""

    lead: OpenLead
    action: str
    due_at: datetime
    overdue: bool


@dataclass(frozen=True, slots=True)
class HeatCell:
    """Open leads that share industry, band of amount and stage."""

    industry: str
    amount: str
    stage: str
    leads: int
    overdue: int


@dataclass(frozen=True, slots=True)
class PersonalBoard:
    """个人看板."""

    person_id: str
    name: str
    days: Days
    """Those of the timeliness; the last is today."""
    as_of: datetime
    open_leads: int
    overdue: int
    cells: Sequence[HeatCell]
    actions: Sequence[DueAction]
    timeliness: Timeliness
    measures: Measures


def amount_of(budget: Decimal | None) -> str:
    """The band of a budget."""
    return UNKNOWN if budget is None else next(name for name, below in AMOUNTS if budget < below)


def due_of(lead: OpenLead, as_of: datetime) -> DueAction | None:
    """What is to be done next with the lead and by when; None: nothing that has a time."""
    if lead.claimed_at is None and lead.claim_by is not None:
        return DueAction(lead, "", lead.claim_by, lead.claim_by < as_of)
    if lead.next_action_due is not None:
        return DueAction(lead, lead.next_action, lead.next_action_due, lead.next_action_due < as_of)
    return None


@dataclass(slots=True)
class Pile:
    """Adds up a person's open leads."""

    as_of: datetime
    today_ends: datetime
    leads: int = 0
    overdue: int = 0
    actions: list[DueAction] = field(default_factory=list)
    _cells: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)

    def add(self, lead: OpenLead) -> None:
        due = due_of(lead, self.as_of)
        overdue = due is not None and due.overdue
        self.leads += 1
        self.overdue += overdue
        cell = self._cells.setdefault((lead.industry or UNKNOWN, amount_of(lead.budget), lead.stage), [0, 0])
        cell[0] += 1
        cell[1] += overdue
        if due is not None and due.due_at < self.today_ends:
            self.actions.append(due)
            if len(self.actions) > 2 * ACTIONS_MAX:
                self.actions = self.first_actions()

    def first_actions(self) -> list[DueAction]:
        """The earliest first: what is overdue comes before what is due today."""
        return sorted(self.actions, key=lambda each: (each.due_at, each.lead.id))[:ACTIONS_MAX]

    def cells(self) -> list[HeatCell]:
        return [HeatCell(*key, leads, overdue) for key, (leads, overdue) in sorted(self._cells.items())]
