"""Decisions as they are kept: made again byte for byte, and none lost while rules change (3, 8, 40)."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater.chassis.errors import ConflictError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import Person
from services.leads.pipeline.domain import Activity, Opportunity
from services.leads.pipeline.store import PipelineSql
from services.leads.pipeline.usecases import record
from services.leads.routing.deals import refresh_deals
from services.leads.routing.rerouting import reroute_waiting_leads
from services.leads.routing.store import RULES_READ_UNDER_LOCK_MAX
from services.leads.routing.usecases import dry_run_rules, get_rules, put_rules, replay_assignment
from services.leads.sla.usecases import fire_due_timers

MANAGER = Actor("boss", Role.MANAGER, Scope.ALL)
DESK = {"id": "desk", "target": {"kind": "duty_desk", "person_id": "duty-desk"}}
ROTATION = {"id": "rotation", "target": {"kind": "team", "team_id": "sales"}}


def draft(number: int, **fields: Any) -> LeadDraft:
    return LeadDraft(f"客户{number}", "官网", phone=f"+86139{number:08d}", **fields)


async def put(leads: Any, *rules: dict[str, Any], **more: Any) -> int:
    document = {"rules": [*rules, DESK], **more}
    return (await put_rules(leads.begin_rules, MANAGER, document, 0, now=leads.clock.now())).version


async def replays(leads: Any, replica: Any = None) -> list[Any]:
    """Every decision there is, made again by one replica."""
    begin = (replica or leads).begin_rules
    rows = await leads.rows("SELECT id::text, lead_id::text FROM assignments WHERE ground IS NOT NULL ORDER BY id")
    return [await replay_assignment(begin, MANAGER, row["lead_id"], row["id"]) for row in rows]


@pytest.mark.capability(8)
async def test_every_decision_is_made_again_byte_for_byte(leads: Any) -> None:
    """After people, rules, deals and loads have changed, each past decision still comes out as it was told, by one replica
    as by another."""
    await leads.people(
        Person("1", "甲", weight=3, open_leads_max=5),
        Person("2", "乙", skills=("注塑机",), rank=5),
        Person("3", "丙", on_duty=False, leads_per_day_max=2),
    )
    await leads.capture(*(draft(number, budget=None, region="华东") for number in range(6)))
    score = {"weights": {"w": 2}, "formula": "budget / 10000 * weights.w + customer.activities_90d"}
    skill = {
        "id": "skill",
        "when": [{"field": "industry", "op": "eq", "value": "注塑"}],
        "target": {"kind": "skill", "skill": "注塑机"},
    }
    senior = {
        "id": "senior",
        "when": [{"field": "lead_score", "op": "gt", "value": 50}],
        "target": {"kind": "key_account", "rank_min": 4},
    }
    await put(leads, senior, skill, {"id": "keep", "target": {"kind": "imported_owner"}}, ROTATION, score=score)
    await leads.people(Person("3", "丙", leads_per_day_max=2), Person("4", "丁", weight=2))
    other = await leads.another()
    for number in range(6, 18):
        fields = {"industry": "注塑"} if number % 5 == 0 else {"budget": Decimal(number * 100_000), "owner_id": "1"}
        await (leads, other)[number % 2].capture(draft(number, **fields), draft(number - 6))
        await leads.clock.advance(3600)
    await leads.people(Person("1", "甲改名", active=False))
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)
    again = await replays(leads)
    assert len(again) >= 36
    assert [each for each in again if not each.is_equal] == []
    assert any(each.stood_on.again for each in again)
    assert any("补回" in each.told.decode() for each in again)
    organisations = {each.organisation for each in again}
    assert len(organisations) == await leads.value("SELECT count(*) FROM routing_grounds") >= 3
    theirs = await replays(leads, other)
    assert [each.again for each in theirs] == [each.again for each in again]


FORGERIES = (
    "UPDATE assignments SET reason = reason || '!'",
    "UPDATE assignments SET owner_id = '2'",
    "UPDATE assignments SET stood_on = jsonb_set(stood_on, '{facts,owner_id}', '\"2\"')",
    "UPDATE assignments SET digest = 'x'",
    "UPDATE assignments SET stood_on = jsonb_set(stood_on, '{customer_owner_id}', '\"2\"')",
)


@pytest.mark.capability(8)
async def test_a_decision_that_was_changed_where_it_is_kept_is_not_equal(leads: Any) -> None:
    """Whoever rewrites an owner, a reason, a fact or a rule of the past is found by making the decision again."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0))
    for number, forgery in enumerate(FORGERIES):
        [captured] = await leads.capture(draft(number, owner_id="1"))
        assert (await replays(leads))[-1].is_equal
        await leads.admin.execute(f"{forgery} WHERE id = $1", captured.assignment.id)
    assert [each.is_equal for each in await replays(leads)] == [False] * len(FORGERIES)
    await leads.capture(draft(99))
    assert (await replays(leads))[-1].is_equal
    await leads.admin.execute("UPDATE routing_rules SET document = jsonb_set(document, '{rules,2,title}', '\"别的\"')")
    assert not (await replays(leads, await leads.another()))[-1].is_equal


