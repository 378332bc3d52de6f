"""The chain of a person's channels: the first that takes a message has it, whatever the others do."""

import asyncio
import json
from datetime import time, timedelta

import pytest

from breakwater.leads.v1.events_pb2 import BoardReady
from services.notify.channels.domain import Preferences
from services.notify.clients import SEND_S_MAX
from services.notify.delivery.domain import OutgoingState, Severity
from services.notify.delivery.usecases import Recipient
from services.notify.escalation.domain import Outcome, Verdict
from tests.support.http_robot import Says
from tests.support.notifying import ROOT_ACTOR, SHANGHAI, attempts

SENT, WAITING, ENDED, UNKNOWN = (
    OutgoingState.SENT,
    OutgoingState.WAITING,
    OutgoingState.ENDED,
    OutgoingState.UNKNOWN,
)


@pytest.mark.capability(5, 119)
async def test_the_first_channel_that_takes_it_has_it(notifying):
    """One message on one channel, which mentions the person and says the words; the attempt shows in the inbox."""
    notify = await notifying()
    await notify.person("anna", "wecom", "dingtalk", email="anna@example.com")
    await notify.say("anna", "k1")
    assert await notify.turn() == 1
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("wecom", "delivered")]
    assert notification.outgoing.state is SENT
    [heard] = notify.stubs["wecom"].taken
    text = json.loads(heard.body)["text"]
    assert text["mentioned_list"] == ["anna"]
    assert "新线索 k1" in text["content"]
    assert not notify.stubs["dingtalk"].heard
    assert not notify.postbox.taken


@pytest.mark.capability(117)
@pytest.mark.parametrize("code", [93000, -1, 45009, 987_654])
async def test_a_channel_that_answers_200_with_an_error_is_failed_over(notifying, code):
    """Nothing but errcode 0 is a success; the next channel has it at once, in no time of the clock."""
    notify = await notifying()
    await notify.person("anna", "wecom", "feishu")
    notify.stubs["wecom"].begin(code)
    await notify.say("anna", "k1")
    await notify.turn()
    [notification] = await notify.seen("anna")
    first = "unknown" if code == 987_654 else "failed"
    assert attempts(notification) == [("wecom", first), ("feishu", "delivered")]
    said = json.loads(notify.stubs["feishu"].taken[0].body)["content"]["text"]
    assert ("【可能重复】" in said) is (code == 987_654)


@pytest.mark.capability(5)
async def test_a_robot_that_is_down_or_slow_costs_no_more_than_the_time_of_a_try(notifying):
    """No connection, then no answer within the time of a try, which is 5 s at most: mail has it in the same round."""
    notify = await notifying(timeout_s=1.0)
    await notify.person("anna", "wecom", "feishu", email="anna@example.com")
    for stub in notify.stubs.values():
        stub.server.answer = lambda _: asyncio.Event().wait()
    notify.stubs["wecom"].server.close()
    await notify.say("anna", "k1")
    before = notify.clock.now()
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("wecom", "failed"), ("feishu", "unknown"), ("email", "delivered")]
    assert notify.clock.now() == before, "nothing waits for a next round"
    assert SEND_S_MAX <= 5.0


async def test_an_answer_cut_short_is_unknown_and_marked_once(notifying):
    """The robot may have read it: it is sent once more, marked; after a second unknown it is left alone."""
    notify = await notifying()
    await notify.person("anna", "wecom")
    stub = notify.stubs["wecom"]
    stub.server.answer = lambda heard: (
        stub.heard.append(heard) or Says(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", closes=True)
    )
    await notify.say("anna", "k1")
    await notify.passes(3600, step_s=60)
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("wecom", "unknown"), ("wecom", "unknown")]
    assert notification.outgoing.state is UNKNOWN
    titles = [json.loads(heard.body)["text"]["content"].split("\n")[0] for heard in stub.heard]
    assert titles == ["新线索 k1", "【可能重复】新线索 k1"]


