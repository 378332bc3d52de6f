"""The connection to NATS, against a real nats-server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breakwater.chassis.bus import BATCH_MESSAGES_MAX, Bus, BusMessage, StreamMissingError, StreamSpec, classify
from breakwater.chassis.errors import UnavailableError
from breakwater.local.nats import NatsServer
from breakwater.resilience import Policy, PolicySettings
from tests.support.waiting import until

LEADS = StreamSpec("LEADS", ("breakwater.leads.v1.>",))
SUBJECT = "breakwater.leads.v1.LeadAssigned"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that the test may stop."""
    server = NatsServer(tmp_path / "server", secrets=tmp_path / "secrets", log_file=tmp_path / "nats.log")
    server.start()
    yield server
    server.close()


def messages(*ids: object) -> list[BusMessage]:
    return [BusMessage(SUBJECT, str(each).encode(), {"Nats-Msg-Id": f"id-{each}"}) for each in ids]


async def stored(bus: Bus) -> list[bytes]:
    """The payloads in the stream, in order."""
    state = (await bus.jetstream.stream_info("LEADS")).state
    seqs = range(state.first_seq, state.last_seq + 1)
    return [(await bus.jetstream.get_msg("LEADS", seq)).data or b"" for seq in seqs]


@pytest.fixture
async def operator(clean_nats: NatsServer, open_bus: Any) -> Bus:
    """May look into streams, as no service may."""
    bus: Bus = await open_bus(clean_nats, "operator")
    return bus


async def test_a_batch_is_stored_whole_and_in_order(bus: Bus, operator: Bus) -> None:
    """What publish_batch returned for is in the stream."""
    await bus.ensure_stream(LEADS)
    await bus.publish_batch(messages(*range(BATCH_MESSAGES_MAX)))
    assert await stored(operator) == [str(number).encode() for number in range(BATCH_MESSAGES_MAX)]


async def test_a_batch_with_a_duplicate_is_sent_singly_and_the_duplicate_absorbed(bus: Bus, operator: Bus) -> None:
    """JetStream rejects such a batch as a whole (10201); nothing of it is lost or doubled."""
    await bus.ensure_stream(LEADS)
    await bus.publish_batch(messages(1, 2, 3))
    await bus.publish_batch(messages(3, 4, 5))
    assert await stored(operator) == [b"1", b"2", b"3", b"4", b"5"]


async def test_headers_given_are_not_changed(bus: Bus) -> None:
    """The caller's mapping is the caller's."""
    await bus.ensure_stream(LEADS)
    batch = messages(1, 2)
    before = [dict(message.headers) for message in batch]
    await bus.publish_batch(batch)
    await bus.publish("breakwater.leads.hint", b"", batch[0].headers)
    assert [dict(message.headers) for message in batch] == before


async def test_a_missing_stream_is_told_by_its_type(bus: Bus) -> None:
    """Publishing into nothing fails typed, with the dependency's name."""
    assert not await bus.has_stream("LEADS")
    with pytest.raises(StreamMissingError) as caught:
        await bus.publish_batch(messages(1))
    assert caught.value.dependency == "nats"


async def test_a_stream_is_brought_to_its_settings(bus: Bus, operator: Bus) -> None:
    """Ensuring a stream again changes what its settings changed, keeps its messages, and may be done by many at once."""
    await asyncio.gather(*(bus.ensure_stream(LEADS) for _ in range(5)))
    await bus.publish_batch(messages(1))
    await bus.ensure_stream(StreamSpec("LEADS", LEADS.subjects, age_days_max=3))
    config = (await operator.jetstream.stream_info("LEADS")).config
    assert (config.max_age, config.allow_atomic, config.max_bytes) == (3 * 86_400, True, LEADS.size_bytes_max)
    assert await stored(operator) == [b"1"]


async def test_core_messages_reach_their_subscriber_also_after_a_restart(own_server: NatsServer, open_bus: Any) -> None:
    """A subscription lasts for the bus's life; NATS may come and go."""
    bus: Bus = await open_bus(own_server, "leads")
    seen: list[bytes] = []

    async def take(message: Any) -> None:
        seen.append(message.data)

    async def heard(word: bytes) -> bool:
        if bus.connected:
            await bus.publish("breakwater.leads.hint", word)
        return word in seen

    await bus.subscribe("breakwater.leads.hint", take)
    await until("the first message", lambda: heard(b"before"))
    await asyncio.to_thread(own_server.kill)
    await until("the loss is seen", lambda: not bus.connected)
    with pytest.raises(UnavailableError):
        await bus.publish("breakwater.leads.hint", b"lost")
    await asyncio.to_thread(own_server.start)
    await until("a message after the restart", lambda: heard(b"after"), within_s=5)


async def test_a_service_starts_without_nats_and_is_connected_when_it_comes(
    own_server: NatsServer, open_bus: Any
) -> None:
    """Nobody has to start things in an order."""
    await asyncio.to_thread(own_server.stop)
    bus: Bus = await open_bus(own_server, "leads", wait_s=0.1)
    connected = asyncio.Event()
    bus.on_connected(connected.set)
    assert not bus.connected
    with pytest.raises(UnavailableError):
        await bus.publish_batch(messages(1))
    await asyncio.to_thread(own_server.start)
    await asyncio.wait_for(connected.wait(), 5)
    await bus.ensure_stream(LEADS)
    await bus.publish_batch(messages(1))


async def test_a_connection_the_server_refused_is_tried_again(own_server: NatsServer, open_bus: Any) -> None:
    """nats-py gives up for good on some of the server's errors; the bus does not."""
    bus: Bus = await open_bus(own_server, "leads")
    client = bus.client
    await client._process_err("'Maximum Connections Exceeded'")
    await until("nats-py gave up", lambda: client.is_closed)
    await until("another connection", lambda: bus.connected, within_s=5)
    await bus.ensure_stream(LEADS)


async def test_an_absent_nats_opens_the_circuit(own_server: NatsServer, open_bus: Any) -> None:
    """The policy of service -> nats sees what publishing came to."""
    policy = Policy(PolicySettings(caller="leads", dependency="nats", calls_min=5, open_s=15.0), classify=classify)
    bus: Bus = await open_bus(own_server, "leads", policy=policy)
    await bus.ensure_stream(LEADS)
    await asyncio.to_thread(own_server.kill)
    codes = []
    for _ in range(40):
        with pytest.raises(UnavailableError) as caught:
            await bus.publish_batch(messages(1))
        codes.append(caught.value.code)
    assert codes[-1] == "circuit_open"
