"""Server-sent events: who may open a stream, how many, and when they end; and `GET /v1/dependencies/stream` itself."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
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


Feed = Callable[[], AsyncGenerator[ServerSentEvent]]


class StreamGate:
    """An ASGI application around another: serves the streams itself and passes everything else on."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        feeds: Mapping[str, Feed],
        verifier: CallerVerifier,
        streams_max: int,
        send_timeout_s: float,
    ) -> None:
        """`feeds` are the streams by path; each has something to say at least every second or so."""
        self._app = app
        self._feeds = feeds
        self._verifier = verifier
        self._streams_max = streams_max
        self._send_timeout_s = send_timeout_s
        self._streams = 0
        self._end = asyncio.Event()

    def end(self) -> None:
        """Ends every stream within a beat: an open one must not hold a drain. Pages connect again by themselves."""
        self._end.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feed = self._feeds.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if feed is None:
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
                self._until_end(feed),
                headers=headers,
                ping=3600,
                send_timeout=self._send_timeout_s,
                shutdown_grace_period=0,
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

    async def _until_end(self, feed: Feed) -> AsyncIterator[ServerSentEvent]:
        async with aclosing(feed()) as events:
            async for event in events:
                if self._end.is_set():
                    return
                yield event


class EdgeStream:
    """A snapshot of every edge of every instance, then every change, with a beat in quiet times."""

    def __init__(self, console: Console, views: Views, clock: Clock) -> None:
        self._console = console
        self._views = views
        self._clock = clock

    async def events(self) -> AsyncGenerator[ServerSentEvent]:
        """One reader's stream."""
        while True:
            with self._console.watch() as watch:
                yield event_of("snapshot", snapshot(self._console, self._views, self._clock, ENTRIES_MAX))
                async with aclosing(watch(BEAT_S)) as changes:
                    async for change in changes:
                        yield event_of("change", self._change(change)) if change else ServerSentEvent("", event="beat")

    def _change(self, change: Change) -> dict[str, object]:
        incidents = change.incidents
        return {
            "edges": [self._views.edge(edge) for edge in change.edges],
            "gone": [f"{caller}>{dependency}@{instance}" for caller, dependency, instance in change.gone],
            "incidents": None if incidents is None else [incident_view(incident) for incident in incidents],
            "timeline": [entry_view(entry) for entry in change.entries],
        }


def event_of(name: str, data: object) -> ServerSentEvent:
    """An event with its data as JSON."""
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=name)
