"""What notify makes of the events of leads: who hears, how loud, and what stays to be done."""

import json
from datetime import time, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis.errors import ConflictError, NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import BoardReady, FormAlerted, LeadDueSoon, LeadOverdue, LeadSilent
from services.notify.channels.domain import Preferences
from services.notify.workorders.store import WorkOrderStore
from services.notify.workorders.usecases import WorkOrderDesk
from tests.support.notifying import ROOT_ACTOR, START, attempts

CHEF = Actor("chef", Role.MANAGER, Scope.OWN)


def at(moment):
    """A moment as events have it."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def events_of(rows):
    """Types of the events in an outbox, without their package."""
    return [row["type"].rpartition(".")[2] for row in rows]


@pytest.mark.capability(117, 136)
async def test_a_silent_lead_alarms_over_every_switch(notifying):
    """24 h without a follow-up: owner and supervisor hear at once, whatever they switched off, and once more when told again."""
    notify = await notifying()
    nobody = Preferences(
        quiet_from=time(0), quiet_to=time(23, 59), muted=frozenset({"wecom", "dingtalk", "feishu", "email"})
    )
    for person in ("anna", "chef"):
        await notify.person(person, "wecom", name="李明")
        await notify.channels.prefer(person, nobody)
    silent = LeadSilent(
        lead_id="l1",
        owner_id="anna",
        supervisor_id="chef",
        assigned_at=at(START),
        lead_name="王芳",
        company="海天机械",
        times=1,
    )
    await notify.tell(notify.events.lead_silent, silent, silent)
    await notify.turn()
    told = [json.loads(heard.body)["text"] for heard in notify.stubs["wecom"].taken]
    assert {text["mentioned_list"][0] for text in told} == {"anna", "chef"}
    assert all("【24小时未跟进】海天机械 王芳" in text["content"] for text in told)
    assert all("分配给 李明" in text["content"] for text in told)
    silent.times = 2
    await notify.tell(notify.events.lead_silent, silent)
    assert len(await notify.seen("anna", kind="lead_silent")) == 2


@pytest.mark.capability(117, 119)
async def test_a_silent_lead_of_somebody_unbound_reaches_the_supervisor(notifying):
    """No binding at all: the alarm is in the inbox, and the supervisor has it and knows whom it did not reach."""
    notify = await notifying()
    await notify.person("anna", supervisor="chef")
    await notify.person("chef", "dingtalk")
    await notify.tell(
        notify.events.lead_silent,
        LeadSilent(
            lead_id="l1", owner_id="anna", supervisor_id="chef", assigned_at=at(START), lead_name="王芳", times=1
        ),
    )
    await notify.turn()
    assert {each.kind for each in await notify.seen("chef")} == {"lead_silent", "unreachable"}
    assert [each.kind for each in await notify.seen("anna")] == ["lead_silent"]
    assert len(notify.stubs["dingtalk"].taken) >= 1


@pytest.mark.capability(117)
async def test_a_silent_lead_that_concerns_nobody_stands_on_the_list_of_work(notifying):
    """No owner and nobody above: it is not dropped, those who see everybody find it among the work orders, once."""
    notify = await notifying(providers=())
    silent = LeadSilent(lead_id="l1", assigned_at=at(START), lead_name="王芳", company="海天机械", times=1)
    await notify.tell(notify.events.lead_silent, silent, silent)
    desk = WorkOrderDesk(WorkOrderStore(notify.databases[0]), notify.clock)
    [order] = (await desk.list(ROOT_ACTOR, "open", "", "lead:l1", 0, "")).items
    assert (order.kind, order.assignee_id, order.title) == ("lead_silent", "", "【24小时未跟进】海天机械 王芳")


@pytest.mark.capability(127)
async def test_the_owner_is_reminded_before_a_limit_passes(notifying):
    """Once for each stage and due time, with who it is and by when."""
    notify = await notifying()
    await notify.person("anna", "wecom")
    soon = LeadDueSoon(
        lead_id="l1", owner_id="anna", stage=1, due_at=at(START + timedelta(minutes=5)), lead_name="王芳"
    )
    await notify.tell(notify.events.lead_due_soon, soon, soon)
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert (notification.title, attempts(notification)) == ("线索即将超时：王芳", [("wecom", "delivered")])
    assert "03-02 09:05" in notification.body


@pytest.mark.capability(5)
async def test_the_first_stage_reaches_the_owner_in_app_and_by_their_robot(notifying):
    """Nobody has claimed it: the owner has one message in the inbox, and WeCom took it, with who it is and since when."""
    notify = await notifying()
    await notify.person("anna", "wecom")
    overdue = LeadOverdue(
        lead_id="l1",
        owner_id="anna",
        supervisor_id="chef",
        stage=1,
        due_at=at(START),
        lead_name="王芳",
        company="海天机械",
    )
    await notify.tell(notify.events.lead_overdue, overdue, overdue)
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("wecom", "delivered")]
    assert "海天机械 王芳" in notification.title
    [heard] = notify.stubs["wecom"].taken
    assert "海天机械 王芳" in heard.body.decode()
    assert "03-02 09:00" in heard.body.decode()


@pytest.mark.capability(5)
async def test_the_second_stage_opens_one_work_order_for_the_supervisor(notifying):
    """Stage 1 opens none; stage 2 told twice opens one, which the supervisor sees and closes once, saying how."""
    notify = await notifying()
    overdue = LeadOverdue(
        lead_id="l1",
        owner_id="anna",
        supervisor_id="chef",
        stage=1,
        due_at=at(START),
        lead_name="王芳",
        company="海天机械",
    )
    await notify.tell(notify.events.lead_overdue, overdue)
    desk = WorkOrderDesk(WorkOrderStore(notify.databases[0]), notify.clock)
    assert not (await desk.list(ROOT_ACTOR, "", "", "", 0, "")).items
    overdue.stage = 2
    await notify.tell(notify.events.lead_overdue, overdue, overdue)
    [order] = (await desk.list(CHEF, "open", "", "lead:l1", 0, "")).items
    assert (order.kind, order.assignee_id) == ("lead_overdue", "chef")
    assert order.title == "线索超时未跟进：海天机械 王芳"
    assert [each.title for each in await notify.seen("chef")] == ["线索超时升级 海天机械 王芳"]
    with pytest.raises(NotFoundError):
        await desk.close(Actor("anna", Role.SALES, Scope.OWN), order.id, "done")
    closed = await desk.close(CHEF, order.id, "已联系客户")
    assert (closed.closed_by, closed.resolution) == ("chef", "已联系客户")
    with pytest.raises(ConflictError):
        await desk.close(CHEF, order.id, "again")
    async with notify.databases[0].read() as reader:
        rows = await reader.fetch("SELECT type FROM outbox WHERE subject_id = $1 ORDER BY sequence", order.id)
    assert events_of(rows) == ["WorkOrderOpened", "WorkOrderClosed"]


@pytest.mark.capability(6, 101)
async def test_a_board_is_told_once_a_day(notifying):
    """Title and lines as they were made."""
    notify = await notifying()
    await notify.person("chef", "feishu")
    board = BoardReady(
        board="lead-timeliness", day="2026-03-02", recipient_id="chef", title="线索时效看板", body="平均响应 12 分钟"
    )
    await notify.clock.advance(60)
    await notify.tell(notify.events.board_ready, board, board)
    await notify.turn()
    [heard] = notify.stubs["feishu"].taken
    assert "线索时效看板\n平均响应 12 分钟" in json.loads(heard.body)["content"]["text"]


@pytest.mark.capability(69, 121)
async def test_a_forms_alert_reaches_whom_the_form_names(notifying):
    """With what the form calls it and what was filled in."""
    notify = await notifying()
    await notify.person("anna", "feishu")
    alert = FormAlerted(
        form="fair", lead_id="l1", recipient_id="anna", title="展会大客户", body="姓名：王芳，产品：压铸机"
    )
    await notify.tell(notify.events.form_alerted, alert)
    await notify.turn()
    [heard] = notify.stubs["feishu"].taken
    assert "展会大客户" in json.loads(heard.body)["content"]["text"]
    assert "产品：压铸机" in json.loads(heard.body)["content"]["text"]


@pytest.mark.capability(119)
async def test_bindings_are_told_in_order(notifying):
    """Bound, bound anew, removed: three events of the person, counted upwards."""
    notify = await notifying()
    await notify.person("anna", "wecom", "wecom")
    assert await notify.channels.unbind("anna", "wecom", notify.clock.now())
    assert not await notify.channels.unbind("anna", "wecom", notify.clock.now())
    async with notify.databases[0].read() as reader:
        rows = await reader.fetch("SELECT type, sequence FROM outbox WHERE subject_id = 'anna' ORDER BY position")
    assert events_of(rows) == ["BindingChanged"] * 3
    assert [row["sequence"] for row in rows] == [1, 2, 3]
