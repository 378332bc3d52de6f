"""The HTTP server: uvicorn on httptools, with the limits it lacks.

uvicorn bounds neither the head of a request nor the time it takes, and refuses in plain text; here a head has bytes and
seconds, connections have a number, and every refusal is a problem (api.md).
"""

import asyncio
import secrets
import socket
from asyncio import TimerHandle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from breakwater.chassis.errors import BreakwaterError, InvalidRequestError, OverloadedError
from services.gateway.http.problems import MEDIA_TYPE, problem

_START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one listening socket takes on."""

    connections_max: int
    head_size_bytes_max: int
    head_timeout_s: float
    keep_alive_s: int


class MalformedRequestError(InvalidRequestError):
    """The bytes are not HTTP/1.1."""

    status = 400
    default_code = "malformed_request"
    title = "Malformed request"


class HeadTooLargeError(BreakwaterError):
    """Request line and headers are past their limit."""

    status = 431
    default_code = "head_too_large"
    title = "Request head too large"


class HeadTimeoutError(BreakwaterError):
    """The head of a request did not arrive in time."""

    status = 408
    default_code = "head_timeout"
    title = "Request head not received in time"


def bounded_protocol(limits: ServerLimits) -> type[HttpToolsProtocol]:
    """uvicorn's protocol bound to these limits: uvicorn makes one instance for each connection by itself."""

    class BoundedProtocol(_Protocol):
        bounds = limits

    return BoundedProtocol


class _Protocol(HttpToolsProtocol):
    bounds: ServerLimits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unparsed_size_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._refusal: BreakwaterError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections_max:
            self._refuse(OverloadedError("too many connections", retry_after_s=1.0))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What still arrives after a refusal has nobody to read it.
        if self.transport.is_closing():
            return
        awaited = self._head_timer
        super().data_received(data)
        if awaited is not None and self._head_timer is awaited:
            # All of it belongs to a head that is not complete yet; a head that came in one piece is counted when it is.
            self._unparsed_size_bytes += len(data)
            if self._unparsed_size_bytes > self.bounds.head_size_bytes_max:
                self._refuse(self._head_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        if (
            len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            > self.bounds.head_size_bytes_max
        ):
            self._refusal = self._head_too_large()
            # Stops the parser, which reports it to data_received and so to send_400_response.
            raise httptools.HttpParserError(self._refusal.detail)
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(self._refusal or MalformedRequestError("the request is not valid HTTP/1.1"))

    def _head_too_large(self) -> HeadTooLargeError:
        return HeadTooLargeError(f"request line and headers are larger than {self.bounds.head_size_bytes_max} bytes")

    def _await_head(self) -> None:
        if self._head_timer is not None:
            return
        self._unparsed_size_bytes = 0
        self._head_timer = self.loop.call_later(
            self.bounds.head_timeout_s, self._refuse, HeadTimeoutError("the head did not arrive in time")
        )

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: BreakwaterError) -> None:
        self._head_arrived()
        if self.transport.is_closing():
            return
        # None until the first request's head is complete, whatever uvicorn's annotation says.
        in_flight: RequestResponseCycle | None = self.cycle
        if in_flight is None or in_flight.response_complete:
            request_id = secrets.token_hex(12)
            reply = problem(error, request_id)
            head = [
                STATUS_LINE[reply.status],
                b"content-type: " + MEDIA_TYPE + b"\r\n",
                b"content-length: " + str(len(reply.body)).encode() + b"\r\n",
                b"x-request-id: " + request_id.encode() + b"\r\n",
                *(name + b": " + value + b"\r\n" for name, value in reply.headers),
                b"connection: close\r\n\r\n",
            ]
            self.transport.write(b"".join(head) + reply.body)
        self.transport.close()


class HttpServer:
    """A front of the process: listens from `start` on, `drain` ends it when the requests in flight are answered."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, limits: ServerLimits) -> None:
        self._socket = socket.create_server((host, port), backlog=2048, family=_family(host))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            cast("Any", app),
            loop="none",
            http=bounded_protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=limits.keep_alive_s,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def accepting(self) -> bool:
        """From `start` until the drain begins."""
        return self._server.started and not self._server.should_exit

    async def start(self) -> None:
        """Returns when connections are taken. Raises what keeps uvicorn from starting."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http-server")
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not self._server.started:
                if self._serving.done():
                    await self._serving
                    raise RuntimeError("the HTTP server ended while starting")
                await asyncio.sleep(0.005)

    async def drain(self, grace_s: float) -> None:
        """Takes no new connections, answers what is in flight for at most `grace_s`, then ends."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's life cycle, not to one of its fronts."""
        yield


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
