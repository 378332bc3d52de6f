"""`GET /v1/dependencies/stream`: a snapshot, then every change, by server-sent events."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from breakwater.chassis.auth import CallerVerifier
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, OverloadedError, PermissionDeniedError
from services.gateway.http.problems import problem
from services.gateway.ops.console import Change, Console
from services.gateway.ops.http.access import VIEWERS
from services.gateway.ops.http.api import Views, snapshot
from services.gateway.ops.http.replies import send_answer
from services.gateway.ops.http.views import entry_view, incident_view

PATH = "/v1/dependencies/stream"
BEAT_S = 1.0
"""A quiet stream says this often that it is alive, so that the page can tell how old its data is."""
ENTRIES_MAX = 50


class StreamGate:
    """An ASGI application around another: serves the stream itself and passes everything else on."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        console: Console,
        views: Views,
        verifier: CallerVerifier,
        clock: Clock,
        streams_max: int,
        send_timeout_s: float,
    ) -> None:
        self._app = app
        self._console = console
        self._views = views
        self._verifier = verifier
        self._clock = clock
        self._streams_max = streams_max
        self._send_timeout_s = send_timeout_s
        self._streams = 0
        self._end = asyncio.Event()

    def end(self) -> None:
        """Ends every stream within a beat: an open one must not hold a drain. Pages connect again by themselves."""
        self._end.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except BreakwaterError as error:
            await send_answer(problem(error, secrets.token_hex(12)), send)
            return
        self._streams += 1
        try:
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            events = EventSourceResponse(
                self._events(), headers=headers, ping=3600, send_timeout=self._send_timeout_s, shutdown_grace_period=0
            )
            await events(scope, receive, send)
        finally:
            self._streams -= 1

    async def _admit(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        authorization = headers.get(b"authorization")
        actor = await self._verifier.verify(bearer(authorization.decode("latin-1") if authorization else None))
        if actor.role not in VIEWERS:
            raise PermissionDeniedError(f"the role {actor.role} may not do this")
        if self._streams >= self._streams_max:
            raise OverloadedError("too many streams are open", retry_after_s=5.0)

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        while not self._end.is_set():
            with self._console.watch() as watch:
                yield _event("snapshot", snapshot(self._console, self._views, self._clock, ENTRIES_MAX))
                async with aclosing(watch(BEAT_S)) as changes:
                    async for change in changes:
                        if self._end.is_set():
                            return
                        yield _event("change", self._change(change)) if change else ServerSentEvent("", event="beat")

    def _change(self, change: Change) -> dict[str, object]:
        incidents = change.incidents
        return {
            "edges": [self._views.edge(edge) for edge in change.edges],
            "gone": [f"{caller}>{dependency}@{instance}" for caller, dependency, instance in change.gone],
            "incidents": None if incidents is None else [incident_view(incident) for incident in incidents],
            "timeline": [entry_view(entry) for entry in change.entries],
        }


def _event(name: str, data: object) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=name)
