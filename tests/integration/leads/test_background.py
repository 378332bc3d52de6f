"""What leads does by itself: timers that come due (5), and leads that wait for somebody (125)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1 import events_pb2
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import DUTY_DESK, Person
from services.leads.organisation.store import SNAPSHOT_TOPIC
from services.leads.routing.rerouting import reroute_waiting_leads
from services.leads.routing.usecases import put_rules
from services.leads.routing.worker import RerouteWorker
from services.leads.sla.usecases import TRANSFER_RULE, fire_due_timers
from services.leads.sla.worker import TimerWorker

MONDAY = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
"""When the clock of `leads` begins: 10:00 in Shanghai."""


def drafts(count: int) -> list[LeadDraft]:
    return [LeadDraft(f"客户{number}", "官网", phone=f"+86139{number:08d}") for number in range(count)]


async def team(leads) -> None:
    await leads.people(Person("1", "甲"), Person("boss", "主管", weight=0))
    await leads.admin.execute("UPDATE teams SET supervisor_id = 'boss' WHERE id = 'sales'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")


async def fire(replica, limit: int = 100) -> int:
    return len(await fire_due_timers(replica.begin_timers, now=replica.clock.now(), limit=limit))


@pytest.mark.capability(5, 117)
async def test_an_unclaimed_lead_is_reminded_and_then_goes_to_the_supervisor(leads) -> None:
    """Stage 1 after 15 minutes, stage 2 after 2 hours of business time, a reminder before each; all are told once."""
    await team(leads)
    [captured] = await leads.capture(*drafts(1))
    for minute in (10, 15, 90, 120):
        await leads.clock.advance(minute * 60 - 1 - (leads.clock.now() - MONDAY).total_seconds())
        assert await fire(leads) == 0, f"before minute {minute}"
        await leads.clock.advance(1)
        assert await fire(leads) == 1, f"in minute {minute}"
    assert (await leads.events(captured.lead_id))[2:] == [
        ("LeadDueSoon", 3),
        ("LeadOverdue", 4),
        ("LeadDueSoon", 5),
        ("LeadOverdue", 6),
        ("LeadAssigned", 7),
    ]
    lead = (await leads.rows("SELECT owner_id, sequence FROM leads"))[0]
    assert (lead["owner_id"], lead["sequence"]) == ("boss", 7)
    assert await leads.value("SELECT owner_id FROM customers") == "boss"
    loads = {row["person_id"]: row["open_leads"] for row in await leads.rows("SELECT * FROM workloads")}
    assert (loads["1"], loads["boss"]) == (0, 1)
    last = (await leads.rows("SELECT rule_id, reason FROM assignments ORDER BY id"))[-1]
    assert (last["rule_id"], "甲" in last["reason"]) == (TRANSFER_RULE, True)
    await leads.clock.advance(30 * 24 * 3600)
    assert await fire(leads) == 0


@pytest.mark.capability(5)
async def test_what_is_told_of_a_timer_names_the_lead(leads) -> None:
    """Reminders and passed limits of both stages say of whom and of which company: a message needs no look-up."""
    await team(leads)
    await leads.capture(LeadDraft("王小明", "官网", phone="+8613900000001", company="华东精密"))
    for minutes in (10, 5, 75, 30):
        await leads.clock.advance(minutes * 60)
        await fire(leads)
    rows = await leads.rows(
        "SELECT type, payload FROM outbox WHERE type LIKE '%LeadOverdue' OR type LIKE '%LeadDueSoon' ORDER BY position"
    )
    told = [getattr(events_pb2, row["type"].rpartition(".")[2]).FromString(row["payload"]) for row in rows]
    assert [(each.stage, each.lead_name, each.company) for each in told] == [
        (stage, "王小明", "华东精密") for stage in (1, 1, 2, 2)
    ]


@pytest.mark.capability(5)
async def test_two_workers_fire_each_timer_once(leads) -> None:
    """Whichever takes it; none is lost and none is told twice."""
    await team(leads)
    await leads.capture(*drafts(150))
    await leads.clock.advance(3600)
    other = await leads.another()

    async def work(replica) -> int:
        fired = 0
        while count := await fire(replica, limit=20):
            fired += count
        return fired

    counts = await asyncio.gather(*(work(replica) for replica in (leads, other, leads, other)))
    # A worker that found all due timers locked stops early; the last look takes what is left.
    assert sum(counts) + await fire(leads, limit=150) == 150
    told = await leads.rows("SELECT subject_id FROM outbox WHERE type LIKE '%LeadOverdue'")
    assert len(told) == len({row["subject_id"] for row in told}) == 150


@pytest.mark.capability(116)
async def test_a_customer_goes_to_the_supervisor_with_all_its_leads(leads) -> None:
    """The lead that was claimed, too: one customer, one owner, whose events are numbered without gaps."""
    await team(leads)
    [first] = await leads.capture(*drafts(1))
    await leads.clock.advance(110 * 60)
    [second] = await leads.capture(*drafts(1))
    await fire(leads)
    await leads.clock.advance(20 * 60)
    await fire(leads)
    rows = await leads.rows("SELECT owner_id, sequence FROM leads ORDER BY id")
    assert [tuple(row) for row in rows] == [("boss", 5), ("boss", 4)]
    for captured in (first, second):
        assert [number for _, number in await leads.events(captured.lead_id)] == list(range(1, 6))[
            : 5 if captured is first else 4
        ]
    assert await leads.value("SELECT open_leads FROM workloads WHERE person_id = 'boss'") == 2


@pytest.mark.capability(5)
async def test_a_lead_goes_past_supervisors_who_cannot_take_it(leads) -> None:
    """Up to the first who can; an organisation that goes in circles ends the search."""
    await leads.people(
        Person("1", "甲", supervisor_id="gone"),
        Person("gone", "已离职", supervisor_id="2", active=False, weight=0),
        Person("2", "无权限", supervisor_id="head", may_follow_up=False, weight=0),
        Person("head", "总监", supervisor_id="1", weight=0),
        Person("sales-supervisor", "销售主管", active=False, weight=0),
    )
    [captured] = await leads.capture(*drafts(1))
    await leads.clock.advance(2 * 3600)
    assert (await fire(leads), await fire(leads)) == (1, 1)
    assert await leads.value("SELECT owner_id FROM leads") == "head"
    assert (await leads.events(captured.lead_id))[-1][0] == "LeadAssigned"


@pytest.mark.capability(5, 125)
async def test_a_lead_of_somebody_nobody_knows_goes_to_who_is_there(leads) -> None:
    """First to the supervisor of the first team, and when they are gone to the duty desk; never to nobody."""
    await leads.people(Person("1", "甲"))
    await leads.capture(*drafts(2))
    await leads.admin.execute("UPDATE leads SET owner_id = 'in-no-directory' WHERE name = '客户0'")
    await leads.clock.advance(2 * 3600)
    while await fire(leads, limit=1):
        pass
    assert await leads.value("SELECT count(*) FROM leads WHERE owner_id = 'sales-supervisor'") == 2
    await leads.people(Person("sales-supervisor", "销售主管", active=False, weight=0), Person("1", "甲", active=False))
    [captured] = await leads.capture(LeadDraft("客户9", "官网", phone="+8613900000009"))
    await leads.admin.execute("UPDATE leads SET owner_id = 'in-no-directory' WHERE id = $1", captured.lead_id)
    await leads.clock.advance(2 * 3600)
    while await fire(leads, limit=1):
        pass
    assert await leads.value("SELECT owner_id FROM leads WHERE id = $1", captured.lead_id) == DUTY_DESK


@pytest.mark.capability(5, 127)
async def test_a_reminder_that_would_come_too_late_is_left_out(leads) -> None:
    """After an outage the limit is told, and not that it will pass."""
    await team(leads)
    [captured] = await leads.capture(*drafts(1))
    await leads.clock.advance(20 * 60)
    assert await fire(leads) == 1
    assert [event for event, _ in await leads.events(captured.lead_id)][2:] == ["LeadOverdue"]


async def test_a_timer_whose_supervisor_is_gone_still_tells(leads) -> None:
    """The owner keeps the lead, the event names no supervisor, and it ends there."""
    await leads.people(Person("1", "甲"), Person("sales-supervisor", "销售主管", active=False))
    [captured] = await leads.capture(*drafts(1))
    for _ in range(2):
        await leads.clock.advance(2 * 3600)
        assert await fire(leads) == 1
    assert await leads.value("SELECT owner_id FROM leads") == "1"
    assert [event for event, _ in await leads.events(captured.lead_id)].count("LeadOverdue") == 2
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 0


@pytest.mark.capability(5, 116)
async def test_claims_and_timers_at_the_same_moment_never_wait_for_each_other(leads) -> None:
    """Captures, claims and timers of the same customers at once: no deadlock, and every lead keeps one owner."""
    await team(leads)
    captured = await leads.capture(*drafts(30))
    await leads.clock.advance(4 * 3600)
    other = await leads.another()

    async def claims() -> None:
        for each in captured:
            async with leads.begin_work() as store:
                await store.lock_lead(each.lead_id, None)

    async def captures() -> None:
        for draft in drafts(30):
            await other.capture(draft)

    async def timers() -> None:
        while await fire(leads, limit=7):
            pass

    await asyncio.gather(claims(), captures(), timers(), timers())
    await timers()
    split = await leads.rows("SELECT customer_id FROM leads GROUP BY customer_id HAVING count(DISTINCT owner_id) > 1")
    assert split == []
    assert await leads.value("SELECT count(*) FROM leads WHERE owner_id = 'boss'") >= 30
    loads = await leads.rows("SELECT person_id, open_leads FROM workloads WHERE open_leads > 0")
    counted = await leads.rows("SELECT owner_id, count(*) FROM leads GROUP BY owner_id")
    assert {tuple(row) for row in loads} == {tuple(row) for row in counted}


@pytest.mark.capability(125, 126)
async def test_leads_of_the_duty_desk_go_to_people_when_there_are_some(leads) -> None:
    """A fresh platform's first leads are not forgotten: who arrives gets them, with the reason."""
    await leads.capture(*drafts(6))
    assert await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100) == 0
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    assert await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100) == 6
    rows = await leads.rows("SELECT owner_id, count(*) FROM leads GROUP BY owner_id ORDER BY 1")
    assert [tuple(row) for row in rows] == [("1", 3), ("2", 3)]
    loads = {row["person_id"]: row["open_leads"] for row in await leads.rows("SELECT * FROM workloads")}
    assert (loads["1"], loads["2"], loads[DUTY_DESK]) == (3, 3, 0)
    assert await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100) == 0


