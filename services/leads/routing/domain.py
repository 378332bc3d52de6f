"""What routing speaks of: rules, the people they find, the ledger of turns, decisions.

Pure. Rules: weighted multi-dimension rules (3), bound to the organisation (4, 118); every decision is traceable: rule
version, candidates, why each was rejected (8).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias

from services.leads.organisation.domain import NOTHING_TAKEN, Taken

ONE_CUSTOMER_ONE_OWNER: Final = "one-customer-one-owner"
"""Rule id of decisions that follow the customer's owner; no rule of a document may carry it."""

NOBODY: Final = "nobody"
"""Rule id of decisions that found nobody."""

LEAD_SCORE: Final = "lead_score"
"""The fact that the formula of the rules works out."""

ACTIVITIES_90D: Final = "customer.activities_90d"
WON_DEALS: Final = "customer.won_deals"
CUSTOMER_FACTS: Final = frozenset({ACTIVITIES_90D, WON_DEALS})
"""What is known of a lead's customer: how often they were in touch in 90 days, and deals ever won with them (57)."""

NEW_CUSTOMER: Final[Mapping[str, Decimal]] = {ACTIVITIES_90D: Decimal(0), WON_DEALS: Decimal(0)}

Value: TypeAlias = str | Decimal
Facts = Mapping[str, Value | None]
"""A lead's fields by name; `utm.KEY` for its UTM values, `details.NAME` for what growth stages unlock; `owner_id` is the
owner it was imported with."""

TURN: Final = 100_000_000
"""One lead, in the unit of rotation credits and turns owed: fine enough for shares of any weights."""


class Priority(StrEnum):
    """How much a lead matters; P0 most (3)."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class TargetKind(StrEnum):
    """To whom a rule gives a lead."""

    PERSON = "person"
    TEAM = "team"
    SKILL = "skill"
    """Anybody who has it, in any team."""
    KEY_ACCOUNT = "key_account"
    """大客户直通通道: juniors are passed over (56)."""
    NEAREST = "nearest"
    """Whose deals of the last three months are nearest to the lead's city (55)."""
    IMPORTED_OWNER = "imported_owner"
    DUTY_DESK = "duty_desk"


POOLS: Final = frozenset({TargetKind.TEAM, TargetKind.SKILL, TargetKind.KEY_ACCOUNT, TargetKind.NEAREST})
"""Targets that choose among several people."""


class Choice(StrEnum):
    """Whom of several eligible people a rule takes."""

    ROTATION = "rotation"
    MOST_DEALS = "most_deals"
    """历史成单量: who won most deals in the last three months (4, 126)."""
    LEAST_LOADED = "least_loaded"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a lead; `holds` is made from operator and value when the rules are read."""

    field: str
    """Empty for a group of conditions."""
    operator: str
    holds: Callable[[Facts], bool]
    value: object = None
    """What the field is compared with: a Value, or a frozenset of them."""
    asks: frozenset[str] = frozenset()
    """Every field the test looks at."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A condition that speaks for a rule without being needed: what it is worth where it holds (3)."""

    condition: Condition
    points: Decimal


@dataclass(frozen=True, slots=True)
class Target:
    """`id` is a person's or a team's id, by `kind`; empty for the imported owner, and where any team will do."""

    kind: TargetKind
    id: str = ""
    skill: str = ""
    """Members must have it; empty: any."""
    match: tuple[str, ...] = ()
    """What of the lead a member must cover: region, city_code, industry (as a skill)."""
    rank_min: int = 0
    deals_min: int = 0
    """Deals a member has won in the last three months."""
    radius_km: int = 0
    choose: Choice = Choice.ROTATION
    skipped_turns_max: int = 1
    """Turns somebody away gets back, at most, when they return."""


