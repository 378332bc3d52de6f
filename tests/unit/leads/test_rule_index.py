"""Ten thousand rules asked at once answer as each asked by itself (3, 40)."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.leads.organisation.domain import DUTY_DESK
from services.leads.routing import index
from services.leads.routing.domain import Facts, Priority, Rule
from services.leads.routing.index import RuleIndex
from services.leads.routing.rules import read_rules

pytestmark = pytest.mark.capability(3, 40)

DESK = {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}}
WORDS = ("华东", "华南", "制造业", "3", "1,000")
TEXTS = ("region", "industry", "utm.campaign", "details.company_size")

texts = st.sampled_from(TEXTS)
words = st.sampled_from(WORDS)
numbers = st.integers(-2, 6)
single = st.one_of(
    st.builds(
        lambda field, op, value: {"field": field, "op": op, "value": value},
        texts,
        st.sampled_from(["eq", "ne", "contains", "starts_with", "ends_with"]),
        words,
    ),
    st.builds(
        lambda field, op, values: {"field": field, "op": op, "value": values},
        texts,
        st.sampled_from(["in", "not_in"]),
        st.lists(words, min_size=1, max_size=3),
    ),
    st.builds(
        lambda field, op, value: {"field": field, "op": op, "value": value},
        st.sampled_from(["budget", "customer.won_deals"]),
        st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
        numbers,
    ),
    st.builds(
        lambda op, value: {"field": "details.company_size", "op": op, "value": value},
        st.sampled_from(["gt", "gte", "lt", "lte"]),
        numbers,
    ),
    st.builds(lambda field, value: {"field": field, "op": "exists", "value": value}, texts, st.booleans()),
)
conditions = st.one_of(
    single,
    single,
    st.builds(
        lambda kind, members: {kind: members},
        st.sampled_from(["any", "all", "none"]),
        st.lists(single, min_size=1, max_size=3),
    ),
)
rule = st.fixed_dictionaries(
    {
        "priority": st.sampled_from(list(Priority)),
        "when": st.lists(conditions, max_size=4),
        "target": st.just({"kind": "person", "person_id": "p"}),
    },
    optional={
        "weigh": st.lists(
            st.builds(lambda condition, points: {**condition, "points": points}, conditions, numbers),
            min_size=1,
            max_size=3,
        )
    },
)
known: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(TEXTS, st.sampled_from([*WORDS, ""])),
        "budget": numbers.map(Decimal),
        "customer.won_deals": numbers.map(Decimal),
    },
)


def read(entries: list[dict[str, Any]]) -> tuple[Rule, ...]:
    numbered = [{**entry, "id": f"r{number}"} for number, entry in enumerate(entries)]
    return read_rules({"rules": [*numbered, DESK]}, version=1).rules


@given(st.lists(rule, max_size=150), st.lists(known, min_size=1, max_size=10))
@settings(deadline=None)
def test_the_index_answers_exactly_as_each_rule_by_itself(entries: list[dict[str, Any]], leads: list[Facts]) -> None:
    """The same rules in the same order, with the same priority, whatever the rules and the lead are."""
    rules = read(entries)
    asked = RuleIndex(rules)
    for facts in leads:
        met = [each for each in rules if each.matches(facts)]
        matching = asked.matching(facts)
        assert [each.id for each in matching.rules()] == [each.id for each in met]
        assert asked.matching(facts).priority() == min(each.priority for each in met)
        assert [each.id for each in matching.by_points()] == [
            each.id for each in sorted(met, key=lambda each: -each.points(facts))
        ]


def test_values_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cities leads come from, no more than the limit is kept of them, and the answers stay right."""
    monkeypatch.setattr(index, "_MASKS_MAX", 3)
    entries = [
        {"when": [{"field": "city_code", "op": "eq", "value": str(city)}], "target": DESK["target"]}
        for city in range(9)
    ]
    asked = RuleIndex(read(entries))
    for city in (0, 1, 2, 3, 8, 0):
        assert [each.id for each in asked.matching({"city_code": str(city)}).rules()] == [f"r{city}", "desk"]