async def test_what_no_rule_decided_is_said_to_be_so(leads: Any) -> None:
    """A lead that went to the supervisor was handed over; a decision that is not there, or another's, is not found."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(draft(1))
    for hours in (1, 2):
        await leads.clock.advance(hours * 3600)
        await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=100)
    handed = await leads.value("SELECT id::text FROM assignments ORDER BY id DESC LIMIT 1")
    with pytest.raises(ConflictError):
        await replay_assignment(leads.begin_rules, MANAGER, captured.lead_id, handed)
    with pytest.raises(NotFoundError):
        await replay_assignment(leads.begin_rules, MANAGER, captured.lead_id, "nothing")
    elsewhere = Actor("somebody", Role.MANAGER, Scope.TEAM)
    with pytest.raises(NotFoundError):
        await replay_assignment(leads.begin_rules, elsewhere, captured.lead_id, captured.assignment.id)
    with pytest.raises(PermissionDeniedError):
        await replay_assignment(leads.begin_rules, Actor("1", Role.SALES, Scope.ALL), captured.lead_id, handed)


@pytest.mark.capability(8)
async def test_an_organisation_is_kept_only_where_a_decision_refers_to_it(leads: Any) -> None:
    """A transfer to the supervisor asks no rule: the organisation of its moment is not kept, and nothing has to be pruned."""
    await leads.people(Person("1", "甲"))
    await leads.capture(draft(1))
    for hours in (1, 2):
        await leads.clock.advance(hours * 3600)
        await leads.people(Person("2", f"乙{hours}", weight=0))
        await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=100)
    assert await leads.value("SELECT count(*) FROM assignments WHERE ground IS NULL") == 1
    assert await leads.value("SELECT count(*) FROM routing_grounds") == 1
    await leads.capture(draft(2))
    assert await leads.value("SELECT count(*) FROM routing_grounds") == 2
    assert all(each.is_equal for each in await replays(leads))


@pytest.mark.capability(40, 125)
async def test_no_lead_is_dropped_while_rules_change(leads: Any) -> None:
    """Rules change again and again under concurrent captures of two replicas: every lead has one owner by one version."""
    await leads.people(*(Person(str(number), "某人") for number in range(4)))
    other = await leads.another()
    left = 20

    async def change() -> None:
        nonlocal left
        for turn in range(left):
            await put(leads, ROTATION | {"id": f"rotation-{turn}"})
            left -= 1

    async def capture(worker: int) -> list[str]:
        taken: list[str] = []
        while left or len(taken) < 5:
            number = worker * 1_000 + len(taken)
            [captured] = await (leads, other)[worker % 2].capture(draft(number))
            taken.append(captured.lead_id)
        return taken

    *captured, _ = await asyncio.gather(*(capture(worker) for worker in range(6)), change())
    ids = [lead_id for each in captured for lead_id in each]
    rows = await leads.rows(
        "SELECT lead_id::text, count(*), min(rule_version) AS version, min(rule_id) AS rule, min(owner_id) AS owner"
        " FROM assignments GROUP BY lead_id"
    )
    assert sorted(row["lead_id"] for row in rows) == sorted(ids)
    assert {row["count"] for row in rows} == {1}
    wrong = [row for row in rows if row["version"] > 1 and row["rule"] != f"rotation-{row['version'] - 2}"]
    assert wrong == [], "a decision names a version whose rules it was not made by"
    assert len({row["version"] for row in rows}) > 1
    assert all(row["owner"] for row in rows)


async def keep(leads: Any, *records: Any) -> None:
    async with leads.database.transaction() as tx:
        await record(PipelineSql(tx), records, "an-import")


@pytest.mark.capability(55)
async def test_a_lead_goes_to_the_owner_of_the_nearest_recent_deals(leads: Any) -> None:
    """百度爱采购 + 注塑机: deals won by import, in the cities of their customers' leads, are where the next lead goes by."""
    await leads.people(Person("1", "北京的", weight=1), Person("2", "苏州的"), Person("3", "早年的"))
    now = leads.clock.now()
    cities = {"1": "110000", "2": "320500", "3": "310000"}
    for owner, city in cities.items():
        await leads.capture(LeadDraft(f"老客户{owner}", "展会", city_code=city, external_id=f"crm:{owner}"))
        ended = now - timedelta(days=200 if owner == "3" else 10)
        won = {"stage": "Closed Won"} if owner == "1" else {"stage": "成交了", "probability": 100}
        await keep(leads, Opportunity(f"crm:deal:{owner}", (f"crm:{owner}",), occurred_at=ended, owner_id=owner, **won))
    when = [
        {"field": "source", "op": "eq", "value": "百度爱采购"},
        {"field": "need", "op": "contains", "value": "注塑机"},
    ]
    await put(leads, {"id": "near", "when": when, "target": {"kind": "nearest", "radius_km": 300}}, ROTATION)
    assert await refresh_deals(leads.database, now, days=90)
    assert not await refresh_deals(leads.database, now, days=90), "nothing has changed"
    lead = LeadDraft("新客户", "百度爱采购", city_code="310000", need="两台注塑机")
    [captured] = await (await leads.another()).capture(lead)
    assert (captured.owner_id, captured.assignment.decision.rule_id) == ("2", "near")
    assert [each.is_equal for each in await replays(leads)] == [True] * 4


