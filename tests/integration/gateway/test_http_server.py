"""The listening socket: bounded heads, bounded slowness, bounded connections, and a drain that answers what it took."""

import asyncio
import json

import pytest

from services.gateway.http.server import HttpServer, ServerLimits

LIMITS = ServerLimits(connections_max=4, head_size_bytes_max=2048, head_timeout_s=0.3, keep_alive_s=1)


class Echo:
    """An application that answers the size of its body; `/slow` waits to be let go."""

    def __init__(self):
        self.let_go = asyncio.Event()
        self.waiting = asyncio.Event()

    async def __call__(self, scope, receive, send):
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if scope["path"] == "/slow":
            self.waiting.set()
            await self.let_go.wait()
        body = str(size).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
        )
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app():
    return Echo()


@pytest.fixture
async def server(app):
    made = HttpServer(app, host="127.0.0.1", port=0, limits=LIMITS)
    await made.start()
    yield made
    app.let_go.set()
    await made.drain(1)


async def exchange(server, request):
    """Everything the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def problem_of(answer):
    """Status and problem of the last answer in these bytes."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return int(head.rsplit(b"HTTP/1.1 ", 1)[1][:3]), json.loads(body)


def request_with_head_of(size_bytes):
    # As the server counts: the target, and each header with its four separators.
    fixed = len("/") + len("Host") + len("x") + 4 + len("Connection") + len("close") + 4 + len("X") + 4
    padding = "y" * (size_bytes - fixed)
    return f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {padding}\r\n\r\n".encode()


async def test_the_largest_head_passes_and_one_byte_more_is_431(server):
    """httptools has no limit of its own: without ours a head could fill memory."""
    assert (await exchange(server, request_with_head_of(2048))).startswith(b"HTTP/1.1 200")
    status, problem = problem_of(await exchange(server, request_with_head_of(2049)))
    assert (status, problem["code"]) == (431, "head_too_large")


async def test_a_head_without_end_is_cut_off_at_its_limit(server):
    """A client that sends one header for ever is stopped while it sends."""
    status, _ = problem_of(await exchange(server, b"GET / HTTP/1.1\r\nX: " + b"y" * 2049))
    assert status == 431


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_408(server, start):
    """Slowloris: a connection costs nothing for long."""
    status, problem = problem_of(await exchange(server, start))
    assert (status, problem["code"]) == (408, "head_timeout")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_400(server, garbage):
    """TLS by mistake, nonsense, other versions: a problem, not a silent close."""
    status, problem = problem_of(await exchange(server, garbage + b"\r\n\r\n"))
    assert (status, problem["code"]) == (400, "malformed_request")


async def test_requests_that_smuggle_are_refused(server):
    """Both lengths at once mean two readings of one request."""
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    smuggled = b"POST / HTTP/1.1\r\nHost: x\r\n" + both + b"\r\n0\r\n\r\nGET /slow HTTP/1.1\r\n\r\n"
    status, _ = problem_of(await exchange(server, smuggled))
    assert status == 400


async def test_one_connection_too_many_is_503_and_the_others_work_on(server):
    """Told when to come back, in the first bytes."""
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
    status, problem = problem_of(await exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert (status, problem["code"]) == (503, "overloaded")
    reader, writer = held[0]
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    for _, writer in held:
        writer.close()


async def test_an_idle_connection_is_closed(server):
    """After its keep-alive it makes room for another."""
    answer = await exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_drain_answers_what_is_in_flight_and_takes_nothing_new(app, server):
    """A rolling upgrade loses no request."""
    slow = asyncio.create_task(exchange(server, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
    await app.waiting.wait()
    assert server.accepting
    drain = asyncio.create_task(server.drain(5))

    async def refused():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            return True
        writer.close()
        return False

    async with asyncio.timeout(5):
        while not await refused():
            pass
    assert not server.accepting
    app.let_go.set()
    assert (await slow).startswith(b"HTTP/1.1 200")
    await drain
