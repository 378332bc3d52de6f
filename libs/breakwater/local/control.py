"""The launcher's control socket: one JSON line asked, one answered. Unix only, for the state's owner."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breakwater.local.errors import LocalPlatformError

LINE_SIZE_BYTES_MAX = 256 * 1024
ANSWER_TIMEOUT_S = 90.0

Handler = Callable[[str, str], Awaitable[dict[str, Any]]]


class NotRunningError(LocalPlatformError):
    """No launcher answers for this state."""


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listens on `path` (mode 0600). `handler(command, name)` answers or raises LocalPlatformError."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError, asyncio.LimitOverrunError):
            writer.write(json.dumps(await _answer(handler, await reader.readline())).encode() + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(converse, sock=_listener(path), limit=LINE_SIZE_BYTES_MAX)


def ask(path: Path, command: str, name: str = "", timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
    """Sends a command to the launcher. Raises NotRunningError, or LocalPlatformError with its refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with _reachable(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps({"command": command, "name": name}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline(LINE_SIZE_BYTES_MAX)
        except TimeoutError as error:
            raise LocalPlatformError(f"The launcher did not answer within {timeout_s:.0f} s.") from error
        except OSError as error:
            raise NotRunningError(f"No platform runs in {path.parent}: start it by `breakwater up`.") from error
    if not line:
        raise NotRunningError(f"The launcher in {path.parent} went away.")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LocalPlatformError(answer["error"])
    return answer


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _reachable(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    return listener


async def _answer(handler: Handler, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        return await handler(str(request["command"]), str(request.get("name", "")))
    except LocalPlatformError as error:
        return {"error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"error": "a request is a JSON object with `command` and `name`"}


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    # Addresses of Unix sockets end at 107 bytes; through its directory's descriptor any path is short.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
