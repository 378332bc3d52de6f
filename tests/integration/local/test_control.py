"""The control socket: for the owner alone, whatever is sent to it."""

import asyncio
import socket

import pytest

from breakwater.local import control
from breakwater.local.errors import LocalPlatformError
from breakwater.local.ports import EPHEMERAL_RANGE, free_port, is_free, require_free


@pytest.fixture
async def path(tmp_path):
    """A control socket whose path is longer than Unix sockets allow; it answers what it was asked."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    async def handle(command, name):
        if command == "refuse":
            raise LocalPlatformError("no")
        return {"command": command, "name": name}

    server = await control.serve(deep / "control.sock", handle)
    yield deep / "control.sock"
    server.close()
    await server.wait_closed()


async def ask(path, *arguments):
    return await asyncio.to_thread(control.ask, path, *arguments)


async def test_a_command_is_answered(path):
    """One line asked, one answered, at any depth of directories; nobody else may connect."""
    assert await ask(path, "stop", "files") == {"command": "stop", "name": "files"}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_refusal_is_the_launchers_own_words(path):
    """What the launcher says reaches the person."""
    with pytest.raises(LocalPlatformError, match="no"):
        await ask(path, "refuse")


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[]\n", b"nonsense\n", b"\xff\xfe\n", b'{"command": null', b"x" * 300_000]
)
async def test_nonsense_does_not_end_it(path, line):
    """Whatever arrives, the next command is answered."""
    with control._reachable(path) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(line)
    writer.write_eof()
    await reader.read()
    writer.close()
    assert await ask(path, "status") == {"command": "status", "name": ""}


def test_without_a_launcher_the_message_says_how_to_start_one(tmp_path):
    """Neither a missing socket nor a dead one is a stack trace."""
    with pytest.raises(control.NotRunningError, match="breakwater up"):
        control.ask(tmp_path / "control.sock", "status")


def test_free_ports_lie_outside_of_the_range_of_outgoing_connections():
    """Nothing else takes them while a server is restarted."""
    lowest = int(EPHEMERAL_RANGE.read_text().split()[0])
    assert all(port < lowest for port in (free_port() for _ in range(20)))


def test_a_taken_port_is_seen():
    """And named in the error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(LocalPlatformError, match=f"Port {port} for nats"):
            require_free(port, "nats")