@pytest.mark.capability(57)
async def test_industry_size_and_interaction_frequency_go_into_one_rule(leads: Any) -> None:
    """A customer who was in touch three times in 90 days, of a large company, is somebody's; a stranger is not yet."""
    await leads.people(Person("1", "甲", weight=0), Person("2", "乙"))
    now = leads.clock.now()
    when = [
        {"field": "industry", "op": "eq", "value": "制造业"},
        {"field": "details.company_size", "op": "gte", "value": 200},
        {"field": "customer.activities_90d", "op": "gte", "value": 3},
    ]
    await leads.capture(LeadDraft("老客户", "展会", stage="lost", external_id="crm:1", company="华东机械有限公司"))
    calls = [
        Activity(f"crm:call:{number}", ("crm:1",), "call", now - timedelta(days=days))
        for number, days in enumerate((1, 40, 80, 400))
    ]
    await keep(leads, *calls)
    await put(leads, {"id": "warm", "when": when, "target": {"kind": "person", "person_id": "1"}}, ROTATION)
    fields = {"industry": "制造业", "details": {"company_size": "350"}, "source": "官网"}
    [known] = await leads.capture(LeadDraft("老客户", company="华东机械有限公司", **fields))
    [stranger] = await leads.capture(LeadDraft("生客", company="别家公司", **fields))
    assert (known.owner_id, stranger.owner_id) == ("1", "2")
    assert all(each.is_equal for each in await replays(leads))