@pytest.mark.capability(116, 125)
async def test_leads_of_somebody_who_leaves_go_on_to_others(leads) -> None:
    """Their customers too; two leads of one customer go to the same person."""
    await leads.people(Person("1", "甲"))
    await leads.capture(*drafts(4), *drafts(4))
    await leads.people(Person("2", "乙"), Person("3", "丙"), Person("1", "甲", active=False))
    assert await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=3) == 3
    assert await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100) == 5
    owners = await leads.rows("SELECT DISTINCT customer_id, owner_id FROM leads")
    assert len(owners) == 4
    assert {row["owner_id"] for row in owners} == {"2", "3"}
    mismatched = await leads.value(
        "SELECT count(*) FROM leads JOIN customers c ON c.id = customer_id WHERE c.owner_id <> leads.owner_id"
    )
    assert mismatched == 0


@pytest.mark.capability(116)
async def test_a_waiting_lead_follows_its_customer_to_their_first_owner(leads) -> None:
    """A second lead finds somebody by a rule the first one does not meet: the first does not stay with the duty desk."""
    await leads.people(Person("1", "甲", team_id="north", skills=("注塑",)))
    skill = {"when": [{"field": "industry", "op": "eq", "value": "注塑"}], "target": {"kind": "skill", "skill": "注塑"}}
    desk = {"id": "desk", "target": {"kind": "duty_desk", "person_id": DUTY_DESK}}
    rules = {"rules": [{"id": "skill", **skill}, desk]}
    await put_rules(leads.begin_rules, Actor("m", Role.MANAGER, Scope.ALL), rules, 0, now=leads.clock.now())
    [first] = await leads.capture(*drafts(1))
    [second] = await leads.capture(replace(drafts(1)[0], industry="注塑"))
    assert (first.owner_id, second.owner_id) == (DUTY_DESK, "1")
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)
    assert await leads.value("SELECT owner_id FROM leads WHERE id = $1", first.lead_id) == "1"


