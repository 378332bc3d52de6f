"""Rules as data: changed, tried, rolled back (40)."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest

from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import Person
from services.leads.routing.usecases import dry_run_rules, get_rules, put_rules, roll_back_rules
from services.leads.sla.usecases import fire_due_timers

pytestmark = pytest.mark.capability(40)

MANAGER = Actor("boss", Role.MANAGER, Scope.TEAM)
SALES = Actor("1", Role.SALES, Scope.OWN)


def draft(number: int, **fields: Any) -> LeadDraft:
    return LeadDraft(f"客户{number}", "官网", phone=f"+86139{number:08d}", **fields)


async def put(leads, document, expected: int = 0, actor: Actor = MANAGER):
    return await put_rules(leads.begin_rules, actor, document, expected, now=leads.clock.now())


async def document_in_force(leads) -> dict[str, Any]:
    return deepcopy(dict((await get_rules(leads.begin_rules, MANAGER)).document))


def with_east(document: dict[str, Any], person_id: str) -> dict[str, Any]:
    east = {
        "id": "east",
        "priority": "P1",
        "when": [{"field": "region", "op": "eq", "value": "华东"}],
        "target": {"kind": "person", "person_id": person_id},
    }
    return {"rules": [east, *document["rules"]]}


async def test_new_rules_are_in_force_for_the_next_lead_of_every_replica(leads) -> None:
    """Without a restart and without SQL; the decision names the version."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0))
    other = await leads.another()
    await other.capture(draft(1, region="华东"))
    rules = await put(leads, with_east(await document_in_force(leads), "2"), expected=1)
    [captured] = await other.capture(draft(2, region="华东"))
    decision = captured.assignment.decision
    assert (captured.owner_id, decision.rule_id, decision.rule_version) == ("2", "east", rules.version)


async def test_rules_with_a_mistake_change_nothing(leads) -> None:
    """A person nobody knows is told with its place; the version stays."""
    with pytest.raises(InvalidRequestError) as caught:
        await put(leads, with_east(await document_in_force(leads), "ghost"))
    assert [error.field for error in caught.value.errors] == ["rules[0].target.person_id"]
    assert (await get_rules(leads.begin_rules, SALES)).version == 1


async def test_of_two_authors_at_once_one_must_look_again(leads) -> None:
    """Nobody overwrites what they have not seen."""
    document = await document_in_force(leads)
    results = await asyncio.gather(*(put(leads, document, expected=1) for _ in range(2)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "KeptRules"]


async def test_rolling_back_is_a_new_version(leads) -> None:
    """History only grows: version 3 says what version 1 said."""
    first = await document_in_force(leads)
    await leads.people(Person("2", "乙"))
    await put(leads, with_east(first, "2"))
    rules = await roll_back_rules(leads.begin_rules, MANAGER, 1, now=leads.clock.now())
    assert (rules.version, rules.document) == (3, first)
    with pytest.raises(ConflictError):
        await roll_back_rules(leads.begin_rules, MANAGER, 3, now=leads.clock.now())
    with pytest.raises(NotFoundError):
        await roll_back_rules(leads.begin_rules, MANAGER, 99, now=leads.clock.now())


async def test_a_dry_run_shows_what_would_change_and_changes_nothing(leads) -> None:
    """Leads of the east would go elsewhere; a colleague's turn of the same rotation is no change."""
    await leads.people(Person("1", "甲"), Person("2", "乙"), Person("3", "丙", weight=0))
    captured = [await leads.capture(draft(number, region="华东" if number < 3 else "华南")) for number in range(8)]
    run = await dry_run_rules(
        leads.begin_rules, MANAGER, with_east(await document_in_force(leads), "3"), 0, clock=leads.clock
    )
    assert (run.leads, run.same, run.changed) == (8, 5, 3)
    assert {each.lead_id for each in run.differences} == {each.lead_id for [each] in captured[:3]}
    assert {each.owner_then for each in run.differences} == {"3"}
    assert (await get_rules(leads.begin_rules, MANAGER)).version == 1
    assert await leads.value("SELECT count(*) FROM assignments") == 8


async def test_a_dry_run_of_the_rules_in_force_changes_nothing(leads) -> None:
    """Kept imported owners, customers who came back and leads that went to the supervisor are all as decided."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0), Person("3", "丙"))
    await leads.capture(draft(1), draft(2, owner_id="2"), draft(3))
    await leads.capture(draft(1), draft(2))
    for hours in (1, 2):
        await leads.clock.advance(hours * 3600)
        await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=100)
    assert await leads.value("SELECT count(*) FROM leads WHERE owner_id = 'sales-supervisor'") == 5
    run = await dry_run_rules(leads.begin_rules, MANAGER, await document_in_force(leads), 0, clock=leads.clock)
    assert (run.leads, run.changed) == (5, 0)


async def test_sales_people_read_rules_and_do_not_write_them(leads) -> None:
    """Changing, trying and rolling back are a director's; on-call sees none."""
    document = await document_in_force(leads)
    with pytest.raises(PermissionDeniedError):
        await put(leads, document, actor=SALES)
    with pytest.raises(PermissionDeniedError):
        await dry_run_rules(leads.begin_rules, SALES, document, 0, clock=leads.clock)
    with pytest.raises(PermissionDeniedError):
        await roll_back_rules(leads.begin_rules, SALES, 1, now=leads.clock.now())
    with pytest.raises(PermissionDeniedError):
        await get_rules(leads.begin_rules, Actor("x", Role.ONCALL, Scope.ALL))
