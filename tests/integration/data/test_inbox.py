"""From JetStream to effects that happen once, against real servers."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from breakwater.chassis import deadletters, metrics, outbox, pull, telemetry
from breakwater.chassis.bus import Bus, BusMessage, StreamSpec
from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.inbox import Consumer, Handler, Received
from breakwater.chassis.outbox import OutboxEvent, Relay
from breakwater.chassis.pull import Pull
from breakwater.local.nats import NatsServer
from breakwater.local.postgres import PostgresServer
from tests.support.background import killed_at, running, supervised
from tests.support.waiting import until

TYPE = "breakwater.leads.v1.LeadAssigned"
LEADS = StreamSpec("LEADS", ("breakwater.leads.v1.>",))
EFFECT = "INSERT INTO effects (event_id, body) VALUES ($1, $2)"


async def record(tx: Transaction, event: Received) -> None:
    """A handler: one row for each event."""
    await tx.execute(EFFECT, event.id, event.data.decode())


def consumer(bus: Bus, db: Database, handler: Handler = record, **options: Any) -> Consumer:
    return Consumer(bus, db, stream="LEADS", durable="notify", handlers={TYPE: handler}, **options)


async def publish(bus: Bus, *numbers: int) -> list[OutboxEvent]:
    """Puts events on the stream, each in a message of its own id, so that JetStream absorbs nothing."""
    sent = [OutboxEvent(TYPE, "lead-1", number, str(number).encode()) for number in numbers]
    await bus.ensure_stream(LEADS)
    await send(bus, sent, "")
    return sent


async def send(bus: Bus, sent: list[OutboxEvent], suffix: str) -> None:
    for event in sent:
        headers = {
            "Nats-Msg-Id": f"{event.id}{suffix}",
            "ce-id": event.id,
            "ce-type": event.type,
            "ce-subject": event.subject_id,
            "ce-sequence": str(event.sequence),
            "ce-time": "2026-03-08T01:02:03Z",
        }
        await bus.publish_batch([BusMessage(event.type, event.payload, headers)])


async def effects(db: Database) -> list[int]:
    async with db.read() as reader:
        return [int(row["body"]) for row in await reader.fetch("SELECT body FROM effects ORDER BY position")]


async def all_handled(db: Database, numbers: set[int], within_s: float = 15) -> None:
    async def there() -> bool:
        return set(await effects(db)) >= numbers

    await until(f"{len(numbers)} effects", there, within_s=within_s)


async def all_answered(bus: Bus) -> None:
    """Nothing is waiting or under way: what could still come would have come."""

    async def quiet() -> bool:
        info = await bus.jetstream.consumer_info("LEADS", "notify")
        return info.num_pending == 0 and info.num_ack_pending == 0

    await until("every delivery answered", quiet, within_s=15)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that the test may stop."""
    server = NatsServer(tmp_path / "server", secrets=tmp_path / "secrets", log_file=tmp_path / "nats.log")
    server.start()
    yield server
    server.close()


async def test_events_are_handled_in_order_and_once(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """More than one batch, one effect each, in the order of the stream."""
    await publish(bus, *range(250))
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, set(range(250)))
        await all_answered(receiver_bus)
    assert await effects(receiver_db) == list(range(250))


async def test_a_redelivered_event_does_nothing(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """The same event in other messages, also twice in one batch, has the effect it had."""
    sent = await publish(bus, 1, 2, 3)
    await send(bus, sent, ".again")
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, {1, 2, 3})
        await send(bus, sent, ".late")
        await publish(bus, 4)
        await all_handled(receiver_db, {4})
        await all_answered(receiver_bus)
    assert await effects(receiver_db) == [1, 2, 3, 4]


async def test_how_long_an_event_took_is_counted_once(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """The delay of each event is measured from the event's own time to its effect; what comes again is not counted again."""
    told = {"service": receiver_bus.service, "stream": "LEADS"}

    def counted() -> list[float]:
        names = ("breakwater_event_delay_seconds_count", "breakwater_event_delay_seconds_sum")
        return [metrics.REGISTRY.get_sample_value(name, told) or 0.0 for name in names]

    count, seconds = counted()
    sent = await publish(bus, 1, 2)
    await send(bus, sent, ".again")
    at = datetime(2026, 3, 8, 1, 2, 3 + 7, tzinfo=UTC)  # 7 s after what `send` says
    async with running(consumer(receiver_bus, receiver_db, clock=VirtualClock(at)).run()):
        await all_handled(receiver_db, {1, 2})
        await all_answered(receiver_bus)
    assert counted() == [count + 2, seconds + 14]


async def test_a_single_event_is_not_kept_waiting_for_a_full_batch(
    bus: Bus, receiver_bus: Bus, receiver_db: Database
) -> None:
    """An idle consumer handles what comes when it comes."""
    await publish(bus, 0)
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, {0})
        for number in range(1, 6):
            await publish(bus, number)
            await all_handled(receiver_db, {number}, within_s=5)


