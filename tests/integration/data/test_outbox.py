"""From the row of an event to JetStream, against real servers."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater.chassis import outbox, telemetry
from breakwater.chassis.bus import Bus
from breakwater.chassis.cloudevents import Received, received
from breakwater.chassis.database import Database
from breakwater.chassis.errors import NotFoundError
from breakwater.chassis.outbox import OutboxEvent, Relay
from breakwater.leads.v1.events_pb2 import LeadAssigned
from breakwater.local.nats import NatsServer
from breakwater.resilience.testing import VirtualClock
from tests.support.background import killed_at, running, supervised
from tests.support.waiting import until

TYPE = "breakwater.leads.v1.LeadAssigned"
PENDING = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


def events(*numbers: int) -> list[OutboxEvent]:
    return [OutboxEvent(TYPE, "lead-1", number, str(number).encode()) for number in numbers]


async def add(db: Database, *numbers: int) -> list[OutboxEvent]:
    added = events(*numbers)
    async with db.transaction() as tx:
        await outbox.add(tx, added)
    return added


async def pending(db: Database) -> int:
    async with db.read() as reader:
        count: int = await reader.fetchval(PENDING)
        return count


async def pending_is(db: Database, wanted: int) -> bool:
    return await pending(db) == wanted


async def published(db: Database) -> None:
    await until("an empty outbox", lambda: pending_is(db, 0))


async def stored(bus: Bus) -> list[Any]:
    """The messages in the stream, in order."""
    state = (await bus.jetstream.stream_info("LEADS")).state
    return [await bus.jetstream.get_msg("LEADS", seq) for seq in range(state.first_seq, state.last_seq + 1)]


@pytest.fixture
async def operator(clean_nats: NatsServer, open_bus: Any) -> Bus:
    """May look into streams, as no service may."""
    bus: Bus = await open_bus(clean_nats, "operator")
    return bus


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that the test may stop."""
    server = NatsServer(tmp_path / "server", secrets=tmp_path / "secrets", log_file=tmp_path / "nats.log")
    server.start()
    yield server
    server.close()


async def test_an_event_arrives_as_it_was_added(db: Database, bus: Bus, operator: Bus) -> None:
    """Every attribute travels, Chinese text and the trace included."""
    moment = datetime(2026, 3, 8, 1, 2, 3, 456_789, tzinfo=UTC)
    message = LeadAssigned(lead_id="张三 的线索", reason="华东")
    event = OutboxEvent.of(message, subject_id="张三 100%\r\n", sequence=7, occurred_at=moment)
    with telemetry.remote_context(None) as trace:
        async with db.transaction() as tx:
            await outbox.add(tx, [event])
    async with running(Relay(db, bus).run()):
        await published(db)
    (found,) = await stored(operator)
    assert found.subject == TYPE
    assert received(found.headers, found.data) == Received(
        event.id, TYPE, "张三 100%\r\n", 7, moment, message.SerializeToString(), trace.traceparent
    )


async def test_events_are_published_in_the_order_they_were_added(db: Database, bus: Bus, operator: Bus) -> None:
    """More than one batch, and still in order."""
    await add(db, *range(450))
    async with running(Relay(db, bus).run()):
        await published(db)
    assert [found.headers["ce-sequence"] for found in await stored(operator)] == [str(n) for n in range(450)]


async def test_what_was_rolled_back_is_never_published(db: Database, bus: Bus, operator: Bus) -> None:
    """An event exists when its cause does."""
    with pytest.raises(NotFoundError):
        async with db.transaction() as tx:
            await outbox.add(tx, events(1))
            raise NotFoundError("no such lead")
    await add(db, 2)
    async with running(Relay(db, bus).run()):
        await published(db)
    assert [found.data for found in await stored(operator)] == [b"2"]


async def test_a_commit_wakes_the_relay_at_once(db: Database, bus: Bus) -> None:
    """The slow poll is for what others left behind; here it would take a minute."""
    async with running(Relay(db, bus, poll_s=60).run()):
        await until("the stream", lambda: bus.has_stream("LEADS"))
        for number in range(5):
            await add(db, number)
            await published(db)


async def test_the_poll_finds_what_another_process_left_behind(schema: Any, db: Database, bus: Bus) -> None:
    """A replica that died between commit and publish loses nothing."""
    async with running(Relay(db, bus, poll_s=0.1).run()):
        await schema.as_admin(
            "INSERT INTO outbox (id, type, subject_id, sequence, payload) VALUES (gen_random_uuid(), $1, 'x', 1, '')",
            TYPE,
        )
        await published(db)


@pytest.mark.parametrize("point", ["relay:read", "relay:published", "relay:marked", "relay:committed"])
async def test_a_relay_killed_at_any_point_loses_and_doubles_nothing(
    db: Database, bus: Bus, operator: Bus, point: str
) -> None:
    """Restarted, it publishes what it had not marked; JetStream knows what it had published."""
    await add(db, *range(250))
    checkpoint = killed_at(point, times=2)
    async with running(supervised(lambda: Relay(db, bus, checkpoint=checkpoint).run())):
        await published(db)
    assert [found.data for found in await stored(operator)] == [str(number).encode() for number in range(250)]


