"""Who gets a lead, and why (3, 4, 8, 116, 118, 125)."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.leads.organisation.domain import DUTY_DESK, Directory, Leave, Person, Team
from services.leads.routing.deciding import decide
from services.leads.routing.domain import NOBODY, ONE_CUSTOMER_ONE_OWNER, Decision, Ledger
from services.leads.routing.rules import RuleSet, read_rules

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DESK = Person(DUTY_DESK, "值班席", weight=0)
TEAM = Team("sales", "销售一部", "boss")

CATCH_ALL = {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}}
ROTATION = {"id": "rotation", "target": {"kind": "team", "team_id": "sales"}}
KEEP = {"id": "keep", "target": {"kind": "imported_owner"}}
P0 = {
    "id": "p0",
    "priority": "P0",
    "when": [
        {"field": "region", "op": "eq", "value": "华东"},
        {"field": "industry", "op": "in", "value": ["制造业", "机械"]},
        {"field": "budget", "op": "gt", "value": "500000"},
    ],
    "target": {"kind": "person", "person_id": "ace"},
}


def rules(*entries: Mapping[str, Any]) -> RuleSet:
    return read_rules({"rules": [*entries, CATCH_ALL]}, version=7)


def directory(*people: Person) -> Directory:
    return Directory.of([DESK, *people], [TEAM])


def ledger(**open_leads: int) -> Ledger:
    return Ledger(open_leads, {})


def why(decision: Decision) -> dict[str, str]:
    return {candidate.person_id: candidate.rejected_because for candidate in decision.candidates}


@pytest.mark.capability(3)
def test_a_large_budget_in_eastern_manufacturing_is_p0() -> None:
    """华东 + 制造业 + 预算>50万 goes to the person the rule names, as P0."""
    facts = {"region": "华东", "industry": "制造业", "budget": Decimal(500_001)}
    decision = decide(rules(P0, ROTATION), facts, directory(Person("ace", "王牌")), ledger(), NOW)
    assert (decision.owner_id, decision.rule_id, decision.priority) == ("ace", "p0", "P0")


@pytest.mark.parametrize(
    "facts",
    [
        {"region": "华东", "industry": "制造业", "budget": Decimal(500_000)},
        {"region": "华东", "industry": "制造业", "budget": None},
        {"region": "华南", "industry": "制造业", "budget": Decimal(900_000)},
        {"region": "华东", "industry": "教育", "budget": Decimal(900_000)},
        {},
    ],
)
def test_one_condition_that_fails_is_enough(facts: dict[str, Any]) -> None:
    """All conditions must hold; an unknown field holds for nothing."""
    decision = decide(rules(P0, ROTATION), facts, directory(Person("ace", "王牌")), ledger(), NOW)
    assert decision.rule_id == "rotation"


@pytest.mark.capability(8)
def test_the_explanation_names_everybody_and_why_not() -> None:
    """Each candidate that did not get the lead has the reason beside their name (8, 118)."""
    people = directory(
        Person("1", "离职", active=False),
        Person("2", "无权", may_follow_up=False),
        Person("3", "下班", on_duty=False),
        Person("4", "休假", leave=(Leave(NOW, NOW + timedelta(days=1)),)),
        Person("5", "满额", open_leads_max=3),
        Person("6", "选中"),
        Person("7", "轮空"),
        Person("8", "休完", leave=(Leave(NOW - timedelta(days=1), NOW),)),
    )
    decision = decide(rules(ROTATION), {}, people, ledger(**{"5": 3}), NOW)
    assert decision.owner_id == "6"
    assert decision.rule_version == 7
    assert why(decision) == {
        DUTY_DESK: "不参与轮转",
        "1": "不在职",
        "2": "无跟进权限",
        "3": "不在岗",
        "4": "休假",
        "5": "在手线索已满（3/3）",
        "6": "",
        "7": "本轮未轮到",
        "8": "本轮未轮到",
    }


@pytest.mark.capability(118)
def test_a_rule_may_ask_for_people_who_cover_the_city() -> None:
    """Routing by city code: who covers other cities is passed over, who covers any is not."""
    by_city = {"id": "city", "target": {"kind": "team", "team_id": "sales", "match": ["city_code"]}}
    people = directory(Person("1", "北京", city_codes=("110000",)), Person("2", "上海", city_codes=("310000",)))
    decision = decide(rules(by_city), {"city_code": "310000"}, people, ledger(), NOW)
    assert (decision.owner_id, why(decision)["1"]) == ("2", "城市不符")


@pytest.mark.capability(116)
def test_a_customer_with_an_owner_stays_with_them() -> None:
    """One customer, one owner: the rotation is not asked, the priority is still the lead's."""
    people = directory(Person("1", "甲", open_leads_max=0, on_duty=False), Person("2", "乙"))
    decision = decide(rules({**ROTATION, "priority": "P1"}), {}, people, ledger(), NOW, customer_owner_id="1")
    assert (decision.owner_id, decision.rule_id, decision.priority) == ("1", ONE_CUSTOMER_ONE_OWNER, "P1")