async def test_what_nobody_takes_ends_as_a_dead_letter_that_can_be_sent_again(notifying):
    """Rounds with growing pauses, an end, the supervisor told, a list of what ended, and a way back."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom", supervisor="chef")
    await notify.person("chef")
    notify.stubs["wecom"].begin(-1)
    notification = await notify.say("anna", "k1", severity=Severity.WARNING)
    await notify.passes(3600, step_s=30)
    [ended] = await notify.seen("anna", state="ended")
    assert attempts(ended) == [("wecom", "failed")] * notify.rules.rounds_max
    [told] = await notify.seen("chef")
    assert told.kind == "unreachable"
    assert "新线索 k1" in told.body
    notify.stubs["wecom"].begin()
    _, leaves = await notify.inboxes.resend(ROOT_ACTOR, notification.id, notify.clock.now())
    assert leaves
    await notify.turn()
    assert not await notify.seen("anna", state="ended")
    assert len(notify.stubs["wecom"].taken) == 1


@pytest.mark.capability(119)
async def test_somebody_unbound_is_a_finding_and_their_supervisor_hears(notifying):
    """No channel: the inbox has it, the supervisor is told on their own channel, findings name the person."""
    notify = await notifying()
    await notify.person("anna", supervisor="chef")
    await notify.person("chef", "wecom")
    await notify.say("anna", "k1", severity=Severity.WARNING)
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("none", "skipped")]
    assert notification.outgoing.state is ENDED
    [heard] = notify.stubs["wecom"].taken
    text = json.loads(heard.body)["text"]
    assert text["mentioned_list"] == ["chef"]
    assert "anna" in text["content"]
    assert [(each.kind, each.subject) for each in await notify.channels.findings("", 50)] == [("unbound", "anna")]


async def test_two_who_supervise_each_other_are_not_told_for_ever(notifying):
    """Both unbound: one message each way at most."""
    notify = await notifying()
    await notify.person("anna", supervisor="bo")
    await notify.person("bo", supervisor="anna")
    await notify.say("anna", "k1", severity=Severity.CRITICAL)
    assert await notify.passes(5) == 0
    assert len(await notify.seen("bo")) == 1
    assert len(await notify.seen("anna")) == 1


@pytest.mark.capability(117, 119)
async def test_quiet_hours_and_switches_hold_back_all_but_what_is_critical(notifying):
    """At 09:00 within quiet hours until 09:30 a warning waits; what is critical goes over them and over a switch."""
    notify = await notifying()
    await notify.person("anna", "wecom", "dingtalk")
    wish = Preferences(quiet_from=time(22), quiet_to=time(9, 30), muted=frozenset({"wecom"}))
    await notify.channels.prefer("anna", wish)
    await notify.say("anna", "k1", severity=Severity.WARNING)
    await notify.say("anna", "k2", severity=Severity.CRITICAL)
    await notify.turn()
    first, second = reversed(await notify.seen("anna"))
    assert (attempts(first), attempts(second)) == ([], [("wecom", "delivered")])
    assert first.outgoing.due_at == notify.clock.now() + timedelta(minutes=30)
    await notify.passes(1800, step_s=600)
    assert attempts((await notify.seen("anna"))[-1]) == [("dingtalk", "delivered")]


async def test_the_order_of_a_person_is_kept(notifying):
    """Mail first for somebody who says so; the rest follows in its usual order."""
    notify = await notifying()
    await notify.person("anna", "wecom", "feishu", email="anna@example.com")
    await notify.channels.prefer("anna", Preferences(order=("email", "feishu")))
    notify.postbox.to_recipient = lambda _: "450 later"
    await notify.say("anna", "k1")
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("email", "failed"), ("feishu", "delivered")]


@pytest.mark.parametrize(
    ("said", "state", "left"),
    [
        ("450 mailbox busy", "failed", WAITING),
        ("451 local error", "failed", WAITING),
        ("550 no such user", "failed", ENDED),
    ],
)
async def test_mail_is_tried_again_after_a_4xx_and_given_up_after_a_5xx(notifying, said, state, left):
    """What the server says decides, not that it took the connection."""
    notify = await notifying(providers=())
    await notify.person("anna", email="anna@example.com")
    notify.postbox.to_recipient = lambda _: said
    await notify.say("anna", "k1")
    await notify.turn()
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("email", state)]
    assert notification.outgoing.state is left


async def test_one_full_mailbox_keeps_nobody_else_from_mail(notifying):
    """A 450 for one recipient says nothing of the server: the next person's mail leaves at once."""
    notify = await notifying(providers=())
    for person in ("anna", "bo"):
        await notify.person(person, email=f"{person}@example.com")
    notify.postbox.to_recipient = lambda address: "450 mailbox busy" if "anna" in address else None
    await notify.say("anna", "k1")
    await notify.turn()
    await notify.say("bo", "k2")
    await notify.turn()
    assert notify.postbox.addresses() == ["bo@example.com"]


async def test_a_broken_robot_is_left_alone_and_shows_as_a_finding(notifying):
    """A refused key is asked once for everybody, found, and forgotten once the robot speaks again."""
    notify = await notifying()
    notify.stubs["wecom"].begin(93000)
    for person in ("anna", "bo"):
        await notify.person(person, "wecom", "dingtalk")
        await notify.say(person, person)
        await notify.turn()
    assert len(notify.stubs["wecom"].heard) == 1
    assert len(notify.stubs["dingtalk"].taken) == 2
    [finding] = [each for each in await notify.channels.findings("", 50) if each.kind == "robot"]
    assert finding.subject == "wecom:default"
    notify.stubs["wecom"].begin()
    await notify.clock.advance(notify.rules.closed.total_seconds())
    await notify.say("anna", "again")
    await notify.turn()
    assert len(notify.stubs["wecom"].taken) == 1
    assert not [each for each in await notify.channels.findings("", 50) if each.kind == "robot"]


