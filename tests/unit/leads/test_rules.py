"""The rules document: what a director writes, and what they are told about mistakes (40, 57)."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.errors import InvalidRequestError
from services.leads.organisation.domain import Directory, Person, Team
from services.leads.routing.rules import FREE_FIELDS_MAX, read_rules

pytestmark = pytest.mark.capability(40, 57)

DIRECTORY = Directory.of([Person("duty-desk", "值班席"), Person("1", "甲")], [Team("sales", "销售一部", "")])
GOOD: dict[str, Any] = {
    "rules": [
        {
            "id": "big",
            "title": "大客户",
            "priority": "P0",
            "when": [
                {"field": "industry", "op": "in", "value": ["制造业"]},
                {"field": "budget", "op": "gt", "value": 500000.0},
                {"field": "utm.campaign", "op": "contains", "value": "展会"},
            ],
            "target": {"kind": "team", "team_id": "sales", "match": ["region"]},
        },
        {"id": "desk", "target": {"kind": "duty_desk", "person_id": "duty-desk"}},
    ]
}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    document = deepcopy(GOOD)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


def test_a_right_document_is_read() -> None:
    """What is left out has its default."""
    rules = read_rules(GOOD, 3, DIRECTORY)
    assert [(rule.id, rule.title, rule.priority) for rule in rules.rules] == [
        ("big", "大客户", "P0"),
        ("desk", "desk", "P2"),
    ]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["extra"], 1, "extra"),
        (["rules"], [], "rules"),
        (["rules", 0], "x", "rules[0]"),
        (["rules", 0, "colour"], "red", "rules[0].colour"),
        (["rules", 0, "id"], "Nicht erlaubt", "rules[0].id"),
        (["rules", 0, "id"], "one-customer-one-owner", "rules[0].id"),
        (["rules", 0, "id"], "desk", "rules[1].id"),
        (["rules", 0, "title"], "x" * 201, "rules[0].title"),
        (["rules", 0, "priority"], "P9", "rules[0].priority"),
        (["rules", 0, "priority"], ["P1"], "rules[0].priority"),
        (["rules", 0, "when"], {}, "rules[0].when"),
        (["rules", 0, "when", 0], 1, "rules[0].when[0]"),
        (["rules", 0, "when", 0, "field"], "shoe_size", "rules[0].when[0].field"),
        (["rules", 0, "when", 0, "op"], "like", "rules[0].when[0].op"),
        (["rules", 0, "when", 0, "op"], {}, "rules[0].when[0].op"),
        (["rules", 0, "when", 0, "op"], "gt", "rules[0].when[0].value"),
        (["rules", 0, "when", 0, "value"], [], "rules[0].when[0].value"),
        (["rules", 0, "when", 0, "value"], [1], "rules[0].when[0].value"),
        (["rules", 0, "when", 1, "value"], "much", "rules[0].when[1].value"),
        (["rules", 0, "when", 1, "value"], True, "rules[0].when[1].value"),
        (["rules", 0, "when", 2, "value"], "", "rules[0].when[2].value"),
        (["rules", 0, "target"], None, "rules[0].target"),
        (["rules", 0, "target", "kind"], "nobody", "rules[0].target.kind"),
        (["rules", 0, "target", "kind"], [], "rules[0].target.kind"),
        (["rules", 0, "target", "team_id"], "purchasing", "rules[0].target.team_id"),
        (["rules", 0, "target", "team_id"], "", "rules[0].target.team_id"),
        (["rules", 0, "target", "match"], ["shoe_size"], "rules[0].target.match"),
        (["rules", 0, "target", "person_id"], "1", "rules[0].target.person_id"),
        (["rules", 1, "target", "person_id"], "2", "rules[1].target.person_id"),
        (["rules", 1, "when"], [{"field": "region", "op": "eq", "value": "x"}], "rules[1]"),
        (["rules", 1, "target"], {"kind": "team", "team_id": "sales"}, "rules[1]"),
    ],
)
def test_a_mistake_is_told_with_its_place(path: list[Any], value: Any, place: str) -> None:
    """Whoever wrote it finds it without searching."""
    with pytest.raises(InvalidRequestError) as caught:
        read_rules(changed(path, value), 3, DIRECTORY)
    assert [error.field for error in caught.value.errors] == [place]


def test_all_mistakes_are_told_at_once() -> None:
    """Three mistakes, three errors."""
    document = changed(["rules", 0, "priority"], "P9")
    document["rules"][0]["when"][0]["op"] = "like"
    document["rules"][1]["target"]["person_id"] = "nobody"
    with pytest.raises(InvalidRequestError) as caught:
        read_rules(document, 3, DIRECTORY)
    assert len(caught.value.errors) == 3


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [
        ["rules"],
        ["rules", 0],
        ["rules", 0, "id"],
        ["rules", 0, "title"],
        ["rules", 0, "priority"],
        ["rules", 0, "when"],
        ["rules", 0, "when", 0],
        ["rules", 0, "when", 0, "field"],
        ["rules", 0, "when", 0, "op"],
        ["rules", 0, "when", 0, "value"],
        ["rules", 0, "when", 1, "value"],
        ["rules", 0, "target"],
        ["rules", 0, "target", "kind"],
        ["rules", 0, "target", "team_id"],
        ["rules", 0, "target", "match"],
    ]
)


@given(places, json)
def test_no_document_whatever_is_a_crash(path: list[Any], value: Any) -> None:
    """Any JSON in any place is rules or a refusal."""
    try:
        found: Any = read_rules(changed(path, value), 3, DIRECTORY).rules
    except InvalidRequestError as error:
        found = error.errors
    assert found


def test_the_fields_whose_names_are_data_are_bounded() -> None:
    """Each different one costs every decision a little: what is too many is said."""
    many = [
        {
            "id": f"r{number}",
            "when": [{"field": f"utm.k{number}", "op": "eq", "value": "x"}],
            "target": {"kind": "imported_owner"},
        }
        for number in range(FREE_FIELDS_MAX + 1)
    ]
    read_rules({"rules": [*many[1:], GOOD["rules"][1]]}, 1)
    with pytest.raises(InvalidRequestError) as caught:
        read_rules({"rules": [*many, GOOD["rules"][1]]}, 1)
    assert [error.field for error in caught.value.errors] == ["rules"]


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"when": [{"any": []}]}, "rules[0].when[0].any"),
        ({"when": [{"any": [{"field": "x", "op": "eq", "value": "y"}]}]}, "rules[0].when[0].any[0].field"),
        (
            {"when": [{"all": [{"any": [{"none": [{"all": [GOOD["rules"][0]["when"][0]]}]}]}]}]},
            "rules[0].when[0].all[0].any[0].none[0]",
        ),
        ({"when": [{"any": [GOOD["rules"][0]["when"][0]], "op": "eq"}]}, "rules[0].when[0].op"),
        ({"when": [{"field": "budget", "op": "contains", "value": "5"}]}, "rules[0].when[0].value"),
        ({"when": [{"field": "budget", "op": "exists", "value": 1}]}, "rules[0].when[0].value"),
        ({"when": [{"field": "lead_score", "op": "gt", "value": 1}]}, "rules[0]"),
        ({"weigh": [{"field": "region", "op": "eq", "value": "华东"}]}, "rules[0].weigh[0].points"),
        ({"weigh": [{"field": "region", "op": "eq", "value": "华东", "points": "9e9"}]}, "rules[0].weigh[0].points"),
        ({"at_least": 5}, "rules[0].at_least"),
        ({"target": {"kind": "skill", "skill": "没人会"}}, "rules[0].target.skill"),
        ({"target": {"kind": "skill"}}, "rules[0].target.skill"),
        ({"target": {"kind": "key_account"}}, "rules[0].target.rank_min"),
        ({"target": {"kind": "key_account", "rank_min": 1.5}}, "rules[0].target.rank_min"),
        ({"target": {"kind": "nearest", "radius_km": 9_999}}, "rules[0].target.radius_km"),
        ({"target": {"kind": "nearest", "radius_km": 10, "choose": "rotation"}}, "rules[0].target.choose"),
        ({"target": {"kind": "team", "team_id": "sales", "choose": "nearest"}}, "rules[0].target.choose"),
        (
            {"target": {"kind": "team", "team_id": "sales", "skipped_turns_max": 99}},
            "rules[0].target.skipped_turns_max",
        ),
    ],
)
def test_each_mistake_of_the_wider_language_is_told_with_its_place(rule: dict[str, Any], place: str) -> None:
    """Groups, weights, scores and targets as exactly as the rest."""
    document = {"rules": [{"id": "r", "target": {"kind": "imported_owner"}, **rule}, GOOD["rules"][1]]}
    with pytest.raises(InvalidRequestError) as caught:
        read_rules(document, 1, DIRECTORY)
    assert [error.field for error in caught.value.errors] == [place]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"order": "weight"}, "order"),
        ({"score": []}, "score"),
        ({"score": {}}, "score.formula"),
        ({"score": {"formula": "budget +"}}, "score.formula"),
        ({"score": {"formula": "1", "weights": {"a": "many"}}}, "score.weights.a"),
        ({"score": {"formula": "1", "weight": {}}}, "score.weight"),
    ],
)
def test_each_mistake_of_order_and_score_is_told_with_its_place(changes: dict[str, Any], place: str) -> None:
    """So that the author finds it in a document of thousands of lines."""
    with pytest.raises(InvalidRequestError) as caught:
        read_rules({**GOOD, **changes}, 1, DIRECTORY)
    assert [error.field for error in caught.value.errors] == [place]
