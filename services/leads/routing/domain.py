"""Who gets a lead, and why.

Pure. Rules: weighted multi-dimension rules (3), bound to the organisation (4, 118); every decision is traceable: rule
version, candidates, why each was rejected (8); one customer, one owner (116); every lead has exactly one owner (125).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from services.leads.organisation.domain import Directory, Person, reason_against

ONE_CUSTOMER_ONE_OWNER = "one-customer-one-owner"
"""Rule id of decisions that follow the customer's owner; no rule of a document may carry it."""

NOBODY = "nobody"
"""Rule id of decisions that found nobody."""

Facts = Mapping[str, str | Decimal | None]
"""A lead's fields by name; `utm.KEY` for its UTM values; `owner_id` is the owner it was imported with."""


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
    IMPORTED_OWNER = "imported_owner"
    DUTY_DESK = "duty_desk"


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of one field of a lead; `holds` is made from operator and value when the rules are read."""

    field: str
    operator: str
    holds: Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """`id` is a person's or a team's id, by `kind`; empty for the imported owner."""

    kind: TargetKind
    id: str = ""
    match: tuple[str, ...] = ()
    """What of the lead a member must cover: region, city_code, industry (as a skill)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When all conditions hold, the target is asked for somebody eligible."""

    id: str
    title: str
    priority: Priority
    when: tuple[Condition, ...]
    target: Target

    def matches(self, facts: Facts) -> bool:
        return all(condition.holds(facts) for condition in self.when)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in the order they are asked."""

    version: int
    rules: tuple[Rule, ...]


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
    turn: Mapping[str, int] = field(default_factory=dict)
    """Rotation credits by person after this decision, for those whose credit it changed."""


@dataclass(slots=True)
class Ledger:
    """What the decisions of one transaction stand on and change, by person."""

    open_leads: dict[str, int]
    credit: dict[str, int]
    changed: set[str] = field(default_factory=set)
    """Ids of people whose figures are no longer those of the database."""

    def record(self, decision: Decision) -> None:
        """Makes the next decision see this one."""
        if decision.owner_id is not None:
            self._load(decision.owner_id, 1)
        self.credit.update(decision.turn)
        self.changed.update(decision.turn)

    def release(self, owner_id: str) -> None:
        """Takes a lead off a person's load."""
        self._load(owner_id, -1)

    def _load(self, person_id: str, leads: int) -> None:
        self.open_leads[person_id] = self.open_leads.get(person_id, 0) + leads
        self.changed.add(person_id)


def decide(
    rules: RuleSet,
    facts: Facts,
    directory: Directory,
    ledger: Ledger,
    now: datetime,
    *,
    customer_owner_id: str | None = None,
) -> Decision:
    """Who gets a lead: the customer's owner while they may own leads (116), else whom the first rule finds."""
    considered: dict[str, Candidate] = {}
    matching = [rule for rule in rules.rules if rule.matches(facts)]
    if customer_owner_id:
        owner = directory.people.get(customer_owner_id)
        if owner is not None and owner.may_own:
            return Decision(
                owner_id=owner.id,
                rule_id=ONE_CUSTOMER_ONE_OWNER,
                rule_version=rules.version,
                priority=matching[0].priority if matching else Priority.P3,
                reason=f"客户已由{owner.name}负责（一客一主）",
                candidates=(candidate(owner.id, owner.name, ""),),
            )
        considered[customer_owner_id] = candidate(
            customer_owner_id,
            owner.name if owner else "",
            reason_against(owner, 0, now) if owner else "组织中没有此人",
        )
    for rule in matching:
        decision = _ask(rule, rules.version, facts, directory, ledger, now, considered)
        if decision is not None:
            return decision
    return Decision(
        owner_id=None,
        rule_id=NOBODY,
        rule_version=rules.version,
        priority=matching[0].priority if matching else Priority.P3,
        reason="没有合适人选，线索待分配",
        candidates=tuple(considered.values()),
        waiting=True,
    )


def _ask(
    rule: Rule,
    version: int,
    facts: Facts,
    directory: Directory,
    ledger: Ledger,
    now: datetime,
    considered: dict[str, Candidate],
) -> Decision | None:
    """The decision of one rule, or None when it has nobody eligible; adds whom it considered to `considered`."""
    target = rule.target
    if target.kind is TargetKind.TEAM:
        return _turn(rule, version, facts, directory, ledger, now, considered)
    person_id = str(facts.get("owner_id") or "") if target.kind is TargetKind.IMPORTED_OWNER else target.id
    if not person_id:
        return None
    person = directory.people.get(person_id)
    if person is None:
        considered[person_id] = candidate(person_id, "", "组织中没有此人")
        return None
    if target.kind is TargetKind.DUTY_DESK:
        # The last resort takes whatever comes, at any hour and without a limit.
        against = "" if person.active else "不在职"
        reason = f"规则「{rule.title}」：没有其他合适人选，由{person.name}承接"
    else:
        against = reason_against(person, ledger.open_leads.get(person_id, 0), now)
        reason = f"规则「{rule.title}」：由{person.name}跟进"
    considered[person_id] = candidate(person_id, person.name, against)
    if against:
        return None
    return Decision(
        owner_id=person_id,
        rule_id=rule.id,
        rule_version=version,
        priority=rule.priority,
        reason=reason,
        candidates=tuple(considered.values()),
        waiting=target.kind is TargetKind.DUTY_DESK,
    )


def _turn(
    rule: Rule,
    version: int,
    facts: Facts,
    directory: Directory,
    ledger: Ledger,
    now: datetime,
    considered: dict[str, Candidate],
) -> Decision | None:
    """One turn of the team's smooth weighted round robin: each credit grows by its weight, the richest pays for all."""
    team_id = rule.target.id
    eligible: list[Person] = []
    for person in directory.members.get(team_id, ()):
        against = (
            "不参与轮转"
            if person.weight == 0
            else reason_against(person, ledger.open_leads.get(person.id, 0), now)
            or _not_covering(person, rule.target.match, facts)
        )
        considered[person.id] = candidate(person.id, person.name, against or "本轮未轮到")
        if not against:
            eligible.append(person)
    if not eligible:
        return None
    turn = {person.id: ledger.credit.get(person.id, 0) + person.weight for person in eligible}
    # Of equals the first by id: `max` keeps the order of the members.
    chosen = max(eligible, key=lambda person: turn[person.id])
    turn[chosen.id] -= sum(person.weight for person in eligible)
    considered[chosen.id] = candidate(chosen.id, chosen.name, "")
    team = directory.teams.get(team_id)
    return Decision(
        owner_id=chosen.id,
        rule_id=rule.id,
        rule_version=version,
        priority=rule.priority,
        reason=f"规则「{rule.title}」：{team.name if team else team_id}轮到{chosen.name}",
        candidates=tuple(considered.values()),
        turn=turn,
    )


def _not_covering(person: Person, match: Sequence[str], facts: Facts) -> str:
    """Why the person does not cover the lead; somebody with no entries of a kind covers all of it."""
    for name in match:
        covered = {"region": person.regions, "city_code": person.city_codes, "industry": person.skills}[name]
        if covered and facts.get(name) not in covered:
            return {"region": "区域不符", "city_code": "城市不符", "industry": "行业不符"}[name]
    return ""
