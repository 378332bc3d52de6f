"""Replicas that die at named points: nothing is lost, and at most one marked repeat leaves for each message in flight."""

import asyncio
import json
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from breakwater.chassis.database import Database
from breakwater.leads.v1.events_pb2 import ImportCompleted, LeadAssigned
from services.notify.channels.domain import Binding
from services.notify.channels.store import ChannelStore
from services.notify.delivery.domain import Message, OutgoingState
from services.notify.delivery.store import InboxStore, Posting
from services.notify.delivery.usecases import Query
from tests.support.notifying import ROOT_ACTOR, attempts, default_words, received
from tests.support.providers import stub_of


class KilledError(BaseException):
    """In place of a kill -9: nothing after it runs."""


def titles(stub):
    """The first line of each message a robot took."""
    return [json.loads(heard.body)["text"]["content"].split("\n")[0] for heard in stub.taken]


async def killed(notify, point):
    """A replica that dies at `point` of its first message."""

    def checkpoint(name):
        if name == point:
            raise KilledError

    replica = notify.replica(notify.databases[0], checkpoint=checkpoint)
    with suppress(KilledError):
        await replica.turn()
    for task in list(replica._sending):
        await asyncio.wait([task])
        if not task.cancelled():
            assert isinstance(task.exception(), KilledError | None)


@pytest.mark.parametrize(
    ("point", "arrived"),
    [("dispatcher:taken", ["【可能重复】新线索 k1"]), ("dispatcher:sent", ["新线索 k1", "【可能重复】新线索 k1"])],
)
async def test_a_replica_killed_with_a_message_in_flight(notifying, point, arrived):
    """Another one takes it for unknown when the lease ends, records that, and sends it once more, marked."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    await notify.say("anna", "k1")
    await killed(notify, point)
    assert await notify.turn() == 0, "the lease still holds"
    await notify.passes(120, step_s=10)
    assert titles(notify.stubs["wecom"]) == arrived
    [notification] = await notify.seen("anna")
    assert attempts(notification) == [("wecom", "unknown"), ("wecom", "delivered")]
    assert notification.outgoing.state is OutgoingState.SENT


async def test_another_channel_has_the_repeat_where_there_is_one(notifying):
    """A chain goes on behind a message whose sender died."""
    notify = await notifying(providers=("wecom", "feishu"))
    await notify.person("anna", "wecom", "feishu")
    await notify.say("anna", "k1")
    await killed(notify, "dispatcher:sent")
    await notify.passes(30, step_s=5)
    assert len(notify.stubs["wecom"].taken) == len(notify.stubs["feishu"].taken) == 1
    assert attempts((await notify.seen("anna"))[0]) == [("wecom", "unknown"), ("feishu", "delivered")]


async def test_a_message_is_repeated_once_however_often_replicas_die(notifying):
    """The second death ends it as unknown: two messages at most for one notification."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    await notify.say("anna", "k1")
    for _ in range(5):
        await killed(notify, "dispatcher:sent")
        await notify.clock.advance(90)
    await notify.passes(60, step_s=10)
    assert titles(notify.stubs["wecom"]) == ["新线索 k1", "【可能重复】新线索 k1"]
    assert (await notify.seen("anna"))[0].outgoing.state is OutgoingState.UNKNOWN


async def test_replicas_at_once_send_each_message_once(notifying):
    """Three replicas look for what is due at the same moment, forty people, and no limit in the way."""
    notify = await notifying(replicas=3, providers=())
    people = [f"p{number}" for number in range(40)]
    for person in people:
        await notify.person(person, email=f"{person}@example.com")
        await notify.say(person, person)
    await asyncio.gather(*(replica.turn() for replica in notify.replicas))
    for replica in notify.replicas:
        await replica.settled()
    await notify.turn()
    assert sorted(notify.postbox.addresses()) == sorted(f"{person}@example.com" for person in people)


