"""Who gets a lead, and why.

Pure: the same rules, organisation, figures, facts and moment give the same decision, which is what a replay stands on.
One customer, one owner (116); every lead has exactly one owner (125); the best of those who can take it (126).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from services.leads.organisation.domain import Directory, Person, reason_against
from services.leads.routing.cities import distance_km
from services.leads.routing.domain import (
    IDLE,
    LEAD_SCORE,
    NO_DEALS,
    NOBODY,
    ONE_CUSTOMER_ONE_OWNER,
    POOLS,
    TURN,
    Candidate,
    Choice,
    Deals,
    Decision,
    Facts,
    Figures,
    Ledger,
    Priority,
    Rule,
    StoodOn,
    Target,
    TargetKind,
    candidate,
)
from services.leads.routing.rules import RuleSet

NOT_THEIR_TURN: Final = "本轮未轮到"
_CREDIT_MAX: Final = 20 * TURN
"""Credits stay below: a rotation whose members change with each lead could let them grow."""
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


def decide(
    rules: RuleSet,
    facts: Facts,
    directory: Directory,
    ledger: Ledger,
    now: datetime,
    *,
    customer_owner_id: str | None = None,
    deals: Deals = NO_DEALS,
    again: bool = False,
) -> Decision:
    """Who gets a lead: the customer's owner while they may own leads (116), else whom the first rule finds.

    `again` says that the lead is taken from somebody.
    """
    # Nothing but what the rules ask for is looked at, so that what is kept of it is enough to decide again.
    asks = rules.asks
    facts = {name: value for name, value in facts.items() if name in asks and value is not None and value != ""}
    score = rules.scoring.score(facts) if rules.scoring else None
    matching = rules.index.matching(facts if score is None else {**facts, LEAD_SCORE: score})
    # A lead matters as much as any rule says, whoever is free to take it in the end.
    search = _Search(
        version=rules.version,
        facts=facts,
        directory=directory,
        ledger=ledger,
        now=now,
        priority=matching.priority(),
        deals=deals,
        score=score,
        stood_on=StoodOn(facts, {}, customer_owner_id, again),
    )
    if customer_owner_id and (decision := search.keep_with(customer_owner_id)):
        return decision
    met: Iterable[Rule] = matching.by_points() if rules.by_points else matching.rules()
    for rule in met:
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
    deals: Deals
    score: Decimal | None
    stood_on: StoodOn
    considered: dict[str, Candidate] = field(default_factory=dict)
    known: dict[str, Figures] = field(default_factory=dict)
    """What the ledger says of people, asked once."""

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
        if kind in POOLS:
            return self._choose(rule)
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

    def _choose(self, rule: Rule) -> Decision | None:
        """One of several people."""
        target = rule.target
        able: list[Person] = []
        away: list[Person] = []
        for person in self._pool(target):
            unfit = self._unfit(person, target)
            against = unfit or self._against(person)
            self._consider(person.id, person.name, against or NOT_THEIR_TURN)
            if not against:
                able.append(person)
            elif not unfit and person.may_own:
                away.append(person)
        if not able:
            return None
        if target.choose is Choice.ROTATION:
            return self._turn(rule, able, away)
        figures, deals = self._figures, self.deals
        if target.choose is Choice.MOST_DEALS:
            chosen = min(able, key=lambda each: (-deals.won_by(each.id), figures(each.id).open_leads, each.id))
            why = f"近三个月成交{deals.won_by(chosen.id)}单，{chosen.name}最多"
        elif target.choose is Choice.LEAST_LOADED:
            chosen = min(able, key=lambda each: (figures(each.id).open_leads, each.id))
            why = f"在手线索{figures(chosen.id).open_leads}条，{chosen.name}最少"
        else:
            chosen = min(able, key=lambda each: (self._distance(each), figures(each.id).open_leads, each.id))
            why = f"{chosen.name}近三个月的成交距线索城市最近（{self._distance(chosen)}公里）"
        return self._chosen(chosen, rule, why)

    def _turn(self, rule: Rule, able: Sequence[Person], away: Sequence[Person]) -> Decision:
        """One turn of the rotation.

        Who missed a turn while they were away gets it first; that moves nobody else. Otherwise everybody able gains their
        share of one lead, and of those who are owed enough the one whose lead would be late first gets it and pays:
        Tijdeman's chairman assignment (1980), by which of n people nobody is ever off their share by more than
        1 - 1/(2n - 2) leads. Who is away meanwhile is owed their share too, up to a limit.
        """
        target = rule.target
        total = sum(person.weight for person in able)
        owed: dict[str, int] = {}
        for person in away:
            before = self._figures(person.id).owed
            missed = min(before + TURN * person.weight // (total + person.weight), target.skipped_turns_max * TURN)
            if missed > before:
                owed[person.id] = missed
        back = max(able, key=lambda person: self._figures(person.id).owed)
        if target.skipped_turns_max and (due := self._figures(back.id).owed) >= TURN:
            owed[back.id] = due - TURN
            return self._chosen(back, rule, f"补回{back.name}缺席时错过的一次轮转", owed=owed)
        gains = {person.id: max(1, TURN * person.weight // total) for person in able}
        price = sum(gains.values())
        turn = {
            person_id: max(-_CREDIT_MAX, min(_CREDIT_MAX, self._figures(person_id).credit + gain))
            for person_id, gain in gains.items()
        }
        others = max(1, 2 * len(able) - 2)
        claiming = [person for person in able if others * turn[person.id] >= price] or able
        chosen = claiming[0]
        late, gain = (others - 1) * price - others * turn[chosen.id], gains[chosen.id]
        # Of equals the first by id: people come in that order. Fractions, compared crosswise to stay exact.
        for person in claiming[1:]:
            later, gained = (others - 1) * price - others * turn[person.id], gains[person.id]
            if later * gain < late * gained:
                chosen, late, gain = person, later, gained
        turn[chosen.id] -= price
        team = self.directory.teams.get(target.id)
        where = team.name if team else target.skill or target.id or "大客户通道"
        return self._chosen(chosen, rule, f"{where}轮到{chosen.name}", turn=turn, owed=owed)

    def _chosen(
        self,
        person: Person,
        rule: Rule,
        why: str,
        *,
        turn: Mapping[str, int] = _NONE,
        owed: Mapping[str, int] = _NONE,
    ) -> Decision:
        self._consider(person.id, person.name, "")
        return self.decision(person.id, rule.id, f"规则「{rule.title}」：{why}", turn=turn, owed=owed)

    def _pool(self, target: Target) -> Sequence[Person]:
        """Whom a target chooses among, by id."""
        if target.id:
            return self.directory.members.get(target.id, ())
        if target.skill:
            return self.directory.skilled.get(target.skill, ())
        return self.directory.everybody

    def _unfit(self, person: Person, target: Target) -> str:
        """Why a person is not whom the target means, whether they could take a lead or not."""
        if person.weight == 0:
            return "不参与轮转"
        if target.skill and target.skill not in person.skills:
            return f"无「{target.skill}」技能"
        if person.rank < target.rank_min:
            return f"职级不足（{person.rank}<{target.rank_min}）"
        if target.deals_min and (won := self.deals.won_by(person.id)) < target.deals_min:
            return f"近三个月成交不足（{won}<{target.deals_min}）"
        return self._too_far(person, target) or _not_covering(person, target.match, self.facts)

    def _too_far(self, person: Person, target: Target) -> str:
        if target.kind is not TargetKind.NEAREST:
            return ""
        distance = self._distance(person)
        if distance < 0:
            return "近三个月没有可比城市的成交"
        return f"最近的成交在{distance}公里外" if distance > target.radius_km else ""

    def _distance(self, person: Person) -> int:
        """Kilometres from the lead to the person's nearest deal; -1 where that cannot be said."""
        city = str(self.facts.get("city_code") or "")
        found = (distance_km(city, code) for code in self.deals.by_city.get(person.id, {}) if code)
        return min((distance for distance in found if distance is not None), default=-1)

    def decision(
        self,
        owner_id: str | None,
        rule_id: str,
        reason: str,
        *,
        waiting: bool = False,
        turn: Mapping[str, int] = _NONE,
        owed: Mapping[str, int] = _NONE,
    ) -> Decision:
        stood_on = self.stood_on
        owner = None if owner_id is None else self.directory.people[owner_id]
        return Decision(
            owner_id=owner_id,
            rule_id=rule_id,
            rule_version=self.version,
            priority=self.priority,
            reason=f"{reason}（重新分配）" if stood_on.again else reason,
            candidates=tuple(self.considered.values()),
            waiting=waiting,
            turn=turn,
            owed=owed,
            score=self.score,
            taken_on=None if owner is None else self.directory.day_of(owner, self.now),
            stood_on=StoodOn(
                stood_on.facts,
                {person_id: each for person_id in self.considered if (each := self._figures(person_id)) != IDLE},
                stood_on.customer_owner_id,
                stood_on.again,
            ),
        )

    def _figures(self, person_id: str) -> Figures:
        known = self.known.get(person_id)
        if known is None:
            known = self.known[person_id] = self.ledger.figures(person_id)
        return known

    def _against(self, person: Person) -> str:
        if person.id in self.directory.always_able:
            return ""
        figures = self._figures(person.id)
        return reason_against(person, self.directory, self.now, open_leads=figures.open_leads, taken=figures.taken)

    def _consider(self, person_id: str, name: str, rejected_because: str) -> None:
        self.considered[person_id] = candidate(person_id, name, rejected_because)


def _not_covering(person: Person, match: Sequence[str], facts: Facts) -> str:
    """Why the person does not cover the lead; somebody with no entries of a kind covers all of it."""
    for name in match:
        covered = {"region": person.regions, "city_code": person.city_codes, "industry": person.skills}[name]
        if covered and facts.get(name) not in covered:
            return {"region": "区域不符", "city_code": "城市不符", "industry": "行业不符"}[name]
    return ""
