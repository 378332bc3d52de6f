"""The 24 h alarm (117): no lead that nobody followed up stays quiet, whoever has it and whatever is switched off."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import LeadSilent
from services.leads.followups.domain import FollowUp
from services.leads.followups.usecases import add_follow_up, change_stage, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import DUTY_DESK, Person
from services.leads.routing.rerouting import reroute_waiting_leads
from services.leads.sla.silence.domain import SilenceLimits
from services.leads.sla.silence.store import PostgresSilenceStore
from services.leads.sla.silence.usecases import tell_silences
from services.leads.sla.usecases import fire_due_timers
from services.leads.tagging.usecases import NewText, add_transcript

DAY_S = 24 * 3_600
EVERYBODY = Actor("ops", Role.SERVICE, Scope.ALL)
NO_KEY = Keyed("ops", "Test", "", b"")


def draft(number: int = 1, **fields: Any) -> LeadDraft:
    return LeadDraft(f"客户{number}", "官网", phone=f"+86139{number:08d}", **fields)


async def tell(replica: Any, limit: int = 1_000) -> int:
    begin = lambda: PostgresSilenceStore.begin(replica.database)  # noqa: E731 - as main has it
    return len(await tell_silences(begin, limits=SilenceLimits(), now=replica.clock.now(), limit=limit))


async def alarms(leads: Any) -> list[LeadSilent]:
    rows = await leads.rows("SELECT payload FROM outbox WHERE type LIKE '%LeadSilent' ORDER BY position")
    return [LeadSilent.FromString(row["payload"]) for row in rows]


async def follow_up(leads: Any, lead_id: str, actor: Actor = EVERYBODY) -> None:
    now = leads.clock.now()
    record = FollowUp(
        "确认",
        "贵",
        next_action="报价",
        next_action_due=now + timedelta(days=1),
        objection="价格",
        pain_tags=("成本高",),
    )
    await add_follow_up(leads.begin_work, NO_KEY, actor, lead_id, record, now=now, encode=lambda kept: kept.id.encode())


@pytest.mark.capability(117)
async def test_a_lead_nobody_followed_up_alarms_after_a_day(leads) -> None:
    """Not a second before, and with who has it, who is above, and since when."""
    await leads.people(Person("1", "甲"))
    given_at = leads.clock.now()
    [captured] = await leads.capture(draft(company="恒力"))
    await leads.clock.advance(DAY_S - 1)
    assert await tell(leads) == 0
    await leads.clock.advance(1)
    assert await tell(leads) == 1
    assert await tell(leads) == 0
    [alarm] = await alarms(leads)
    assert (alarm.lead_id, alarm.owner_id, alarm.supervisor_id) == (captured.lead_id, "1", "sales-supervisor")
    assert (alarm.lead_name, alarm.company, alarm.times) == ("客户1", "恒力", 1)
    assert alarm.assigned_at.ToDatetime(given_at.tzinfo) == given_at
    assert (await leads.events(captured.lead_id))[-1] == ("LeadSilent", 3)


@pytest.mark.capability(117)
async def test_the_fault_story_eighteen_percent_of_a_day_unnoticed(leads) -> None:
    """200 leads a day, 18 % of them with somebody without permission, channel or account: all that lie there alarm."""
    people = [
        *(Person(f"sound-{number}", "某人") for number in range(9)),
        Person("no-permission", "无权限"),
        Person("has-left", "已离职"),
        Person("unbound", "未绑定"),
    ]
    await leads.people(*people)
    captured = await leads.capture(*(draft(number) for number in range(200)))
    # What went wrong that day: the permission was taken, the person left, the account is in no directory at all, and
    # what would have reminded of it is switched off.
    await leads.admin.execute("UPDATE people SET may_follow_up = false WHERE id = 'no-permission'")
    await leads.admin.execute("UPDATE people SET active = false WHERE id = 'has-left'")
    await leads.admin.execute("UPDATE leads SET owner_id = 'in-no-directory' WHERE owner_id = 'unbound'")
    await leads.admin.execute("DELETE FROM first_touch_timers")
    troubled = await leads.value(
        "SELECT count(*) FROM leads WHERE owner_id IN ('no-permission', 'has-left', 'in-no-directory')"
    )
    assert troubled / 200 >= 0.18
    diligent = random.Random(117).sample([each for each in captured if (each.owner_id or "").startswith("sound")], 60)
    for each in diligent:
        await follow_up(leads, each.lead_id)
    await leads.clock.advance(DAY_S)
    assert await tell(leads) == 140
    told = await alarms(leads)
    assert {alarm.lead_id for alarm in told} == {each.lead_id for each in captured} - {e.lead_id for e in diligent}
    assert all(alarm.supervisor_id == "sales-supervisor" for alarm in told)


@pytest.mark.capability(117, 125)
async def test_leads_of_the_duty_desk_and_of_nobody_alarm_too(leads) -> None:
    """A lead is not the less silent for having no proper owner."""
    await leads.capture(draft(1))
    await leads.people(Person(DUTY_DESK, "值班席", weight=0, active=False))
    await leads.capture(draft(2))
    await leads.clock.advance(DAY_S)
    assert await tell(leads) == 2
    assert [alarm.owner_id for alarm in await alarms(leads)] == [DUTY_DESK, ""]


@pytest.mark.capability(117)
async def test_passing_a_lead_on_is_not_following_it_up(leads) -> None:
    """Claimed, handed to the supervisor, moved to another stage, given to somebody new: nobody spoke with the customer."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(draft())
    owner = Actor("1", Role.SALES, Scope.OWN)
    encode = lambda lead: lead.id.encode()  # noqa: E731 - what is answered does not matter here
    await claim_lead(leads.begin_work, NO_KEY, owner, captured.lead_id, now=leads.clock.now(), encode=encode)
    await change_stage(
        leads.begin_work, NO_KEY, owner, captured.lead_id, "contacted", "", now=leads.clock.now(), encode=encode
    )
    await leads.clock.advance(DAY_S - 60)
    await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=10)
    await leads.people(Person("2", "乙"), Person("1", "甲", active=False))
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=10)
    await leads.clock.advance(60)
    assert await tell(leads) == 1


