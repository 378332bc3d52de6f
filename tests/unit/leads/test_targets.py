"""Whom a rule finds: by skill, rank, past deals, distance, load (4, 55, 56, 126)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.leads.organisation.domain import DUTY_DESK, Directory, Person, Team
from services.leads.routing.cities import distance_km, place_of
from services.leads.routing.deciding import decide
from services.leads.routing.domain import Deals, Decision, Ledger
from services.leads.routing.rules import read_rules

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
SHANGHAI, SUZHOU, BEIJING, SHENZHEN = "310000", "320500", "110000", "440300"
DESK = Person(DUTY_DESK, "值班席", weight=0)
TEAMS = [Team("sales", "销售一部", "boss"), Team("south", "华南部", "boss")]


def decision_of(target: dict[str, Any], people: list[Person], facts: Any = None, **more: Any) -> Decision:
    """What one rule with that target decides; the duty desk behind it."""
    entries = [
        {"id": "rule", "target": target},
        {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}},
    ]
    directory = Directory.of([DESK, *people], TEAMS)
    ledger = Ledger(more.pop("open_leads", {}), {})
    return decide(read_rules({"rules": entries}, 1, directory), facts or {}, directory, ledger, NOW, **more)


def why(decision: Decision) -> dict[str, str]:
    return {each.person_id: each.rejected_because for each in decision.candidates}


@pytest.mark.capability(4)
def test_a_skill_is_found_in_any_team() -> None:
    """Whoever has it takes part, in whatever team; who names no skill does not."""
    people = [
        Person("1", "甲", skills=("注塑机",), team_id="south"),
        Person("2", "乙"),
        Person("3", "丙", skills=("注塑机",), active=False),
    ]
    decision = decision_of({"kind": "skill", "skill": "注塑机"}, people)
    assert (decision.owner_id, why(decision)) == ("1", {"1": "", "3": "不在职"})


@pytest.mark.capability(4)
def test_rank_and_past_deals_are_asked_for() -> None:
    """职级 and 历史成单量: who has too little of either is passed over, and the reason says how much."""
    people = [Person("1", "新人", rank=1), Person("2", "无单", rank=3), Person("3", "老手", rank=3)]
    target = {"kind": "team", "team_id": "sales", "rank_min": 2, "deals_min": 5}
    decision = decision_of(target, people, deals=Deals({"3": {SHANGHAI: 3, "": 2}, "2": {"": 4}}))
    assert decision.owner_id == "3"
    assert why(decision) == {
        DUTY_DESK: "不参与轮转",
        "1": "职级不足（1<2）",
        "2": "近三个月成交不足（4<5）",
        "3": "",
    }


@pytest.mark.capability(56)
def test_a_key_account_skips_the_juniors() -> None:
    """展会扫码 + large revenue goes straight to a senior, of whatever team; everybody else goes through the rotation."""
    people = [Person("junior", "新人", rank=1), Person("senior", "总监", rank=5, team_id="south")]
    entries = [
        {
            "id": "key-account",
            "title": "大客户直通通道",
            "priority": "P0",
            "when": [
                {"field": "source", "op": "eq", "value": "展会扫码"},
                {"field": "details.annual_revenue", "op": "gte", "value": 50_000_000},
            ],
            "target": {"kind": "key_account", "rank_min": 4},
        },
        {"id": "rotation", "target": {"kind": "team", "team_id": "sales"}},
        {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}},
    ]
    directory = Directory.of([DESK, *people], TEAMS)
    rules = read_rules({"rules": entries}, 1, directory)
    fair = {"source": "展会扫码", "details.annual_revenue": "60,000,000"}
    decision = decide(rules, fair, directory, Ledger({}, {}), NOW)
    assert (decision.owner_id, decision.rule_id, decision.priority) == ("senior", "key-account", "P0")
    assert why(decision)["junior"] == "职级不足（1<4）"
    small = decide(rules, {**fair, "details.annual_revenue": "900000"}, directory, Ledger({}, {}), NOW)
    assert (small.owner_id, small.rule_id) == ("junior", "rotation")


@pytest.mark.capability(55)
def test_a_lead_goes_to_whose_deals_were_nearest() -> None:
    """百度爱采购 + 注塑机 from Shanghai: Suzhou is nearer than Beijing, and Shenzhen is out of the radius."""
    people = [Person("北", "北"), Person("南", "南"), Person("苏", "苏"), Person("无", "无")]
    deals = Deals({"北": {BEIJING: 9}, "苏": {SHENZHEN: 3, SUZHOU: 1}, "南": {SHENZHEN: 2}})
    decision = decision_of({"kind": "nearest", "radius_km": 1_100}, people, {"city_code": SHANGHAI}, deals=deals)
    assert decision.owner_id == "苏"
    assert f"{distance_km(SHANGHAI, SUZHOU)}公里" in decision.reason
    assert why(decision)["南"] == f"最近的成交在{distance_km(SHANGHAI, SHENZHEN)}公里外"
    assert why(decision)["无"] == "近三个月没有可比城市的成交"


@pytest.mark.capability(55)
def test_without_anybody_within_the_radius_the_next_rule_is_asked() -> None:
    """And a lead without a known city is near nobody."""
    people, deals = [Person("1", "甲")], Deals({"1": {BEIJING: 1}})
    for city in (SHENZHEN, "999999", ""):
        decision = decision_of({"kind": "nearest", "radius_km": 500}, people, {"city_code": city}, deals=deals)
        assert decision.owner_id == DUTY_DESK


@pytest.mark.capability(126)
@pytest.mark.parametrize(("choose", "owner"), [("most_deals", "2"), ("least_loaded", "3")])
def test_the_best_of_those_who_can_take_it(choose: str, owner: str) -> None:
    """Most deals won lately, or fewest open leads; who is full is not among them."""
    people = [Person("1", "满", open_leads_max=1), Person("2", "多单"), Person("3", "空闲"), Person("4", "平常")]
    decision = decision_of(
        {"kind": "team", "team_id": "sales", "choose": choose},
        people,
        open_leads={"1": 1, "2": 9, "3": 1, "4": 2},
        deals=Deals({"1": {"": 99}, "2": {"": 7}, "4": {"": 3}}),
    )
    assert decision.owner_id == owner


@pytest.mark.capability(3)
def test_dimensions_that_speak_for_a_rule_are_weighed() -> None:
    """No single one is needed: what holds must add up to enough, and with `order: points` the loudest rule goes first."""
    weigh = [
        {"field": "region", "op": "eq", "value": "华东", "points": 30},
        {"field": "industry", "op": "eq", "value": "制造业", "points": 30},
        {"field": "budget", "op": "gte", "value": 500000, "points": 40},
    ]
    rest = {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}}
    first = {"id": "first", "weigh": weigh, "at_least": 60, "target": {"kind": "person", "person_id": "1"}}
    other = {"id": "other", "weigh": [weigh[0] | {"points": 90}], "target": {"kind": "person", "person_id": "2"}}
    directory = Directory.of([DESK, Person("1", "甲"), Person("2", "乙")], TEAMS)

    def owner(order: str, **facts: Any) -> str | None:
        rules = read_rules({"order": order, "rules": [first, other, rest]}, 1, directory)
        return decide(rules, facts, directory, Ledger({}, {}), NOW).owner_id

    assert owner("document", region="华东", industry="制造业") == "1"
    assert owner("document", industry="制造业") == "2"
    assert owner("points", region="华东", industry="制造业") == "2"


def test_a_county_is_where_its_prefecture_is() -> None:
    """Codes of GB/T 2260 narrow from province to county; what is no code is nowhere."""
    assert place_of("320583") == place_of("320500")
    assert place_of("329900") == place_of("320000")
    assert place_of("") is None
    assert place_of("77") is None
    assert distance_km(BEIJING, SHANGHAI) == pytest.approx(1_068, abs=15)
    assert distance_km(SHANGHAI, "x") is None
