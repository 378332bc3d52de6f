"""Who gets a lead, and why.

Pure. Rules: weighted multi-dimension rules (3), bound to the organisation (4, 118); every decision is traceable: rule
version, candidates, why each was rejected (8); one customer, one owner (116); every lead has exactly one owner (125).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from services.leads.organisation.domain import NOTHING_TAKEN, Directory, Person, Taken, reason_against

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
    taken_on: date | None = None
    """The day of the owner's calendar it counts in; None for one that no limit counts, such as a transfer."""


@dataclass(slots=True)
class Ledger:
    """What the decisions of one transaction stand on and change, by person."""

    open_leads: dict[str, int]
    credit: dict[str, int]
    taken: dict[str, Taken] = field(default_factory=dict)
    """Leads given in the present day and week."""
    changed: set[str] = field(default_factory=set)
    """Ids of people whose figures are no longer those of the database."""

    def record(self, decision: Decision) -> None:
        """Makes the next decision see this one."""
        if decision.owner_id is not None:
            self._load(decision.owner_id, 1)
            if decision.taken_on is not None:
                taken = self.taken.get(decision.owner_id, NOTHING_TAKEN)
                self.taken[decision.owner_id] = taken.on(decision.taken_on).plus_one()
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
    matching = [rule for rule in rules.rules if rule.matches(facts)]
    # A lead matters as much as any rule says, whoever is free to take it in the end.
    priority = min((rule.priority for rule in matching), default=Priority.P3)
    search = _Search(rules.version, facts, directory, ledger, now, priority)
    if customer_owner_id and (decision := search.keep_with(customer_owner_id)):
        return decision
    for rule in matching:
        if decision := search.ask(rule):
            return decision
    return search.decision(None, NOBODY, "没有合适人选，线索待分配", waiting=True)


@dataclass(slots=True)
class _Search:
    """The search for one lead's owner, rule by rule; remembers whom it considered and why they were rejected."""

    version: int
    facts: Facts
    directory: Directory
    ledger: Ledger
    now: datetime
    priority: Priority
    considered: dict[str, Candidate] = field(default_factory=dict)

    def keep_with(self, owner_id: str) -> Decision | None:
        """One customer, one owner (116); being off duty or full is no reason to change hands."""
        owner = self.directory.people.get(owner_id)
        if owner is None:
            self._consider(owner_id, "", "组织中没有此人")
            return None
        if not owner.may_own:
            self._consider(owner.id, owner.name, self._against(owner))
            return None
        self._consider(owner.id, owner.name, "")
        return self.decision(owner.id, ONE_CUSTOMER_ONE_OWNER, f"客户已由{owner.name}负责（一客一主）")

    def ask(self, rule: Rule) -> Decision | None:
        """The decision of one rule, or None when it has nobody eligible."""
        kind = rule.target.kind
        if kind is TargetKind.TEAM:
            return self._turn(rule)
        person_id = str(self.facts.get("owner_id") or "") if kind is TargetKind.IMPORTED_OWNER else rule.target.id
        if not person_id:
            return None
        person = self.directory.people.get(person_id)
        if person is None:
            self._consider(person_id, "", "组织中没有此人")
            return None
        if kind is TargetKind.DUTY_DESK:
            # The last resort takes whatever comes, at any hour and without a limit.
            against = "" if person.active else "不在职"
            reason = f"规则「{rule.title}」：没有其他合适人选，由{person.name}承接"
        else:
            against = self._against(person)
            reason = f"规则「{rule.title}」：由{person.name}跟进"
        self._consider(person.id, person.name, against)
        if against:
            return None
        return self.decision(person.id, rule.id, reason, waiting=kind is TargetKind.DUTY_DESK)

    def _turn(self, rule: Rule) -> Decision | None:
        """One turn of the team's smooth weighted round robin: each credit grows by its weight, the richest pays all."""
        team_id, credit = rule.target.id, self.ledger.credit
        turn: dict[str, int] = {}
        total = 0
        chosen: Person | None = None
        for person in self.directory.members.get(team_id, ()):
            against = (
                "不参与轮转"
                if person.weight == 0
                else self._against(person) or _not_covering(person, rule.target.match, self.facts)
            )
            self._consider(person.id, person.name, against or "本轮未轮到")
            if against:
                continue
            total += person.weight
            turn[person.id] = credit.get(person.id, 0) + person.weight
            # Of equals the first by id: members come in that order.
            if chosen is None or turn[person.id] > turn[chosen.id]:
                chosen = person
        if chosen is None:
            return None
        turn[chosen.id] -= total
        self._consider(chosen.id, chosen.name, "")
        team = self.directory.teams.get(team_id)
        reason = f"规则「{rule.title}」：{team.name if team else team_id}轮到{chosen.name}"
        return self.decision(chosen.id, rule.id, reason, turn=turn)

    def decision(
        self,
        owner_id: str | None,
        rule_id: str,
        reason: str,
        *,
        waiting: bool = False,
        turn: Mapping[str, int] = MappingProxyType({}),
    ) -> Decision:
        owner = None if owner_id is None else self.directory.people[owner_id]
        return Decision(
            owner_id=owner_id,
            rule_id=rule_id,
            rule_version=self.version,
            priority=self.priority,
            reason=reason,
            candidates=tuple(self.considered.values()),
            waiting=waiting,
            turn=turn,
            taken_on=None if owner is None else self.directory.day_of(owner, self.now),
        )

    def _against(self, person: Person) -> str:
        if person.id in self.directory.always_able:
            return ""
        return reason_against(
            person,
            self.directory,
            self.now,
            open_leads=self.ledger.open_leads.get(person.id, 0),
            taken=self.ledger.taken.get(person.id, NOTHING_TAKEN),
        )

    def _consider(self, person_id: str, name: str, rejected_because: str) -> None:
        self.considered[person_id] = candidate(person_id, name, rejected_because)


def _not_covering(person: Person, match: Sequence[str], facts: Facts) -> str:
    """Why the person does not cover the lead; somebody with no entries of a kind covers all of it."""
    for name in match:
        covered = {"region": person.regions, "city_code": person.city_codes, "industry": person.skills}[name]
        if covered and facts.get(name) not in covered:
            return {"region": "区域不符", "city_code": "城市不符", "industry": "行业不符"}[name]
    return ""