_NO_POINTS: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rule:
    """When all conditions hold, and those weighed add up to `at_least`, the target is asked for somebody eligible."""

    id: str
    title: str
    priority: Priority
    when: tuple[Condition, ...]
    target: Target
    weigh: tuple[Weighed, ...] = ()
    at_least: Decimal = Decimal(0)

    @property
    def asks(self) -> frozenset[str]:
        """Every field its conditions look at."""
        return frozenset().union(
            *(condition.asks for condition in self.when), *(each.condition.asks for each in self.weigh)
        )

    def matches(self, facts: Facts) -> bool:
        return all(condition.holds(facts) for condition in self.when) and self.is_loud_enough(facts)

    def is_loud_enough(self, facts: Facts) -> bool:
        return not self.weigh or self.points(facts) >= self.at_least

    def points(self, facts: Facts) -> Decimal:
        """What the weighed conditions that hold are worth together."""
        points = _NO_POINTS
        for each in self.weigh:
            if each.condition.holds(facts):
                points += each.points
        return points


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person a decision considered; `rejected_because` is empty for the chosen one."""

    person_id: str
    name: str
    rejected_because: str

    @property
    def chosen(self) -> bool:
        return not self.rejected_because


@lru_cache(maxsize=10_000)
def candidate(person_id: str, name: str, rejected_because: str) -> Candidate:
    """One candidate, made once: most decisions consider the same people for the same reasons."""
    return Candidate(person_id, name, rejected_because)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the ledger says of one person."""

    open_leads: int = 0
    credit: int = 0
    """What the rotation owes them (negative: they owe), in `TURN`s."""
    owed: int = 0
    """What they missed while they were away, in `TURN`s; given back before the rotation goes on."""
    taken: Taken = NOTHING_TAKEN

    @property
    def row(self) -> tuple[object, ...]:
        """As it is kept."""
        return (self.open_leads, self.credit, self.owed, *self.taken)


IDLE: Final = Figures()


@dataclass(frozen=True, slots=True)
class StoodOn:
    """What a decision stood on beside rules and organisation: enough to make it again, byte for byte (8)."""

    facts: Facts
    """Those the rules ask for; no others were looked at."""
    figures: Mapping[str, Figures]
    """Of the people it considered; somebody left out had none."""
    customer_owner_id: str | None
    again: bool
    """The lead was taken from somebody."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a lead goes. `owner_id` None: nobody could be found; the lead waits."""

    owner_id: str | None
    rule_id: str
    rule_version: int
    priority: Priority
    reason: str
    candidates: tuple[Candidate, ...]
    waiting: bool = False
    """It has nobody, or only the duty desk: it is routed anew when people or rules change."""
    turn: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Rotation credits by person after this decision, for those whose credit it changed."""
    owed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Turns owed by person after this decision, for those where it changed them."""
    score: Decimal | None = None
    """The lead's by the formula of the rules; None without one."""
    taken_on: date | None = None
    """The day of the owner's calendar it counts in; None for one that no limit counts, such as a transfer."""
    stood_on: StoodOn | None = None
    """None: no rule was asked, as when an overdue lead goes to the supervisor."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The organisation a transaction decides on, as it is kept for replays: the same content has the same hash."""

    hash: str
    content: bytes
    is_kept: bool


@dataclass(slots=True)
class Ledger:
    """What the decisions of one transaction stand on and change, by person."""

    open_leads: dict[str, int]
    credit: dict[str, int]
    owed: dict[str, int] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)
    """Leads given in the present day and week."""
    ground: Ground | None = None
    changed: set[str] = field(default_factory=set)
    """Ids of people whose figures are no longer those of the database."""

    def figures(self, person_id: str) -> Figures:
        """What a decision may look at."""
        return Figures(
            open_leads=self.open_leads.get(person_id, 0),
            credit=self.credit.get(person_id, 0),
            owed=self.owed.get(person_id, 0),
            taken=self.taken.get(person_id, NOTHING_TAKEN),
        )

    def record(self, decision: Decision) -> None:
        """Makes the next decision see this one."""
        if decision.owner_id is not None:
            self._load(decision.owner_id, 1)
            if decision.taken_on is not None:
                taken = self.taken.get(decision.owner_id, NOTHING_TAKEN)
                self.taken[decision.owner_id] = taken.on(decision.taken_on).plus_one()
        self.credit.update(decision.turn)
        self.owed.update(decision.owed)
        self.changed.update(decision.turn, decision.owed)

    def release(self, owner_id: str) -> None:
        """Takes a lead off a person's load."""
        self._load(owner_id, -1)

    def _load(self, person_id: str, leads: int) -> None:
        self.open_leads[person_id] = self.open_leads.get(person_id, 0) + leads
        self.changed.add(person_id)


@dataclass(frozen=True)
class Deals:
    """Deals won in the last three months: how many in which city, by person."""

    by_city: Mapping[str, Mapping[str, int]]
    """City codes by person; the code is empty where the city is not known."""

    def won_by(self, person_id: str) -> int:
        return sum(self.by_city.get(person_id, {}).values())


NO_DEALS: Final = Deals({})