@pytest.mark.capability(117)
@pytest.mark.parametrize("kind", ["call", "email", "chat"])
async def test_a_text_that_is_kept_is_not_following_up(leads, kind) -> None:
    """A call, a mail, a chat say what was said, and neither what comes next nor when: the lead alarms until a record does."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(draft())
    owner, given = Actor("1", Role.SALES, Scope.OWN), NewText(kind, "客户：报价发我看看", None)
    await add_transcript(
        leads.begin_transcripts, NO_KEY, owner, captured.lead_id, given, now=leads.clock.now(), encode=lambda *_: b""
    )
    await leads.clock.advance(DAY_S)
    assert await tell(leads) == 1
    await follow_up(leads, captured.lead_id, owner)
    await leads.clock.advance(DAY_S)
    assert await tell(leads) == 0


@pytest.mark.capability(117, 136)
async def test_a_silence_is_told_daily_for_a_week_and_then_weekly(leads) -> None:
    """Until somebody follows up; what fell into an outage is told once and not once a day."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(draft())
    told_on = []
    for day in range(1, 31):
        await leads.clock.advance(DAY_S)
        if day in {3, 4}:
            continue
        if await tell(leads):
            told_on.append(day)
        assert await tell(leads) == 0
    assert told_on == [1, 2, 5, 6, 7, 8, 9, 16, 23, 30]
    assert [alarm.times for alarm in await alarms(leads)] == list(range(1, 11))
    await follow_up(leads, captured.lead_id)
    await leads.clock.advance(14 * DAY_S)
    assert await tell(leads) == 0


@pytest.mark.capability(117)
async def test_a_lead_that_ends_is_silent_for_good(leads) -> None:
    """Lost, closed or converted: there is nothing to follow up."""
    await leads.people(Person("1", "甲"))
    [captured] = await leads.capture(draft())
    await change_stage(
        *(leads.begin_work, NO_KEY, EVERYBODY, captured.lead_id, "lost", "选了竞品"),
        now=leads.clock.now(),
        encode=lambda lead: lead.id.encode(),
    )
    await leads.clock.advance(DAY_S)
    assert await tell(leads) == 0


@pytest.mark.capability(117)
async def test_replicas_tell_each_silence_once(leads) -> None:
    """However many look at the same moment, and while somebody follows up."""
    await leads.people(Person("1", "甲"))
    captured = await leads.capture(*(draft(number) for number in range(120)))
    await leads.clock.advance(DAY_S)
    other = await leads.another()

    async def work(replica: Any) -> None:
        while await tell(replica, limit=20):
            pass

    async def follow_ups() -> None:
        for each in captured[:20]:
            await follow_up(leads, each.lead_id)

    await asyncio.gather(work(leads), work(other), work(leads), work(other), follow_ups())
    await work(leads)
    told = [alarm.lead_id for alarm in await alarms(leads)]
    assert len(told) == len(set(told))
    assert {each.lead_id for each in captured[20:]} <= set(told)
    assert await leads.value("SELECT count(*) FROM silences") == 100