async def test_only_types_with_a_handler_are_received(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """Events of no interest never leave the server."""
    await bus.ensure_stream(LEADS)
    await send(bus, [OutboxEvent("breakwater.leads.v1.LeadCaptured", "lead-1", 1, b"1")], "")
    await publish(bus, 2)
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, {2})
        await all_answered(receiver_bus)
    assert await effects(receiver_db) == [2]
    assert await deadletters.counts(receiver_bus) == {}


async def test_a_handler_works_in_the_trace_of_the_cause(
    db: Database, bus: Bus, receiver_bus: Bus, receiver_db: Database
) -> None:
    """The trace goes from the request through outbox, NATS and inbox."""
    seen = []

    async def handler(tx: Transaction, event: Received) -> None:
        seen.append(telemetry.trace_id())
        await record(tx, event)

    with telemetry.remote_context(None) as trace:
        async with db.transaction() as tx:
            await outbox.add(tx, [OutboxEvent(TYPE, "lead-1", 1, b"1")])
    async with running(Relay(db, bus).run(), consumer(receiver_bus, receiver_db, handler).run()):
        await all_handled(receiver_db, {1})
    assert seen == [trace.trace_id]


@pytest.mark.parametrize("point", ["consumer:applied", "consumer:committed", "consumer:acknowledged"])
async def test_a_consumer_killed_at_any_point_loses_and_doubles_nothing(
    bus: Bus, receiver_bus: Bus, receiver_db: Database, point: str
) -> None:
    """Before its commit the batch comes again whole; after it the inbox knows every event."""
    await publish(bus, *range(250))
    checkpoint = killed_at(point, times=2)
    async with running(supervised(lambda: consumer(receiver_bus, receiver_db, checkpoint=checkpoint).run())):
        await all_handled(receiver_db, set(range(250)))
        await all_answered(receiver_bus)
    assert sorted(await effects(receiver_db)) == list(range(250))


async def test_what_a_dead_process_held_comes_to_another_within_seconds(
    bus: Bus, receiver_bus: Bus, receiver_db: Database, open_bus: Any, clean_nats: NatsServer
) -> None:
    """A process killed with messages in its hands says nothing more; they are not lost from sight for long."""
    await publish(bus, *range(50))
    doomed_bus: Bus = await open_bus(clean_nats, "notify")
    doomed = Pull(doomed_bus, "LEADS", "notify", [TYPE], 100)
    await doomed.open()
    assert await doomed.messages()
    assert doomed._progress is not None
    doomed._progress.cancel()
    await doomed_bus.close()
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, set(range(50)), within_s=15)