async def test_a_drained_replica_ends_what_it_has_begun(notifying, eventually):
    """A stop while a provider takes its time: the message is recorded as delivered, not as unknown."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    stub, go = notify.stubs["wecom"], asyncio.Event()

    async def slowly(heard):
        await go.wait()
        return stub.answer(heard)

    stub.server.answer = slowly
    await notify.say("anna", "k1")
    running = asyncio.create_task(notify.replicas[0].run())
    await eventually(lambda: stub.server.heard)
    running.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(running, return_exceptions=True)
    assert attempts((await notify.seen("anna"))[0]) == [("wecom", "delivered")]


@asynccontextmanager
async def process(dsn, base):
    """A replica in a process of its own, killed when the block ends if not before."""
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.notify_process", dsn, base, cwd=Path(__file__).parents[3]
    )
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


async def test_kill_minus_nine_in_the_middle_of_a_send(fresh_database, eventually):
    """The robot has the message and has not answered when its sender is killed: the next process sends one repeat, marked."""
    place = await fresh_database("notify")
    database = await Database.open(place.dsn, service="notify")
    async with stub_of("wecom") as stub:
        answer, hangs = stub.answer, asyncio.Event()

        async def hang(heard):
            stub.answer(heard)
            hangs.set()
            return await asyncio.Event().wait()

        stub.server.answer = hang
        posting = Posting(default_words(), leaves=True)
        await ChannelStore(database).bind("anna", Binding("wecom", "anna", "default"), datetime.now(UTC))
        message = Message("anna", "lead_assigned", "新线索 k1", "请跟进", "lead:1", "k1")
        inboxes = InboxStore(database, posting)
        await inboxes.add([message], datetime.now(UTC))
        async with process(place.dsn, stub.base) as first:
            await asyncio.wait_for(hangs.wait(), 60)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        stub.server.answer = answer

        async def sent():
            [found] = (await inboxes.page(ROOT_ACTOR, Query(), 10, "")).items
            return attempts(found) == [("wecom", "unknown"), ("wecom", "delivered")]

        async with process(place.dsn, stub.base):
            await eventually(sent, timeout_s=60)
        assert titles(stub) == ["新线索 k1", "【可能重复】新线索 k1"]
    await database.close()


@pytest.mark.capability(1)
@pytest.mark.parametrize(
    ("point", "arrived"),
    [
        ("dispatcher:taken", {"【可能重复】您有 201 条新提醒": 1, "您有 202 条新提醒": 1}),
        ("dispatcher:sent", {"您有 201 条新提醒": 2, "【可能重复】您有 201 条新提醒": 2}),
    ],
)
async def test_an_import_is_told_whole_though_its_sender_dies_and_others_come_between(notifying, point, arrived):
    """Two owners of two hundred leads each: a message that was in flight at a kill is repeated whole and once.

    What was said to both before leaves with the import, what is said afterwards by itself or with it; nothing is left behind.
    """
    notify = await notifying(replicas=2, providers=("wecom",))
    owners = ("anna", "bo")
    for owner in owners:
        await notify.person(owner, "wecom")
    leads = [
        LeadAssigned(lead_id=f"l{number}", assignment_id=f"a{number}", owner_id=owners[number % 2], import_id="i1")
        for number in range(400)
    ]
    for database, some in zip(notify.databases, (leads[:300], leads[300:]), strict=True):
        async with database.transaction() as tx:
            await notify.events.leads_assigned(tx, [received(each) for each in some])
    await notify.tell(notify.events.import_completed, ImportCompleted(import_id="i1", dataset="leads"))
    await notify.clock.advance(5)
    for owner in owners:
        await notify.say(owner, f"{owner}-before")
    await killed(notify, point)
    for owner in owners:
        await notify.say(owner, f"{owner}-after")
    await notify.passes(120, step_s=5)
    for owner in owners:
        waiting = [each for each in await notify.everything(owner) if each.outgoing.state is not OutgoingState.SENT]
        assert waiting == []
    assert Counter(title for title in titles(notify.stubs["wecom"]) if "新提醒" in title) == arrived
