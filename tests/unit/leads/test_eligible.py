"""Nobody gets a lead who is away, unbound, without permission or full, whatever organisation and rules are (118, 119, 125)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.leads.organisation.domain import DUTY_DESK, Directory, Leave, Person, Taken, Team
from services.leads.organisation.duty import Shift
from services.leads.routing import deciding
from services.leads.routing.deciding import decide
from services.leads.routing.domain import ONE_CUSTOMER_ONE_OWNER, TURN, Deals, Decision, Ledger
from services.leads.routing.rules import read_rules

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
"""Monday, 10:00 in Shanghai."""
HOUR = timedelta(hours=1)
IDS = [f"p{number}" for number in range(8)]
TEAMS = [Team("sales", "销售一部", "boss"), Team("south", "华南部", "boss")]
DEALS = Deals({"p1": {"310000": 2}, "p2": {"110000": 1}, "p5": {"440300": 4}})
MORNING, EVENING = Shift(1, 9 * 60, 12 * 60), Shift(1, 18 * 60, 21 * 60)

mostly = st.sampled_from([True, True, True, True, False])
people = st.lists(
    st.builds(
        Person,
        id=st.sampled_from(IDS),
        name=st.just("某人"),
        team_id=st.sampled_from(["sales", "south"]),
        active=mostly,
        has_account=mostly,
        may_follow_up=mostly,
        on_duty=mostly,
        duty=st.sampled_from([(), (), (MORNING,), (EVENING,)]),
        leave=st.sampled_from([(), (), (Leave(NOW - 2 * HOUR, NOW - HOUR),), (Leave(NOW - HOUR, NOW + HOUR),)]),
        open_leads_max=st.sampled_from([None, None, 0, 2]),
        leads_per_day_max=st.sampled_from([None, 1]),
        channels=st.sampled_from([frozenset({"wecom"}), frozenset({"wecom"}), frozenset()]),
        weight=st.sampled_from([1, 1, 2, 3, 0]),
        rank=st.integers(0, 3),
        skills=st.sampled_from([(), ("注塑机",)]),
        regions=st.sampled_from([(), ("华东",), ("华南",)]),
    ),
    max_size=8,
    unique_by=lambda person: person.id,
)
targets: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"kind": "imported_owner"},
        {"kind": "person", "person_id": "p1"},
        {"kind": "team", "team_id": "sales"},
        {"kind": "team", "team_id": "sales", "match": ["region"], "skipped_turns_max": 0},
        {"kind": "team", "team_id": "south", "choose": "least_loaded"},
        {"kind": "skill", "skill": "注塑机", "skipped_turns_max": 3},
        {"kind": "key_account", "rank_min": 2, "choose": "most_deals"},
        {"kind": "nearest", "radius_km": 1_200},
    ]
)
leads = st.fixed_dictionaries(
    {
        "region": st.sampled_from(["", "华东", "华南"]),
        "owner_id": st.sampled_from(["", "p0", "p9"]),
        "city_code": st.sampled_from(["310000", "440300", ""]),
    }
)
Case = tuple[list[Person], list[dict[str, Any]], list[tuple[dict[str, Any], str | None]], bool]
cases: st.SearchStrategy[Case] = st.tuples(
    people,
    st.lists(targets, max_size=4),
    st.lists(st.tuples(leads, st.sampled_from([None, "p0", "p2", "p9"])), min_size=1, max_size=10),
    st.booleans(),
)


def wrong_with(owner: Person, ledger: Ledger, *, must_be_bound: bool) -> str:
    """Why the owner should not have got a lead, said anew beside `reason_against`; empty when they should."""
    day_full = owner.leads_per_day_max is not None and ledger.taken.get(owner.id, Taken(NOW.date())).in_day
    reasons = {
        "has left": not owner.active,
        "has no account": not owner.has_account,
        "has no permission": not owner.may_follow_up,
        "is not bound": must_be_bound and not owner.channels,
        "is off duty": not owner.on_duty or owner.duty == (EVENING,),
        "is on leave": any(each.starts_at <= NOW < each.ends_at for each in owner.leave),
        "is full": owner.open_leads_max is not None and ledger.open_leads.get(owner.id, 0) >= owner.open_leads_max,
        "has had their day's leads": bool(day_full) and day_full >= (owner.leads_per_day_max or 0),
    }
    return ", ".join(name for name, holds in reasons.items() if holds)


def problems_of(case: Case) -> list[str]:
    """Every decision that gave somebody a lead who should not have got it, or that has not exactly one owner."""
    known, entries, given_leads, must_be_bound = case
    desk = Person(DUTY_DESK, "值班席", weight=0, channels=frozenset({"wecom"}))
    directory = Directory.of([desk, *known], TEAMS, channels_required=["wecom"] if must_be_bound else [])
    rules = [{"id": f"r{number}", "target": target} for number, target in enumerate(entries)]
    rules.append({"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}})
    rule_set, ledger, found = read_rules({"rules": rules}, 1), Ledger({}, {}, owed=dict.fromkeys(IDS[:3], TURN)), []
    for facts, customer_owner_id in given_leads:
        before = Ledger(dict(ledger.open_leads), {}, taken=dict(ledger.taken))
        decision = decide(rule_set, facts, directory, ledger, NOW, customer_owner_id=customer_owner_id, deals=DEALS)
        ledger.record(decision)
        found += _problems(decision, directory, before, must_be_bound=must_be_bound)
    return found


def _problems(decision: Decision, directory: Directory, before: Ledger, *, must_be_bound: bool) -> list[str]:
    if [each.person_id for each in decision.candidates if each.chosen] != [decision.owner_id]:
        return ["has not exactly one owner"]
    owner = directory.people[decision.owner_id or ""]
    if owner.id == DUTY_DESK:
        return []
    if decision.rule_id == ONE_CUSTOMER_ONE_OWNER:
        return [] if owner.may_own else ["a customer stays with somebody who may own none"]
    wrong = wrong_with(owner, before, must_be_bound=must_be_bound)
    return [f"{owner.id} {wrong}"] if wrong else []


@pytest.mark.capability(118, 119, 125)
@given(cases)
@settings(max_examples=200, deadline=None)
def test_every_lead_gets_exactly_one_owner_who_may_have_it(case: Case) -> None:
    """Whatever the organisation, the rules and the turns owed: one owner, who is there, reachable, permitted and has room."""
    assert problems_of(case) == []


BUGS: dict[str, Callable[[Person], Person]] = {
    "is off duty": lambda person: replace(person, on_duty=True, duty=()),
    "is on leave": lambda person: replace(person, leave=()),
    "has no permission": lambda person: replace(person, may_follow_up=True),
    "has no account": lambda person: replace(person, has_account=True),
    "has left": lambda person: replace(person, active=True),
    "is not bound": lambda person: replace(person, channels=frozenset({"wecom"})),
    "is full": lambda person: replace(person, open_leads_max=person.open_leads_max and person.open_leads_max + 1),
    "has had their day's leads": lambda person: replace(person, leads_per_day_max=None),
}
"""What a wrong judge overlooks, by what is to be found."""


@pytest.mark.parametrize("found", BUGS)
def test_a_judge_that_overlooks_something_is_found(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of being unable is one that the property above looks for: without it, it fails, and says which."""
    judge, overlook = deciding.reason_against, BUGS[found]

    def blind(person: Person, *args: Any, **figures: Any) -> str:
        return judge(overlook(person), *args, **figures)

    monkeypatch.setattr(deciding, "reason_against", blind)

    @given(cases)
    @settings(
        max_examples=1_000,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def look(case: Case) -> None:
        assert not any(found in problem for problem in problems_of(case))

    with pytest.raises(AssertionError):
        look()
