"""A TCP proxy that breaks connections below our code, one fault at a time. Its faults are toxiproxy's toxics.

`async with FaultProxy(host, port) as proxy:` listens on `proxy.port` and passes everything on;
`async with proxy.fault(Latency(0.3)):` breaks it for the time of a block. What a fault held back is delivered when it
ends, as a network's retransmission would; what it broke stays broken.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Self

CHUNK_BYTES = 64 * 1024
CHUNKS_IN_FLIGHT_MAX = 64
"""What waits in one direction; past it the sender is held, as by a full socket."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a connection to be bad. Both directions suffer it."""

    name: ClassVar[str]

    def pieces(self, data: bytes, rng: random.Random) -> "list[tuple[bytes, float]]":
        """`data` in the pieces that are sent, each with the seconds before it."""
        del rng
        return [(data, 0.0)]


@dataclass(frozen=True, slots=True)
class Latency(Fault):
    """Everything arrives later: `delay_s`, give or take `jitter_s`. Throughput stays."""

    name: ClassVar[str] = "latency"
    delay_s: float
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Down(Fault):
    """Nobody listens: open connections end, new ones are refused."""

    name: ClassVar[str] = "down"


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """Connections are accepted and reset (RST) after `after_s`; those that are open are reset at once."""

    name: ClassVar[str] = "reset"
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """Connections stay open, and nothing comes through."""

    name: ClassVar[str] = "hang"


@dataclass(frozen=True, slots=True)
class Bandwidth(Fault):
    """So many bytes a second in each direction of each connection."""

    name: ClassVar[str] = "bandwidth"
    bytes_per_s: int

    def pieces(self, data: bytes, rng: random.Random) -> "list[tuple[bytes, float]]":
        size = max(1, self.bytes_per_s // 20)
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        return [(part, len(part) / self.bytes_per_s) for part in parts]


@dataclass(frozen=True, slots=True)
class Slicer(Fault):
    """Data comes in pieces of 1 to `size_bytes_max` bytes, `delay_s` apart: frames are torn anywhere."""

    name: ClassVar[str] = "slicer"
    size_bytes_max: int
    delay_s: float = 0.0

    def pieces(self, data: bytes, rng: random.Random) -> "list[tuple[bytes, float]]":
        parts, start = [], 0
        while start < len(data):
            size = rng.randint(1, self.size_bytes_max)
            parts.append((data[start : start + size], self.delay_s))
            start += size
        return parts


@dataclass(frozen=True, slots=True)
class SlowClose(Fault):
    """The end of a connection arrives `delay_s` late."""

    name: ClassVar[str] = "slow close"
    delay_s: float


FAULTS: tuple[type[Fault], ...] = (Latency, Down, Reset, Hang, Bandwidth, Slicer, SlowClose)
"""Every fault there is; the fault matrix has a column for each."""


class _Healthy(Fault):
    """Nothing is wrong."""

    name: ClassVar[str] = "none"


class _Phase:
    """The time during which one fault holds."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.over = asyncio.Event()

    async def wait(self, seconds: float | None) -> None:
        """Waits so long, or less when the phase ends first; None waits for its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()


class FaultProxy:
    """Passes TCP connections on to `host:port`, through the present fault."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._upstream = (host, port)
        self._rng = random.Random(seed)
        self._phase = _Phase(_Healthy())
        # Bound and never listening: the port stays ours while nobody listens on it.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.accepted = 0

    async def __aenter__(self) -> Self:
        self._place.bind(("127.0.0.1", 0))
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._refuse()
        self._phase.over.set()
        self._abort(reset=False)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._place.close()

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        port: int = self._place.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """Those open now."""
        return len(self._connections)

    @asynccontextmanager
    async def fault(self, fault: Fault) -> AsyncIterator[None]:
        """`fault` holds for the time of the block."""
        await self._enter(fault)
        try:
            yield
        finally:
            await self._enter(_Healthy())

    def break_connections(self) -> None:
        """Resets what is open now; new connections are not touched."""
        self._abort(reset=True)

    async def _enter(self, fault: Fault) -> None:
        before, self._phase = self._phase, _Phase(fault)
        before.over.set()
        if isinstance(fault, Down):
            self._refuse()
            self._abort(reset=False)
        elif isinstance(before.fault, Down):
            await self._listen()
        if isinstance(fault, Reset):
            self._abort(reset=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=CHUNK_BYTES)

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _abort(self, *, reset: bool) -> None:
        for writer in list(self._writers):
            _abort(writer, reset=reset)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._connections.add(task)
        self._writers.add(writer)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one end went away, or the proxy ends
        finally:
            self._connections.discard(task)
            self._writers.discard(writer)
            _abort(writer, reset=False)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._phase.fault
        if isinstance(fault, Reset):
            await self._phase.wait(fault.after_s)
            _abort(writer, reset=True)
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream, limit=CHUNK_BYTES)
        self._writers.add(upstream_writer)
        directions = [
            asyncio.create_task(self._pass_on(reader, upstream_writer)),
            asyncio.create_task(self._pass_on(upstream_reader, writer)),
        ]
        try:
            await asyncio.gather(*directions)
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            self._writers.discard(upstream_writer)
            _abort(upstream_writer, reset=False)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_IN_FLIGHT_MAX)
        delivery = asyncio.create_task(self._deliver(chunks, writer))
        loop = asyncio.get_running_loop()
        try:
            data = b"-"
            while data and not delivery.done():
                data = await reader.read(CHUNK_BYTES)
                await chunks.put((loop.time(), data))
            await delivery
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)

    async def _deliver(self, chunks: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            came_s, data = await chunks.get()
            if not data:
                break
            await self._be_late(came_s)
            await self._write(data, writer)
        phase = self._phase
        if isinstance(phase.fault, SlowClose):
            await phase.wait(phase.fault.delay_s)
        while isinstance(self._phase.fault, Hang):
            await self._phase.wait(None)
        if writer.can_write_eof():
            writer.write_eof()

    async def _be_late(self, came_s: float) -> None:
        while isinstance(self._phase.fault, Hang):
            await self._phase.wait(None)
        phase = self._phase
        if isinstance(phase.fault, Latency):
            late_s = phase.fault.delay_s + self._rng.uniform(-1, 1) * phase.fault.jitter_s
            await phase.wait(max(0.0, came_s + late_s - asyncio.get_running_loop().time()))

    async def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        phase = self._phase
        rest = data
        for piece, pause_s in phase.fault.pieces(data, self._rng):
            if pause_s:
                await phase.wait(pause_s)
            if phase.over.is_set():
                break
            writer.write(piece)
            rest = rest[len(piece) :]
            await writer.drain()
        writer.write(rest)
        await writer.drain()


def _abort(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            # Lingering for no time makes the kernel send RST instead of FIN.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