@pytest.mark.capability(3)
def test_a_lead_matters_as_much_as_any_rule_says() -> None:
    """A P0 lead whose expert is away stays P0, also at the duty desk."""
    facts = {"region": "华东", "industry": "制造业", "budget": Decimal(900_000)}
    decision = decide(rules(P0, ROTATION), facts, directory(Person("ace", "王牌", on_duty=False)), ledger(), NOW)
    assert (decision.owner_id, decision.priority, why(decision)["ace"]) == (DUTY_DESK, "P0", "不在岗")


@pytest.mark.capability(116)
def test_a_customer_of_somebody_who_left_gets_a_new_owner() -> None:
    """The owner who left stands in the explanation."""
    people = directory(Person("1", "甲", active=False), Person("2", "乙"))
    decision = decide(rules(ROTATION), {}, people, ledger(), NOW, customer_owner_id="1")
    assert (decision.owner_id, why(decision)["1"]) == ("2", "不在职")


def test_an_imported_owner_is_kept_when_known_and_eligible() -> None:
    """The owner a lead came with keeps it; one we do not know, or who is full, does not."""
    people = directory(Person("1", "甲"), Person("2", "乙", open_leads_max=0))
    both = rules(KEEP, ROTATION)
    assert decide(both, {"owner_id": "1"}, people, ledger(), NOW).rule_id == "keep"
    assert decide(both, {"owner_id": "2"}, people, ledger(), NOW).rule_id == "rotation"
    unknown = decide(both, {"owner_id": "9"}, people, ledger(), NOW)
    assert (unknown.rule_id, why(unknown)["9"]) == ("rotation", "组织中没有此人")


@pytest.mark.capability(125)
def test_the_duty_desk_takes_what_nobody_else_can() -> None:
    """Without anybody eligible the lead has an owner all the same, and waits for a better one."""
    decision = decide(rules(KEEP, ROTATION), {}, directory(Person("1", "甲", active=False)), ledger(), NOW)
    assert (decision.owner_id, decision.waiting) == (DUTY_DESK, True)


def test_without_even_the_duty_desk_the_lead_waits() -> None:
    """An inactive duty desk is a lead that waits, not a crash."""
    people = Directory.of([Person(DUTY_DESK, "值班席", active=False)], [TEAM])
    decision = decide(rules(ROTATION), {}, people, ledger(), NOW)
    assert (decision.owner_id, decision.rule_id, decision.waiting) == (None, NOBODY, True)


def rotate(people: Directory, turns: int) -> list[str]:
    rule_set, book = rules(ROTATION), ledger()
    owners = []
    for _ in range(turns):
        decision = decide(rule_set, {}, people, book, NOW)
        book.record(decision)
        owners.append(decision.owner_id or "")
    return owners


@given(st.integers(1, 12), st.integers(1, 60), st.data())
def test_equal_weights_are_off_by_at_most_one_over_any_window(size: int, turns: int, data: st.DataObject) -> None:
    """Whoever looks at whichever stretch of leads sees the same number for everybody, give or take one."""
    owners = rotate(directory(*(Person(str(number), "x") for number in range(size))), turns)
    start = data.draw(st.integers(0, turns))
    window = Counter(owners[start : data.draw(st.integers(start, turns))])
    counts = [window[str(number)] for number in range(size)]
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_weights_are_met_exactly_after_each_full_round(weights: list[int]) -> None:
    """After as many leads as the weights add up to, everybody has had exactly their weight."""
    people = directory(*(Person(str(number), "x", weight=weight) for number, weight in enumerate(weights)))
    counts = Counter(rotate(people, sum(weights)))
    assert [counts[str(number)] for number in range(len(weights))] == weights


def test_the_share_of_somebody_absent_is_not_caught_up() -> None:
    """Who comes back from leave is not flooded with what others did meanwhile."""
    rule_set, book = rules(ROTATION), ledger()
    away = directory(Person("1", "甲"), Person("2", "乙", on_duty=False))
    back = directory(Person("1", "甲"), Person("2", "乙"))
    for _ in range(10):
        book.record(decide(rule_set, {}, away, book, NOW))
    owners = []
    for _ in range(4):
        decision = decide(rule_set, {}, back, book, NOW)
        book.record(decision)
        owners.append(decision.owner_id)
    assert Counter(owners) == {"1": 2, "2": 2}