async def test_several_relays_share_the_work(db: Database, bus: Bus, operator: Bus) -> None:
    """Replicas skip what another is publishing: each event goes out, none twice."""
    relays = [Relay(db, bus, poll_s=0.05) for _ in range(3)]
    async with running(*(relay.run() for relay in relays)):
        await asyncio.gather(*(add(db, *range(start, start + 50)) for start in range(0, 1_000, 50)))
        await published(db)
    found = [int(message.data) for message in await stored(operator)]
    assert sorted(found) == list(range(1_000))


async def test_an_event_that_could_never_be_published_is_refused_when_added(db: Database) -> None:
    """Too large or without a subject: the mistake shows where it is made, not in a relay that stands still."""
    for wrong in (OutboxEvent(TYPE, "lead-1", 1, b"x" * 70_000), OutboxEvent("LeadAssigned", "lead-1", 1, b"")):
        with pytest.raises(ValueError, match="no event that can be published"):
            async with db.transaction() as tx:
                await outbox.add(tx, [wrong])
    assert await pending(db) == 0


async def add_not_urgent(db: Database, *numbers: int) -> None:
    async with db.transaction() as tx:
        await outbox.add(tx, [replace(event, urgent=False) for event in events(*numbers)])


async def test_what_somebody_waits_for_overtakes_what_nobody_does(db: Database, bus: Bus, operator: Bus) -> None:
    """A person's click during a large import is told before what the import caused."""
    await add_not_urgent(db, *range(50))
    await add(db, 99)
    async with running(Relay(db, bus).run()):
        await published(db)
    assert [int(found.data) for found in await stored(operator)] == [99, *range(50)]


async def test_what_is_not_urgent_is_held_while_its_cause_is_at_work(db: Database, bus: Bus, operator: Bus) -> None:
    """Urgent events go on meanwhile; the rest follows as soon as the work is done."""
    busy = True
    async with running(Relay(db, bus, poll_s=60, held=lambda: busy).run()):
        await add_not_urgent(db, 1, 2)
        await add(db, 3)
        await until("the urgent one", lambda: pending_is(db, 2))
        await add(db, 4)
        await until("the next urgent one", lambda: pending_is(db, 2))
        busy = False
        await add(db, 5)
        await published(db)
    found = [int(event.data) for event in await stored(operator)]
    assert found[:2] == [3, 4]
    assert sorted(found) == [1, 2, 3, 4, 5]


async def test_nothing_is_held_for_longer_than_the_limit(db: Database, bus: Bus) -> None:
    """An import without end does not silence what it caused."""
    clock = VirtualClock()
    async with running(Relay(db, bus, clock, poll_s=0.02, held=lambda: True).run()):
        await add_not_urgent(db, 1)
        await add(db, 2)
        await until("the urgent one", lambda: pending_is(db, 1))
        await clock.advance(outbox.HELD_S_MAX)
        await published(db)


async def test_events_wait_for_nats_and_go_when_it_is_back(own_server: NatsServer, db: Database, open_bus: Any) -> None:
    """kill -9 of NATS between two events: both are there within seconds of its return."""
    bus: Bus = await open_bus(own_server, "leads")
    operator: Bus = await open_bus(own_server, "operator")
    async with running(Relay(db, bus).run()):
        await add(db, 1)
        await published(db)
        await asyncio.to_thread(own_server.kill)
        await add(db, 2)
        assert await pending(db) == 1
        await asyncio.to_thread(own_server.start)
        await published(db)
    await until("the operator's connection", lambda: operator.connected)
    assert [found.data for found in await stored(operator)] == [b"1", b"2"]


async def test_a_wiped_jetstream_is_filled_again(db: Database, bus: Bus, operator: Bus, open_bus: Any) -> None:
    """The outbox is the copy that counts: a relay that finds no stream sends the days it keeps again, by itself."""
    await add(db, *range(300))
    async with running(Relay(db, bus).run()):
        await published(db)
        await operator.jetstream.delete_stream("LEADS")
        # What a reconnect to a NATS without its data does.
        bus._connected()
        await until("the stream", lambda: bus.has_stream("LEADS"))
        await published(db)
        assert [int(found.data) for found in await stored(operator)] == list(range(300))


async def test_republishing_since_a_moment_leaves_older_events(schema: Any, db: Database) -> None:
    """Only what was published since then goes out again."""
    await add(db, 1, 2, 3)
    await schema.as_admin("UPDATE outbox SET published_at = now() - make_interval(hours => 4 - sequence::int)")
    assert await outbox.republish(db, datetime.now(UTC) - timedelta(hours=2, minutes=30)) == 2
    assert await pending(db) == 2
