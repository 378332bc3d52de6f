"""Our shortcuts through nats-py do what its own, slower ways do."""

import asyncio

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from breakwater.chassis.natsclient import EventClient

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
HEADERS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=12)


class Recorder:
    """Stands in a client's place and keeps what would be written."""

    def __init__(self, client: Client) -> None:
        self.written = b""
        self.client = client
        client._status = Client.CONNECTED
        client._max_payload = 1_000_000
        client._send_command = self.write  # type: ignore[method-assign]
        client._flush_pending = self.flush  # type: ignore[method-assign, assignment]
        client._flush_queue = asyncio.Queue()

    async def write(self, command: bytes, priority: bool = False) -> None:  # noqa: FBT001, FBT002 - nats-py's shape
        self.written += command

    async def flush(self) -> None:
        return


@given(headers=HEADERS, payload=st.binary(max_size=100))
async def test_messages_sent_together_are_those_sent_one_by_one(headers: dict[str, str], payload: bytes) -> None:
    """Byte for byte the same on the wire, but for the blank where a reply would stand."""
    own, theirs = Recorder(EventClient()), Recorder(Client())
    await own.client.publish_many([("breakwater.a", payload, headers), ("breakwater.b", b"", headers)])  # type: ignore[attr-defined]
    await theirs.client.publish("breakwater.a", payload, headers=dict(headers))
    await theirs.client.publish("breakwater.b", b"", headers=dict(headers))
    assert own.written == theirs.written.replace(b"HPUB breakwater.a  ", b"HPUB breakwater.a ").replace(
        b"HPUB breakwater.b  ", b"HPUB breakwater.b "
    )


@given(HEADERS)
async def test_headers_are_parsed_as_nats_py_parses_them(headers: dict[str, str]) -> None:
    """The quick parser and the thorough one agree, also on a status line with headers."""
    block = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    for raw in (b"NATS/1.0\r\n" + block + b"\r\n", b"NATS/1.0 408 Request Timeout\r\n" + block + b"\r\n"):
        assert await EventClient()._process_headers(raw) == await Client()._process_headers(raw)


async def test_a_header_cannot_break_out_of_its_line() -> None:
    """A line break in a value would be a header, or a command, of its own."""
    client = Recorder(EventClient()).client
    for value in ("a\r\nNats-Rollup: all", "a\nb"):
        with pytest.raises(ValueError, match="line break"):
            await client.publish_many([("breakwater.a", b"", {"name": value})])  # type: ignore[attr-defined]


async def test_nothing_is_sent_while_disconnected() -> None:
    """A batch is not kept for a later connection: its sender tries again."""
    with pytest.raises(nats.errors.ConnectionReconnectingError):
        await EventClient().publish_many([("breakwater.a", b"", {})])
