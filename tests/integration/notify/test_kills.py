"""Replicas that die at named points: nothing is lost, and at most one marked repeat leaves for each message in flight."""

import asyncio
import json
from contextlib import suppress

import pytest

from services.notify.delivery.domain import OutgoingState
from tests.support.notifying import attempts


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
    await notify.passes(60, step_s=5)
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
        await notify.clock.advance(30)
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
