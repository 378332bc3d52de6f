"""/metrics, /healthz and /readyz on a port of their own: a small responder, so that a service carries no web framework.

Readiness says whether this process takes requests, never whether its dependencies are well: a slow database must not
take every replica out (resilience.md, Pitfalls).
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from breakwater.chassis import metrics
from breakwater.chassis.logging import get_logger

REQUEST_SIZE_BYTES_MAX = 8 * 1024
REQUEST_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 16

_TEXT = "text/plain; charset=utf-8"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_log = get_logger(__name__)


class Probes:
    """The HTTP server of one process's probes. `ready` is asked at each request."""

    def __init__(self, host: str, port: int, ready: Callable[[], bool]) -> None:
        self._host = host
        self._port = port
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._connections = 0

    @property
    def port(self) -> int:
        """The bound port, once started."""
        return self._port

    async def start(self) -> None:
        """Binds and serves. Raises `OSError` when the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=REQUEST_SIZE_BYTES_MAX)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self._answer(head))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            _log.debug("probe_connection_ended", problem=type(error).__name__)
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET\n")
        if path == b"/metrics":
            # In a thread: hundreds of series must not hold up a request.
            return _response(HTTPStatus.OK, await asyncio.to_thread(metrics.exposition), _EXPOSITION)
        if path == b"/healthz":
            return _response(HTTPStatus.OK, b"alive\n")
        if path == b"/readyz":
            if self._ready():
                return _response(HTTPStatus.OK, b"ready\n")
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, b"starting or draining\n")
        return _response(HTTPStatus.NOT_FOUND, b"/metrics /healthz /readyz\n")


def _response(status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
