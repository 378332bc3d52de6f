"""The fault proxy itself: what each fault does to a plain TCP conversation, and that it ends."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.faultproxy import (
    FAULTS,
    Bandwidth,
    Down,
    Fault,
    FaultProxy,
    Hang,
    Latency,
    Reset,
    Slicer,
    SlowClose,
)

# One of each, mild enough to be waited for.
MILD: dict[type[Fault], Fault] = {
    Latency: Latency(0.1, jitter_s=0.05),
    Down: Down(),
    Reset: Reset(),
    Hang: Hang(),
    Bandwidth: Bandwidth(1_000),
    Slicer: Slicer(3, delay_s=0.001),
    SlowClose: SlowClose(0.3),
}


class Client:
    """One connection that says lines and hears them again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, text: bytes) -> bytes:
        self.writer.write(text + b"\n")
        return (await self.reader.readline()).rstrip(b"\n")


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy before a server that echoes and closes when its client does."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1], seed=7) as proxy:
        yield proxy
    server.close()


@pytest.fixture
async def connect(proxy: FaultProxy):
    """`client = await connect()`; closed after the test."""
    made: list[Client] = []

    async def connect() -> Client:
        made.append(Client(*await asyncio.open_connection(proxy.host, proxy.port)))
        return made[-1]

    yield connect
    for client in made:
        client.writer.transport.abort()


async def test_without_a_fault_everything_comes_through(connect) -> None:
    """A large conversation is the same on both sides of the proxy."""
    client = await connect()
    assert await client.say(b"x" * 50_000) == b"x" * 50_000


async def test_latency_delays_each_way_and_not_each_chunk(proxy: FaultProxy, connect) -> None:
    """A round trip takes twice the delay; ten lines at once take no longer than one."""
    client = await connect()
    await client.say(b"warm")
    async with proxy.fault(Latency(0.2)):
        began_s = time.monotonic()
        client.writer.write(b"".join(b"%d\n" % n for n in range(10)))
        for n in range(10):
            assert await client.reader.readline() == b"%d\n" % n
        took_s = time.monotonic() - began_s
    assert 0.4 <= took_s < 1.5, "ten delays one after the other would be two seconds each way"


async def test_down_refuses_and_ends_what_is_open(proxy: FaultProxy, connect) -> None:
    """An open connection ends, a new one is refused, and the port is the same afterwards."""
    client = await connect()
    await client.say(b"hello")
    port = proxy.port
    async with proxy.fault(Down()):
        assert await client.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await connect()
    assert proxy.port == port
    assert await (await connect()).say(b"again") == b"again"


async def test_reset_is_a_reset(proxy: FaultProxy, connect) -> None:
    """Open and new connections both end with RST, not with an orderly end."""
    client = await connect()
    await client.say(b"hello")
    async with proxy.fault(Reset()):
        with pytest.raises(ConnectionResetError):
            await client.say(b"more")
        late = await connect()
        with pytest.raises(ConnectionResetError):
            await late.reader.read()


async def test_hang_keeps_the_connection_and_passes_nothing(proxy: FaultProxy, connect) -> None:
    """Nothing comes while it holds; what was said meanwhile arrives afterwards, once and in order."""
    client = await connect()
    async with proxy.fault(Hang()):
        client.writer.write(b"one\ntwo\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.reader.readline()
    assert await client.reader.readline() == b"one\n"
    assert await client.reader.readline() == b"two\n"


async def test_bandwidth_paces_the_bytes(proxy: FaultProxy, connect) -> None:
    """A thousand bytes at two thousand a second take half a second each way, and come whole."""
    client = await connect()
    async with proxy.fault(Bandwidth(2_000)):
        began_s = time.monotonic()
        assert await client.say(b"y" * 1_000) == b"y" * 1_000
        assert time.monotonic() - began_s >= 0.5


async def test_slicer_tears_and_loses_nothing(proxy: FaultProxy, connect) -> None:
    """Small pieces arrive one by one; together they are what was said."""
    client = await connect()
    async with proxy.fault(Slicer(4, delay_s=0.001)):
        client.writer.write(b"a long line in small pieces\n")
        first = await client.reader.read(1024)
        assert 1 <= len(first) < len(b"a long line in small pieces\n")
        assert first + await client.reader.readline() == b"a long line in small pieces\n"


async def test_slow_close_delays_the_end_only(proxy: FaultProxy, connect) -> None:
    """Data comes at once, the end of the connection late."""
    client = await connect()
    async with proxy.fault(SlowClose(0.3)):
        assert await client.say(b"hello") == b"hello"
        began_s = time.monotonic()
        client.writer.write_eof()
        assert await client.reader.read() == b""
        assert time.monotonic() - began_s >= 0.3


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name)
async def test_every_fault_ends(kind: type[Fault], proxy: FaultProxy, connect) -> None:
    """After any fault a new connection works as before, and no connection is left in the proxy."""
    client = await connect()
    await client.say(b"before")
    async with proxy.fault(MILD[kind]):
        pass
    client.writer.transport.abort()
    after = await connect()
    assert await after.say(b"after") == b"after"


async def test_the_seed_decides_where_data_is_torn() -> None:
    """Two generators of one seed cut alike."""
    one, two = (Slicer(5).pieces(b"0123456789" * 3, random.Random(3)) for _ in range(2))
    assert one == two
