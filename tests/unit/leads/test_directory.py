"""Whose records somebody may see (42), and who stands above whom."""

import pytest

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.organisation.checks import check_person
from services.leads.organisation.domain import Directory, Person, Team

PEOPLE = Directory.of(
    [
        Person("boss", "主管", team_id="sales"),
        Person("a", "甲", team_id="sales"),
        Person("b", "乙", team_id="sales", supervisor_id="c"),
        Person("c", "丙", team_id="key"),
        Person("d", "丁", team_id="key", active=False),
    ],
    [Team("sales", "销售一部", "boss"), Team("key", "大客户部", "boss")],
)


@pytest.mark.capability(42)
@pytest.mark.parametrize(
    ("sub", "scope", "owners"),
    [
        ("a", Scope.OWN, ("a",)),
        ("a", Scope.TEAM, ("a", "b", "boss")),
        ("boss", Scope.TEAM, ("a", "b", "boss", "c", "d")),
        ("c", Scope.TEAM, ("b", "c", "d")),
        ("machine", Scope.TEAM, ("machine",)),
        ("a", Scope.ALL, None),
    ],
)
def test_a_scope_is_a_set_of_owners(sub: str, scope: Scope, owners: tuple[str, ...] | None) -> None:
    """Own is oneself, team is one's team and those one supervises, all is no limit."""
    assert PEOPLE.visible_owners(Actor(sub, Role.SALES, scope)) == owners


def test_the_supervisor_is_the_persons_own_or_the_teams() -> None:
    """Nobody supervises themselves: above the head of the team is nobody."""
    assert [PEOPLE.supervisor_of(person_id) for person_id in ("a", "b", "boss", "nobody")] == ["boss", "c", "", ""]


def test_only_those_who_may_own_leads_keep_them() -> None:
    """Who left, and who lost the permission, must give their leads away."""
    assert PEOPLE.unable == ("d",)


def test_a_person_with_wrong_fields_is_refused_by_name() -> None:
    """All of them at once."""
    with pytest.raises(InvalidRequestError) as caught:
        check_person(Person("", "x" * 121, weight=-1, open_leads_max=-1))
    assert [error.field for error in caught.value.errors] == ["name", "id", "weight", "open_leads_max"]