async def test_a_handler_that_takes_long_keeps_its_events(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """Longer than JetStream waits: progress is told meanwhile, and nobody else gets them."""
    calls: Counter[str] = Counter()

    async def slow(tx: Transaction, event: Received) -> None:
        calls[event.id] += 1
        await tx.fetchval("SELECT pg_sleep(4)")
        await record(tx, event)

    await publish(bus, 1)
    async with running(consumer(receiver_bus, receiver_db, slow).run()):
        await all_handled(receiver_db, {1})
        await all_answered(receiver_bus)
    assert list(calls.values()) == [1]


async def test_cancelling_ends_the_batch_under_way(
    bus: Bus, receiver_bus: Bus, receiver_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain loses no work, and what it had not begun is with another replica at once, not after JetStream's wait."""
    monkeypatch.setattr(pull, "ACK_WAIT_S", 60.0)
    begun, go = asyncio.Event(), asyncio.Event()

    async def handler(tx: Transaction, event: Received) -> None:
        begun.set()
        await go.wait()
        await record(tx, event)

    await publish(bus, *range(150))
    task = asyncio.create_task(consumer(receiver_bus, receiver_db, handler).run())
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    ended = await effects(receiver_db)
    assert ended
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, set(range(150)), within_s=15)
    assert sorted(await effects(receiver_db)) == list(range(150))


async def test_replicas_share_the_events(bus: Bus, receiver_bus: Bus, receiver_db: Database, open_bus: Any) -> None:
    """Two consumers of one name: each event is handled by one of them."""
    await publish(bus, *range(300))
    consumers = [consumer(receiver_bus, receiver_db), consumer(receiver_bus, receiver_db)]
    async with running(*(each.run() for each in consumers)):
        await all_handled(receiver_db, set(range(300)))
        await all_answered(receiver_bus)
    assert sorted(await effects(receiver_db)) == list(range(300))


async def test_a_poisonous_event_becomes_a_dead_letter_and_the_rest_goes_on(
    bus: Bus, receiver_bus: Bus, receiver_db: Database
) -> None:
    """It is tried as often as said, then put aside with its reason; nobody waits for it."""
    tries: Counter[bytes] = Counter()

    async def handler(tx: Transaction, event: Received) -> None:
        tries[event.data] += 1
        if event.data == b"2":
            raise NotFoundError("no such customer")
        await record(tx, event)

    await publish(bus, 1, 2, 3)
    async with running(consumer(receiver_bus, receiver_db, handler, deliveries_max=3).run()):
        await all_handled(receiver_db, {1, 3})
        letters = await until("the dead letter", lambda: deadletters.counts(receiver_bus))
        await all_answered(receiver_bus)
    assert letters == {"notify": 1}
    assert await effects(receiver_db) == [1, 3]
    # Once more with its batch, which then was handled singly.
    assert tries[b"2"] == 1 + 3
    assert tries[b"2"] > tries[b"3"]


async def test_a_malformed_message_is_a_dead_letter_at_once(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """What is no event of ours will not become one."""
    await bus.ensure_stream(LEADS)
    await bus.publish_batch([BusMessage(TYPE, b"?", {"Nats-Msg-Id": "x", "ce-id": "no uuid"})])
    await publish(bus, 1)
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, {1})
        assert await until("the dead letter", lambda: deadletters.counts(receiver_bus)) == {"notify": 1}


async def test_later_is_no_refusal(bus: Bus, receiver_bus: Bus, receiver_db: Database) -> None:
    """An event whose dependency is out is tried until it is back, while the others are handled."""
    tries = 0

    async def handler(tx: Transaction, event: Received) -> None:
        nonlocal tries
        if event.data == b"1":
            tries += 1
            if tries <= 8:
                raise UnavailableError("files is out", dependency="files", retry_after_s=0.05)
        await record(tx, event)

    await publish(bus, 1, 2, 3)
    async with running(consumer(receiver_bus, receiver_db, handler, deliveries_max=2).run()):
        await all_handled(receiver_db, {1, 2, 3})
        await all_answered(receiver_bus)
    assert await effects(receiver_db) == [2, 3, 1]
    assert await deadletters.counts(receiver_bus) == {}


async def test_events_are_handled_again_soon_after_a_restart_of_nats(
    own_server: NatsServer, receiver_db: Database, open_bus: Any
) -> None:
    """kill -9 of NATS in the middle: nothing is lost or doubled, and the consumer needs no restart."""
    bus: Bus = await open_bus(own_server, "leads")
    receiver_bus: Bus = await open_bus(own_server, "notify")
    await publish(bus, *range(100))
    async with running(consumer(receiver_bus, receiver_db).run()):
        await all_handled(receiver_db, set(range(20)))
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        await until("both connections", lambda: bus.connected and receiver_bus.connected)
        await publish(bus, *range(100, 200))
        await all_handled(receiver_db, set(range(200)), within_s=15)
        await all_answered(receiver_bus)
    assert sorted(await effects(receiver_db)) == list(range(200))


async def test_a_stream_that_does_not_exist_yet_is_waited_for(
    bus: Bus, receiver_bus: Bus, receiver_db: Database
) -> None:
    """A consumer may start before the service whose events it wants."""
    async with running(consumer(receiver_bus, receiver_db).run()):
        await until("the consumer is at work", lambda: receiver_bus.has_stream(deadletters.STREAM))
        await publish(bus, 1)
        await all_handled(receiver_db, {1})


async def test_events_wait_for_postgres_without_becoming_dead_letters(
    clean_nats: NatsServer, bus: Bus, receiver_bus: Bus, tmp_path: Path
) -> None:
    """kill -9 of PostgreSQL while events come: all are handled after its return, none given up."""
    server = PostgresServer(tmp_path / "server", password_file=tmp_path / "password", log_file=tmp_path / "log")
    server.start()
    db = await Database.open(server.dsn(), service="notify")
    try:
        async with db.transaction() as tx:
            for path in sorted((Path(outbox.__file__).parent / "sql").glob("*.sql")):
                await tx.execute(path.read_text())
            await tx.execute("CREATE TABLE effects (position serial, event_id text, body text)")
        await publish(bus, *range(50))
        async with running(consumer(receiver_bus, db, deliveries_max=1).run()):
            await all_handled(db, set(range(50)))
            await asyncio.to_thread(server.kill)
            await publish(bus, *range(50, 100))
            await asyncio.to_thread(server.start)

            async def handled() -> bool:
                try:
                    return set(await effects(db)) == set(range(100))
                except UnavailableError:
                    return False

            await until("all effects", handled, within_s=15)
            await all_answered(receiver_bus)
        assert sorted(await effects(db)) == list(range(100))
        assert await deadletters.counts(receiver_bus) == {}
    finally:
        await db.close()
        server.close()
