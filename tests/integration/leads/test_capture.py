"""Capturing leads in one transaction, whoever else does so at the same moment."""

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from breakwater.chassis.database import Reader
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.organisation.domain import DUTY_DESK, Person
from services.leads.organisation.store import upsert_people

FANG = LeadDraft("王芳", "官网", company="恒力机械有限公司", phone="13800000001", email="fang@hengli.cn")


def somebody(number: int, **fields: object) -> LeadDraft:
    return replace(LeadDraft(f"客户{number}", "展会", phone=f"139{number:08d}"), **fields)  # type: ignore[arg-type]


@pytest.mark.capability(8, 54, 125)
async def test_a_lead_has_customer_owner_explanation_timer_and_events_when_it_is_there(leads) -> None:
    """One transaction writes it all, in the order consumers expect."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(replace(FANG, budget=Decimal("12.50"), utm={"campaign": "春季"}))
    lead = (await leads.rows("SELECT * FROM leads"))[0]
    assert (str(lead["id"]), lead["owner_id"], lead["source"]) == (captured.lead_id, "1", "官网")
    assert (lead["budget"], orjson.loads(lead["utm"])) == (Decimal("12.50"), {"campaign": "春季"})
    assignment = (await leads.rows("SELECT * FROM assignments"))[0]
    assert (assignment["rule_id"], assignment["rule_version"]) == ("round-robin-sales", 1)
    assert ["1", "甲", ""] in orjson.loads(assignment["candidates"])
    timer = (await leads.rows("SELECT * FROM first_touch_timers"))[0]
    assert (timer["stage"], timer["due_at"]) == (1, lead["claim_by"])
    assert await leads.events(captured.lead_id) == [("LeadCaptured", 1), ("LeadAssigned", 2)]
    assert lead["sequence"] == 2
    assert await leads.value("SELECT open_leads FROM workloads WHERE person_id = '1'") == 1


@pytest.mark.capability(53, 116, 124)
async def test_sixteen_at_once_make_one_customer_with_one_owner(leads) -> None:
    """The same person on sixteen forms at the same moment, in two replicas: one record, one owner, told why."""
    await leads.people(*(Person(str(number), "某人") for number in range(5)))
    other = await leads.another()
    captured = await asyncio.gather(*((leads, other)[turn % 2].capture(FANG) for turn in range(16)))
    assert len({each.customer_id for [each] in captured}) == 1
    assert await leads.value("SELECT count(*) FROM customers") == 1
    assert len({each.owner_id for [each] in captured}) == 1
    first = [each for [each] in captured if each.duplicate_of is None]
    assert len(first) == 1
    assert {each.duplicate_of for [each] in captured} == {None, first[0].lead_id}
    rules = Counter(each.assignment.decision.rule_id for [each] in captured)
    assert rules == {"round-robin-sales": 1, "one-customer-one-owner": 15}


@pytest.mark.capability(53, 116)
async def test_phone_and_email_arriving_at_once_stay_one_customer(leads) -> None:
    """Each form knows another key of the customer: nobody gets a second owner."""
    await leads.people(*(Person(str(number), "某人") for number in range(5)))
    await leads.capture(replace(FANG, stage=Stage.LOST))
    other = await leads.another()
    forms = [LeadDraft("a", "官网", phone=FANG.phone), LeadDraft("b", "官网", email=FANG.email)]
    captured = await asyncio.gather(*((leads, other)[turn % 2].capture(forms[turn % 2]) for turn in range(12)))
    assert len({each.customer_id for [each] in captured}) == 1
    assert len({each.owner_id for [each] in captured}) == 1


@pytest.mark.capability(3, 126)
async def test_replicas_take_turns_in_one_rotation(leads) -> None:
    """Two replicas, eight requests at a time each: everybody gets the same number of leads, exactly."""
    await leads.people(*(Person(str(number), "某人") for number in range(10, 21)))
    other = await leads.another()
    gate = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        async with gate:
            await (leads, other)[number % 2].capture(somebody(number))

    await asyncio.gather(*(create(number) for number in range(110)))
    rows = await leads.rows("SELECT owner_id, count(*) FROM leads GROUP BY owner_id")
    assert {row["owner_id"]: row["count"] for row in rows} == {str(number): 10 for number in range(10, 21)}
    assert await leads.value("SELECT sum(open_leads) FROM workloads") == 110


@pytest.mark.capability(118)
async def test_nobody_gets_more_than_their_limit_under_any_concurrency(leads) -> None:
    """The fourth lead of somebody who may hold three goes to the duty desk."""
    await leads.people(Person("1", "甲", open_leads_max=3), Person("2", "乙", open_leads_max=4))
    other = await leads.another()
    await asyncio.gather(*((leads, other)[number % 2].capture(somebody(number)) for number in range(20)))
    rows = await leads.rows("SELECT owner_id, count(*) FROM leads GROUP BY owner_id")
    assert {row["owner_id"]: row["count"] for row in rows} == {"1": 3, "2": 4, DUTY_DESK: 13}


async def test_a_batch_needs_as_many_statements_as_a_single_lead(leads, monkeypatch) -> None:
    """Set-based: 200 leads cost as many round trips as two."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    asked = 0
    run = Reader._run

    async def counting(self, statement):
        nonlocal asked
        asked += 1
        return await run(self, statement)

    monkeypatch.setattr(Reader, "_run", counting)
    counts = []
    for number, size in enumerate((1, 2, 200)):
        asked = 0
        await leads.capture(*(somebody(1_000 * number + each, external_id=f"{number}-{each}") for each in range(size)))
        counts.append(asked)
    assert counts[1] == counts[2] <= counts[0] + 4