@pytest.mark.capability(93)
async def test_the_most_promising_of_those_that_wait_get_somebody_first(leads: Any) -> None:
    """When people left and one comes back with room for two, the two P0 leads are theirs, not the two oldest."""
    big = {
        "id": "big",
        "priority": "P0",
        "when": [{"field": "budget", "op": "gt", "value": 100}],
        "target": ROTATION["target"],
    }
    await put(leads, big, ROTATION)
    captured = [(await leads.capture(draft(number, budget=Decimal(number * 100))))[0] for number in range(1, 6)]
    await leads.people(Person("1", "甲", open_leads_max=2))
    budgets = {each.lead_id: number * 100 for number, each in enumerate(captured, start=1)}
    await put(leads, big | {"when": [{"field": "budget", "op": "gt", "value": 300}]}, ROTATION)
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)
    rows = await leads.rows("SELECT id::text FROM leads WHERE owner_id = '1'")
    assert sorted(budgets[row["id"]] for row in rows) == [200, 300], "the first two by the priority they waited with"


@pytest.mark.capability(40, 57)
async def test_a_formula_is_tried_on_leads_whose_end_is_known(leads: Any) -> None:
    """How often it tells a converted lead from a lost one, beside the formula in force; nothing is changed."""
    await leads.people(Person("1", "甲"))
    await put(leads, ROTATION, score={"formula": "-budget"})
    captured = [(await leads.capture(draft(number, budget=Decimal(number))))[0] for number in range(10)]
    ends = {"converted": [6, 7, 9], "lost": [0, 1, 8]}
    for stage, numbers in ends.items():
        ids = [captured[number].lead_id for number in numbers]
        await leads.admin.execute("UPDATE leads SET stage = $2 WHERE id = ANY($1::uuid[])", ids, stage)
    document = {"score": {"weights": {"b": 10}, "formula": "weights.b * budget"}, "rules": [ROTATION, DESK]}
    run = await dry_run_rules(leads.begin_rules, MANAGER, document, 0, clock=leads.clock)
    assert (run.score_then.leads, run.score_then.converted, run.score_then.lost) == (10, 3, 3)
    assert (str(run.score_then.pairs_right), str(run.score_today.pairs_right)) == ("77.8", "22.2")
    assert str(run.score_then.mean) == "45.00"
    assert run.by_rule == (("rotation", 10),)
    assert run.changed == 0
    assert (await get_rules(leads.begin_rules, MANAGER)).version == 2
    assert "score" not in (await get_rules(leads.begin_rules, MANAGER, 1)).document


@pytest.mark.capability(40)
async def test_many_rules_are_in_force_for_the_next_lead_of_every_replica_too(leads: Any) -> None:
    """More than are read behind the lock: another replica decides by them, and by their change, from the next lead on."""
    await leads.people(Person("1", "甲"), Person("2", "乙", weight=0))
    many = [
        {
            "id": f"city-{number}",
            "when": [{"field": "city_code", "op": "eq", "value": str(number)}],
            "target": {"kind": "person", "person_id": "2"},
        }
        for number in range(RULES_READ_UNDER_LOCK_MAX + 1)
    ]
    other = await leads.another()
    for turn in range(2):
        changed = [{**rule, "title": f"第{turn}次"} for rule in many]
        version = await put(leads, *changed, ROTATION)
        [captured] = await other.capture(draft(turn, city_code="500"))
        decision = captured.assignment.decision
        assert (decision.rule_id, decision.rule_version, captured.owner_id) == ("city-500", version, "2")
        assert f"第{turn}次" in decision.reason
    [elsewhere] = await other.capture(draft(9, city_code="999999"))
    assert elsewhere.owner_id == "1"
    assert [each.is_equal for each in await replays(leads)] == [True] * 3