async def test_a_person_reads_their_own_language(notifying):
    """English for who wishes it, a digest included."""
    notify = await notifying()
    await notify.person("anna", "wecom")
    await notify.channels.prefer("anna", Preferences(language="en"))
    for key in ("k1", "k2"):
        await notify.say("anna", key)
    await notify.turn()
    [heard] = notify.stubs["wecom"].taken
    assert json.loads(heard.body)["text"]["content"].startswith("2 new messages\n1. 新线索 k1")


async def test_whoever_has_left_is_told_nothing_outside_and_their_supervisor_hears(notifying):
    """Customers' names do not go to a former colleague's phone: the inbox has it, who is above them knows."""
    notify = await notifying()
    await notify.person("anna", "wecom", supervisor="chef", email="anna@example.com")
    await notify.person("chef", "dingtalk")
    await notify.learn(Recipient("anna", "anna", "t1", "chef", active=False, email="anna@example.com"), 2)
    await notify.say("anna", "k1", severity=Severity.CRITICAL)
    await notify.turn()
    assert not notify.stubs["wecom"].heard
    assert not notify.postbox.taken
    assert [each.kind for each in await notify.seen("chef", subject="person:anna")] == ["unreachable"]
    [notification] = await notify.seen("anna")
    assert (attempts(notification), notification.outgoing.state) == ([("none", "skipped")], ENDED)


async def test_an_address_of_the_directory_that_is_none_is_no_channel(notifying):
    """What could end a header, or is no address at all, is left out, so that the person shows as unreachable."""
    notify = await notifying(providers=())
    await notify.person("anna", email="anna@example.com\r\nBcc: all@example.com")
    await notify.say("anna", "k1")
    await notify.turn()
    assert attempts((await notify.seen("anna"))[0]) == [("none", "skipped")]
    assert not notify.postbox.taken


@pytest.mark.capability(117)
async def test_an_alarm_does_not_wait_behind_a_channel_that_hangs(notifying, eventually):
    """Everything one replica may have in flight hangs at one provider: what is critical leaves by another one meanwhile."""
    notify = await notifying(providers=())
    await notify.crowd(10, "wecom")
    await notify.person("chef", email="chef@example.com")
    goes_on, hanging = asyncio.Event(), []
    by_mail = notify.ways().send

    async def send(parcel):
        if parcel.binding.channel == "email":
            return await by_mail(parcel)
        hanging.append(parcel)
        await goes_on.wait()
        return Verdict(Outcome.DELIVERED)

    replica = notify.replica(notify.databases[0], send=send, in_flight_max=4)
    running = asyncio.create_task(replica.run())
    await eventually(lambda: len(hanging) == 4)
    await notify.say("chef", "alarm", severity=Severity.CRITICAL)
    await eventually(lambda: notify.postbox.taken)
    assert len(hanging) == 4
    goes_on.set()
    await eventually(lambda: len(hanging) == 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_comes_by_a_timetable_stays_away_from_feishu_at_full_and_half_hours(notifying):
    """The board of the morning and what quiet hours held leave a minute later; what is new, or elsewhere, does not wait."""
    notify = await notifying()
    for person, channel in (("anna", "feishu"), ("bo", "wecom")):
        await notify.person(person, channel)
        await notify.channels.prefer(person, Preferences(quiet_from=time(22), quiet_to=time(9, 30)))
        await notify.say(person, f"{person}-night")
    await notify.turn()
    await notify.clock.advance(1800)
    for person in ("anna", "bo"):
        await notify.tell(notify.events.board_ready, board("b", person))
    await notify.passes(59)
    assert (len(notify.stubs["feishu"].heard), len(notify.stubs["wecom"].taken)) == (0, 1)
    await notify.passes(1)
    [heard] = notify.stubs["feishu"].taken
    assert "您有 2 条新提醒" in heard.body.decode()
    await notify.clock.advance(1740)
    assert f"{notify.clock.now().astimezone(SHANGHAI):%H:%M:%S}" == "10:00:00"
    await notify.tell(notify.events.board_ready, board("c", "anna"))
    await notify.say("anna", "new")
    await notify.turn()
    assert len(notify.stubs["feishu"].taken) == 2


def board(name, person):
    """The morning's board for somebody."""
    return BoardReady(board=name, day="2026-03-02", recipient_id=person, title="线索时效看板", body="平均响应 12 分钟")