async def test_an_imported_lead_that_is_not_open_keeps_its_owner_and_starts_nothing(leads) -> None:
    """Converted, closed and lost leads: no decision, no timer, no load (domain.md, Open points)."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    drafts = [somebody(1, stage=Stage.CONVERTED, owner_id="2"), somebody(2, stage=Stage.LOST, owner_id="gone")]
    captured = await leads.capture(*drafts, import_id="i")
    assert [each.owner_id for each in captured] == ["2", None]
    assert await leads.value("SELECT count(*) FROM assignments") == 0
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 0
    assert await leads.value("SELECT sum(open_leads) FROM workloads") == 0
    assert [await leads.events(each.lead_id) for each in captured] == 2 * [[("LeadCaptured", 1)]]


async def test_an_imported_open_lead_keeps_an_owner_who_may_have_it(leads) -> None:
    """The rule says so, and the explanation says that it did."""
    await leads.people(Person("1", "甲"), Person("2", "乙", active=False))
    kept, anew = await leads.capture(somebody(1, owner_id="1"), somebody(2, owner_id="2"))
    assert (kept.owner_id, kept.assignment.decision.rule_id) == ("1", "keep-imported-owner")
    assert (anew.owner_id, anew.assignment.decision.rule_id) == ("1", "round-robin-sales")


@pytest.mark.capability(53, 70)
async def test_importing_again_merges_and_doubles_nothing(leads) -> None:
    """The same external id is the same lead: newer values win, blanks lose nothing, the owner stays."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    [first] = await leads.capture(somebody(1, external_id="zoho:lead:1", company="恒力", need="报价"))
    changed = somebody(1, external_id="zoho:lead:1", company="恒力机械", industry="制造业")
    [again] = await leads.capture(changed)
    assert (again.merged, again.lead_id, again.owner_id) == (True, first.lead_id, first.owner_id)
    lead = (await leads.rows("SELECT * FROM leads"))[0]
    assert (lead["company"], lead["need"], lead["industry"]) == ("恒力机械", "报价", "制造业")
    assert await leads.value("SELECT count(*) FROM assignments") == 1
    assert await leads.value("SELECT sum(open_leads) FROM workloads") == 1


async def test_two_imports_of_one_file_at_once_merge_too(leads) -> None:
    """Both wait for each other's keys; no lead is there twice and no chunk fails."""
    await leads.people(Person("1", "甲"))
    other = await leads.another()
    rows = [somebody(number, external_id=f"x:{number}") for number in range(50)]
    captured = await asyncio.gather(leads.capture(*rows), other.capture(*reversed(rows)))
    assert await leads.value("SELECT count(*) FROM leads") == 50
    assert sorted(sum(each.merged for each in chunk) for chunk in captured) == [0, 50]


async def test_a_row_that_is_twice_in_one_file_is_one_lead(leads) -> None:
    """The later row knows better, also when the lead is there already."""
    await leads.people(Person("1", "甲"))
    twice = [somebody(1, external_id="x:1", need="旧"), somebody(1, external_id="x:1", need="新")]
    for _ in range(2):
        await leads.capture(*twice)
    assert [row["need"] for row in await leads.rows("SELECT need FROM leads")] == ["新"]


