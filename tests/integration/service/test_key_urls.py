"""Public keys from a URL: an issuer that moves, hangs, floods, or is gone."""

import asyncio
import json

import pytest

from breakwater.chassis.auth import KeySource
from breakwater.chassis.auth.keys import FETCH_TIMEOUT_S, JWKS_SIZE_BYTES_MAX
from breakwater.chassis.clock import VirtualClock
from tests.support.tokens import Key


class Issuer:
    """An HTTP server that answers what the test wants; `None` hangs."""

    def __init__(self, *keys: Key) -> None:
        self.status = "200 OK"
        self.headers = ""
        self.body: bytes | None = json.dumps({"keys": [key.public for key in keys]}).encode()
        self.requests = 0
        self.url = ""
        self.hanging: list[asyncio.StreamWriter] = []

    async def serve(self, reader, writer):
        self.requests += 1
        await reader.readuntil(b"\r\n\r\n")
        if self.body is not None:
            head = (
                f"HTTP/1.1 {self.status}\r\n{self.headers}Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + self.body)
            await writer.drain()
            writer.close()
        else:
            self.hanging.append(writer)


@pytest.fixture
def key():
    return Key("gateway")


@pytest.fixture
async def issuer(key):
    issuer = Issuer(key)
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    yield issuer
    for writer in issuer.hanging:
        writer.close()
    server.close()


@pytest.fixture
def clock():
    return VirtualClock()


async def test_keys_come_from_a_url_and_rotate(issuer, key, clock):
    """A new key is found by its first token."""
    source = KeySource(issuer.url, production=False, clock=clock)
    await source.start()
    assert (await source.find(key.kid)).kid == key.kid
    following = Key("gateway")
    issuer.body = json.dumps({"keys": [key.public, following.public]}).encode()
    await clock.advance(5)
    found = await asyncio.gather(*(source.find(following.kid) for _ in range(20)))
    assert {each.kid for each in found} == {following.kid}
    assert issuer.requests == 2


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        ("302 Found", "Location: http://127.0.0.1:1/elsewhere\r\n", b""),
        ("500 Internal Server Error", "", b"{}"),
        ("200 OK", "", b" " * (JWKS_SIZE_BYTES_MAX + 1)),
        ("200 OK", "", b"<html>"),
        ("nonsense", "", b""),
    ],
)
async def test_an_issuer_that_misbehaves_changes_nothing(issuer, key, clock, status, headers, body):
    """Redirects are not followed, floods not read, and the last good set stays."""
    source = KeySource(issuer.url, production=False, clock=clock)
    await source.start()
    issuer.status, issuer.headers, issuer.body = status, headers, body
    await clock.advance(5)
    assert await source.find("unknown") is None
    assert source.stale
    assert (await source.find(key.kid)).kid == key.kid


async def test_an_issuer_that_hangs_holds_no_request(issuer, key, clock, eventually):
    """Known keys are found at once, unknown ones are given up soon; one look is made for all of them."""
    source = KeySource(issuer.url, production=False, clock=clock)
    await source.start()
    issuer.body = None
    await clock.advance(5)
    loop = asyncio.get_running_loop()
    began = loop.time()
    unknown = [asyncio.create_task(source.find(f"made-up-{number}")) for number in range(50)]
    await asyncio.sleep(0)
    assert (await source.find(key.kid)).kid == key.kid
    assert loop.time() - began < 0.4
    assert await asyncio.gather(*unknown) == [None] * 50
    assert loop.time() - began < FETCH_TIMEOUT_S
    assert issuer.requests == 2
    for writer in issuer.hanging:
        writer.close()
    await eventually(lambda: source.stale)