@pytest.mark.capability(93)
async def test_the_most_promising_goes_first_before_older_ones_of_a_leaver(leads) -> None:
    """Where one lead is taken at a time, a waiting P0 comes before what somebody who left had."""
    await leads.people(Person("1", "甲"))
    [older] = await leads.capture(*drafts(1))
    await leads.people(Person("1", "甲", active=False))
    best = LeadDraft("王芳", "展会", phone="13812345678", region="华东", industry="制造业", budget=Decimal(600_000))
    [waiting] = await leads.capture(best)
    assert (waiting.owner_id, waiting.assignment.decision.priority) == (DUTY_DESK, "P0")
    await leads.people(Person("2", "乙"))
    owners = []
    for _ in range(2):
        await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=1)
        owners.append(
            [await leads.value("SELECT owner_id FROM leads WHERE id = $1", each.lead_id) for each in (waiting, older)]
        )
    assert owners == [["2", "1"], ["2", "2"]]


async def test_a_lead_that_loses_its_owner_to_nobody_has_no_timer(leads) -> None:
    """Without even a duty desk there is nobody to remind; the lead waits until somebody can have it."""
    await leads.people(Person("1", "甲"))
    await leads.capture(*drafts(1))
    await leads.people(Person("1", "甲", active=False), Person(DUTY_DESK, "值班席", weight=0, active=False))
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=10)
    assert await leads.value("SELECT owner_id IS NULL AND waiting FROM leads")
    await leads.clock.advance(24 * 3600)
    assert await fire(leads) == 0
    await leads.people(Person("2", "乙"))
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=10)
    assert await leads.value("SELECT owner_id FROM leads") == "2"
    assert await leads.value("SELECT count(*) FROM first_touch_timers") == 1


async def test_the_workers_work_by_themselves(leads, eventually) -> None:
    """The timer worker looks every second, the reroute worker when it is told of a change."""
    await leads.capture(*drafts(2))
    clock = VirtualClock(leads.clock.now() + timedelta(minutes=20))
    rerouting = RerouteWorker(leads.begin_rerouting, clock, poll_s=1e6, batch_size_max=10)
    leads.database.listen(SNAPSHOT_TOPIC, rerouting.wake)
    timers = TimerWorker(
        "first-touch", partial(fire_due_timers, leads.begin_timers), clock, poll_s=1.0, batch_size_max=1
    )
    tasks = [asyncio.create_task(worker.run()) for worker in (rerouting, timers)]

    async def reminded() -> bool:
        return await leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%LeadOverdue'") == 2

    async def rerouted() -> bool:
        return await leads.value("SELECT count(*) FROM leads WHERE owner_id = '1'") == 2

    await eventually(reminded)
    await leads.people(Person("1", "甲"))
    await eventually(rerouted)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
