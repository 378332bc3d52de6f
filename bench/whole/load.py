"""A lean HTTP/1.1 client in one process: closed loops of N clients, open loops at a rate. Only for loopback.

An open loop measures from when a request was due, not from when it was sent: a server that stalls is charged for all who
waited (coordinated omission).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

REQUESTS_MAX = 200_000
"""Of one run, whatever it is asked."""


@dataclass(slots=True)
class Result:
    """Latencies in seconds of answered requests, in order of answering; statuses by count; bodies where asked."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    """Wall time of sending and the answer's body, of each request."""

    @property
    def rate_per_s(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None]) if at > 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        body = bytes(self._buffer[head_end + 4 : head_end + 4 + length])
        del self._buffer[: head_end + 4 + length]
        if self._answer is not None:
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, 30)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def connect(port: int, count: int) -> list[Connection]:
    """Open connections to 127.0.0.1."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]


async def closed_loop(port: int, make: Callable[[int], bytes], clients: int, duration_s: float) -> Result:
    """Each client sends its next request when it has the answer to the last."""
    connections = await connect(port, clients)
    result, started_s = Result(), time.perf_counter()
    numbers = iter(range(REQUESTS_MAX))

    async def client(connection: Connection) -> None:
        for number in numbers:
            sent_s = time.perf_counter()
            if sent_s - started_s > duration_s:
                return
            _note(result, await connection.ask(make(number)), time.perf_counter() - sent_s)

    await asyncio.gather(*(client(connection) for connection in connections))
    result.elapsed_s = time.perf_counter() - started_s
    for connection in connections:
        connection.close()
    return result


async def open_loop(port: int, make: Callable[[int], bytes], rate_per_s: float, duration_s: float) -> Result:
    """Requests leave at a steady rate, whoever is still waiting; 256 at a time at most."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = await connect(port, 256)
    for connection in connections:
        free.put_nowait(connection)
    result, started_s = Result(), time.perf_counter()
    tasks = []

    async def one(number: int, due_s: float) -> None:
        connection = await free.get()
        wall_s = time.time()
        status, body = await connection.ask(make(number))
        _note(result, (status, body), time.perf_counter() - due_s)
        result.sent.append((wall_s, body))
        free.put_nowait(connection)

    for number in range(min(REQUESTS_MAX, int(rate_per_s * duration_s))):
        due_s = started_s + number / rate_per_s
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, due_s)))
    await asyncio.gather(*tasks)
    result.elapsed_s = time.perf_counter() - started_s
    for connection in connections:
        connection.close()
    return result


def _note(result: Result, answer: tuple[int, bytes], latency_s: float) -> None:
    result.latencies_s.append(latency_s)
    result.statuses[answer[0]] = result.statuses.get(answer[0], 0) + 1
