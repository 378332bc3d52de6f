"""Dead letters: listed with their reason, replayed without doubling anything, against real servers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from breakwater.chassis import deadletters, outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import NotFoundError
from breakwater.chassis.inbox import Consumer, Received
from breakwater.chassis.outbox import OutboxEvent, Relay
from breakwater.local.nats import NatsServer
from tests.support.background import running
from tests.support.waiting import until

TYPE = "breakwater.leads.v1.LeadAssigned"
GOOD = OutboxEvent(TYPE, "lead-1", 1, b"good")
POISON = OutboxEvent(TYPE, "张三", 2, b"poison")


@pytest.fixture
async def operator_bus(clean_nats: NatsServer, open_bus: Any) -> Bus:
    """The ops process, which may replay."""
    bus: Bus = await open_bus(clean_nats, "ops")
    return bus


class Receiver:
    """Handles events as it is told, in `effects` of its database."""

    def __init__(self) -> None:
        self.fails = True

    async def handle(self, tx: Transaction, event: Received) -> None:
        if self.fails and event.data == b"poison":
            raise NotFoundError("客户 not found")
        await tx.execute("INSERT INTO effects (event_id, body) VALUES ($1, $2)", event.id, event.data.decode())

    def consumer(self, bus: Bus, db: Database) -> Consumer:
        handlers = {TYPE: self.handle}
        return Consumer(bus, db, stream="LEADS", durable=bus.service, handlers=handlers, deliveries_max=2)


async def add(db: Database, *events: OutboxEvent) -> None:
    async with db.transaction() as tx:
        await outbox.add(tx, events)


async def bodies(db: Database) -> list[str]:
    async with db.read() as reader:
        return [row["body"] for row in await reader.fetch("SELECT body FROM effects ORDER BY position")]


async def test_a_dead_letter_says_what_failed_and_why(
    db: Database, bus: Bus, receiver_bus: Bus, receiver_db: Database, operator_bus: Bus
) -> None:
    """On-call sees event, consumer, reason and tries; the payload is not shown."""
    async with running(Relay(db, bus).run(), Receiver().consumer(receiver_bus, receiver_db).run()):
        await add(db, GOOD, POISON)
        (letter,) = await until("the dead letter", lambda: deadletters.read(operator_bus))
    assert (letter.service, letter.consumer, letter.stream) == ("notify", "notify", "LEADS")
    assert (letter.event_id, letter.type, letter.subject_id, letter.sequence) == (POISON.id, TYPE, "张三", "2")
    assert letter.reason.startswith("NotFoundError: 客户 not found at test_deadletters.py:")
    assert letter.deliveries == 2
    assert abs((datetime.now(UTC) - letter.failed_at).total_seconds()) < 60
    assert letter.size_bytes == len(b"poison")


async def test_a_replayed_letter_is_handled_and_gone(
    db: Database, bus: Bus, receiver_bus: Bus, receiver_db: Database, operator_bus: Bus
) -> None:
    """Once its cause is mended, one replay brings the effect, though JetStream has seen the event's id before."""
    receiver = Receiver()
    async with running(Relay(db, bus).run(), receiver.consumer(receiver_bus, receiver_db).run()):
        await add(db, GOOD, POISON)
        (letter,) = await until("the dead letter", lambda: deadletters.read(operator_bus))
        receiver.fails = False
        assert (await deadletters.replay(operator_bus, letter.seq)).event_id == POISON.id

        async def both() -> bool:
            return await bodies(receiver_db) == ["good", "poison"]

        await until("the replayed effect", both)
    assert await deadletters.read(operator_bus) == []
    assert await deadletters.counts(operator_bus) == {}


async def test_who_has_handled_the_event_absorbs_its_replay(
    db: Database, bus: Bus, receiver_bus: Bus, receiver_db: Database, operator_bus: Bus, open_bus: Any, clean_nats: Any
) -> None:
    """A replay reaches every consumer of the stream; those that know the event do nothing."""
    failing, well = Receiver(), Receiver()
    well.fails = False
    health_bus: Bus = await open_bus(clean_nats, "health")
    async with running(
        Relay(db, bus).run(),
        failing.consumer(receiver_bus, receiver_db).run(),
        well.consumer(health_bus, receiver_db).run(),
    ):
        await add(db, POISON)
        (letter,) = await until("the dead letter", lambda: deadletters.read(operator_bus))
        failing.fails = False
        await deadletters.replay(operator_bus, letter.seq)
        await add(db, GOOD)

        async def all_there() -> bool:
            return sorted(await bodies(receiver_db)) == ["good", "good", "poison", "poison"]

        await until("one effect for each consumer and event", all_there)


async def test_a_letter_that_does_not_exist_cannot_be_replayed(bus: Bus, operator_bus: Bus) -> None:
    """Neither without a stream nor past its end."""
    with pytest.raises(NotFoundError):
        await deadletters.replay(operator_bus, 1)
    await bus.ensure_stream(deadletters.SPEC)
    with pytest.raises(NotFoundError):
        await deadletters.replay(operator_bus, 1)
    assert await deadletters.read(operator_bus) == []


async def test_letters_are_read_page_by_page(
    db: Database, bus: Bus, receiver_bus: Bus, receiver_db: Database, operator_bus: Bus
) -> None:
    """The oldest first, from where the last page ended."""
    poison = [OutboxEvent(TYPE, "lead-1", number, b"poison") for number in range(5)]
    async with running(Relay(db, bus).run(), Receiver().consumer(receiver_bus, receiver_db).run()):
        await add(db, *poison)

        async def all_dead() -> bool:
            return await deadletters.counts(operator_bus) == {"notify": 5}

        await until("five dead letters", all_dead)
    first = await deadletters.read(operator_bus, 3)
    rest = await deadletters.read(operator_bus, 3, after_seq=first[-1].seq)
    assert len(first) == 3
    assert {letter.event_id for letter in first + rest} == {event.id for event in poison}
