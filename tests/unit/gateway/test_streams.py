"""Files on their way out: back-pressure, clients that leave, clients that stop reading, sources that break off."""

import asyncio
from dataclasses import replace

import pytest

from breakwater.chassis.errors import UnavailableError
from services.gateway.exports.domain import Engine, ExportState, File

CHUNKS = 1000


class Source:
    """Content of a full file, which knows how much was taken and whether it was closed."""

    def __init__(self, fail_after=None):
        self.taken, self.closed, self.fail_after = 0, False, fail_after

    async def content(self, job_id, offset, length):
        try:
            for _ in range(CHUNKS):
                if self.taken == self.fail_after:
                    raise UnavailableError("files is out", dependency="files")
                self.taken += 1
                yield b"1234"
        finally:
            self.closed = True


class Client:
    """The other end: takes `patience` pieces, then leaves or no longer reads."""

    def __init__(self, patience, *, leaves):
        self.patience, self.leaves = patience, leaves
        self.left, self.sent = asyncio.Event(), []
        self.asked = False

    async def receive(self):
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        # Room is made on the loop, as a socket does.
        await asyncio.sleep(0)
        if len(self.sent) == self.patience:
            self.left.set()
            if not self.leaves:
                await asyncio.Event().wait()


@pytest.fixture
async def download(make_gateway):
    """`await download(source, client)`: the content of a finished export of 4,000 bytes."""

    async def run(source, client):
        gateway = await make_gateway(send_timeout_s=0.05)
        export_id = (await gateway.ask("POST", "/v1/exports", json={"dataset": "leads", "format": "csv"})).json()["id"]
        gateway.exports.rows[export_id] = replace(
            gateway.exports.rows[export_id],
            state=ExportState.COMPLETED,
            engine=Engine.FILES,
            file=File(3, CHUNKS * 4, "ab"),
        )
        gateway.exports.content = source.content
        gateway.exports.made = UnavailableError("leads is out too")
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v1/exports/{export_id}/content",
            "query_string": b"",
            "headers": [(b"authorization", gateway.bearer()["authorization"].encode())],
        }
        await gateway.edge(scope, client.receive, client.send)

    return run


async def test_a_client_that_leaves_ends_the_stream_behind_it(download):
    """Nothing is read from files for nobody."""
    source, client = Source(), Client(10, leaves=True)
    await download(source, client)
    assert source.closed
    assert source.taken < 20


async def test_a_client_that_no_longer_reads_is_cut_off(download):
    """Its connection ends short of the promised length, so it cannot take a part for the whole."""
    source, client = Source(), Client(10, leaves=False)
    with pytest.raises(ConnectionAbortedError):
        await download(source, client)
    assert source.closed


async def test_a_source_that_breaks_off_cuts_the_stream(download):
    """The status is out already: only the missing bytes can tell."""
    client = Client(10**9, leaves=True)
    with pytest.raises(ConnectionAbortedError):
        await download(Source(fail_after=5), client)
    assert client.sent[0]["status"] == 200
    assert sum(len(message.get("body", b"")) for message in client.sent) == 20


async def test_a_source_that_is_out_from_the_start_is_a_503(download):
    """Before the first byte the status can still tell, and does."""
    client = Client(10**9, leaves=True)
    await download(Source(fail_after=0), client)
    assert client.sent[0]["status"] == 503


async def test_a_whole_file_arrives_whole(download):
    """4,000 bytes and the end."""
    source, client = Source(), Client(10**9, leaves=True)
    await download(source, client)
    assert sum(len(message.get("body", b"")) for message in client.sent) == 4 * CHUNKS
    assert source.closed