async def test_a_lead_the_source_has_ended_ends_here_too(leads) -> None:
    """Its timer stops, its owner is free of it, and consumers are told."""
    await leads.people(Person("1", "甲"))
    [first] = await leads.capture(somebody(1, external_id="x:1"))
    [again] = await leads.capture(somebody(1, external_id="x:1", stage=Stage.CONVERTED))
    assert again.stage is Stage.CONVERTED
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 0
    assert await leads.value("SELECT sum(open_leads) FROM workloads") == 0
    assert await leads.events(first.lead_id) == [("LeadCaptured", 1), ("LeadAssigned", 2), ("LeadStageChanged", 3)]


async def test_reassigning_routes_open_leads_anew(leads) -> None:
    """With `--reassign` an imported owner counts for nothing, and the history shows both decisions."""
    await leads.people(Person("1", "甲", weight=0), Person("2", "乙"))
    [first] = await leads.capture(somebody(1, external_id="x:1", owner_id="1"))
    [again] = await leads.capture(somebody(1, external_id="x:1", owner_id="1"), reassign=True)
    assert (first.owner_id, again.owner_id) == ("1", "2")
    assert await leads.value("SELECT count(*) FROM assignments") == 2
    loads = await leads.rows("SELECT person_id FROM workloads WHERE open_leads > 0")
    assert [row["person_id"] for row in loads] == ["2"]
    assert (await leads.events(first.lead_id))[-1] == ("LeadAssigned", 3)


@pytest.mark.capability(116)
@pytest.mark.parametrize("order", [(1, 2), (2, 1), (1,)])
async def test_reassigning_leaves_a_customer_one_owner(leads, order) -> None:
    """Of somebody with several open leads none goes away alone, whichever the file names, and in whichever order."""
    await leads.people(Person("1", "甲", weight=0), Person("2", "乙"))
    drafts = {each: replace(somebody(1, external_id=f"x:{each}"), owner_id="1") for each in (1, 2)}
    await leads.capture(*drafts.values())
    await leads.capture(*(drafts[each] for each in order), reassign=True)
    owners = await leads.rows("SELECT owner_id FROM leads UNION SELECT owner_id FROM customers")
    assert [row["owner_id"] for row in owners] == ["1"]


async def test_a_change_that_was_rolled_back_is_not_remembered(leads) -> None:
    """A process that looked inside the failed transaction reads again when another change comes."""
    await leads.people(Person("1", "甲"))
    with pytest.raises(RuntimeError, match="rolled back"):
        async with leads.database.transaction() as tx:
            await upsert_people(tx, [Person("2", "幽灵")])
            assert "2" in (await leads.snapshots.current(tx)).directory.people
            raise RuntimeError("rolled back")
    await leads.people(Person("3", "丙", weight=0))
    [captured] = await leads.capture(somebody(1))
    assert {each.person_id for each in captured.assignment.decision.candidates} >= {"1", "3"}
    assert captured.owner_id == "1"


@pytest.mark.capability(40)
async def test_a_change_of_the_organisation_is_in_force_for_the_next_lead(leads) -> None:
    """Also in a replica that did not make the change."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    other = await leads.another()
    await other.capture(somebody(1))
    await leads.people(Person("1", "甲", on_duty=False))
    captured = [(await other.capture(somebody(number)))[0].owner_id for number in range(2, 6)]
    assert set(captured) == {"2"}


async def test_people_change_once_however_often_they_are_imported(leads) -> None:
    """PersonChanged tells of changes only; unknown teams are made."""
    await leads.people(Person("1", "甲", team_id="大客户部", regions=("华东",)))
    await leads.people(Person("1", "甲", team_id="大客户部", regions=("华东",)))
    await leads.people(Person("1", "甲", team_id="大客户部", regions=("华东", "华南")))
    assert await leads.events("1") == [("PersonChanged", 1), ("PersonChanged", 2)]
    assert await leads.value("SELECT count(*) FROM teams WHERE id = '大客户部'") == 1


@pytest.mark.capability(53, 54)
async def test_a_lead_that_comes_again_keeps_the_details_it_had(leads) -> None:
    """What the newer row says wins, what it leaves out stays."""
    known = somebody(1, external_id="crm:1", details={"product": "注塑机", "budget_owner": "生产部"})
    await leads.capture(known)
    [again] = await leads.capture(replace(known, details={"product": "压铸机"}), import_id="i")
    assert again.merged
    details = await leads.value("SELECT details::text FROM leads")
    assert orjson.loads(details) == {"product": "压铸机", "budget_owner": "生产部"}
