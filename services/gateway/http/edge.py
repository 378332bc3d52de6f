"""What happens around every request, in this order: id and trace, route, room, caller, rate, deadline, endpoint.

One ASGI application instead of a stack of middleware: FastAPI declares the routes and makes OpenAPI, requests do not
pass through its handlers (a BaseHTTPMiddleware alone costs 0.6 of the throughput, measurements.md).
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from breakwater.chassis import metrics, telemetry
from breakwater.chassis.auth import CallerVerifier
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import (
    BreakwaterError,
    DeadlineExceededError,
    FieldError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitedError,
)
from breakwater.chassis.logging import get_logger
from breakwater.resilience import Deadline, current_deadline
from breakwater.resilience.shedding import Limiter, current_priority
from services.gateway.http.answers import Answer, Header, StreamAnswer
from services.gateway.http.call import Call, ClientGoneError
from services.gateway.http.problems import BodyTimeoutError, MethodNotAllowedError, problem
from services.gateway.http.ratelimit import RateLimiter
from services.gateway.http.routes import Route

REQUEST_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Requests answered (OpenTelemetry: http.server.request.duration).",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=metrics.LATENCY_BUCKETS_S,
    registry=metrics.REGISTRY,
)
REFUSED = Counter(
    "breakwater_http_refused_total", "Requests refused by a limit.", ("limit",), registry=metrics.REGISTRY
)

_FIRST_ERROR = 400

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one replica takes on."""

    body_size_bytes_max: int
    """A JSON body."""
    send_timeout_s: float
    """How long a client may take to make room for the next piece of a stream."""
    deadline_grace_s: float = 0.5
    """Past the deadline: what cuts a request whose parts did not keep to it."""


class Edge:
    """The ASGI application."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        verifier: CallerVerifier,
        rate_limiter: RateLimiter,
        hmac_key: bytes,
        limiter: Limiter,
        limits: EdgeLimits,
        clock: Clock,
        on_refusal: Callable[[Call, BreakwaterError], None] | None = None,
    ) -> None:
        """`on_refusal` hears of every failure of a request whose caller and route are known; it must return at once."""
        self._on_refusal = on_refusal
        self._routes = tuple(routes)
        self._fixed_paths = {(route.method, route.path): route for route in routes if not route.param_convertors}
        self._verifier = verifier
        self._rate_limiter = rate_limiter
        self._hmac_key = hmac_key
        self._limiter = limiter
        self._limits = limits
        self._clock = clock
        self._durations: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise TypeError(f"the gateway speaks HTTP, not {scope['type']}")
        started_s = self._clock.monotonic()
        call = Call(scope, receive, secrets.token_hex(12), self._hmac_key)
        telemetry.join(call.header("traceparent"))
        answered = False
        try:
            with telemetry.span(scope["method"], SpanKind.SERVER) as span:
                reply = await self._reply(call)
                if span is not None:
                    span.set_attributes(_attributes(call, reply))
            await self._send(call, reply, send)
            answered = reply.status < _FIRST_ERROR
        except ClientGoneError:
            return
        finally:
            self._leave(call, started_s, answered=answered)
        self._observe(call, reply.status, self._clock.monotonic() - started_s)

    async def _reply(self, call: Call) -> Answer | StreamAnswer:
        try:
            call.refuse_doubled_headers()
            route, path_parameters = self._resolve(call.scope)
            call.route = route.path
            self._enter(route, call)
            return await self._answer(route, path_parameters, call)
        except BreakwaterError as error:
            if error.status >= 500 and not isinstance(error, OverloadedError):  # noqa: PLR2004 - a line for each of a flood is another flood
                _log.warning(
                    "request_failed",
                    request_id=call.request_id,
                    route=call.route,
                    code=error.code,
                    dependency=error.dependency,
                )
            if self._on_refusal is not None and call.route and hasattr(call, "actor"):
                self._on_refusal(call, error)
            return problem(error, call.request_id)
        except ClientGoneError:
            raise
        except Exception:  # noqa: BLE001 - whatever escapes is a defect: logged with its trace, told without its text
            _log.exception("request_crashed", request_id=call.request_id, route=call.route)
            return problem(InternalError("Something went wrong on our side."), call.request_id)

    def _enter(self, route: Route, call: Call) -> None:
        enter = self._limiter.enter_stream if route.access.streams else self._limiter.enter
        retry_after_s = enter(route.access.priority)
        if retry_after_s is not None:
            raise OverloadedError("too many requests at a time", retry_after_s=retry_after_s)
        call.access = route.access
        current_priority.set(route.access.priority)

    def _leave(self, call: Call, started_s: float, *, answered: bool) -> None:
        if call.access is None:
            return
        if call.access.streams:
            self._limiter.leave_stream(call.access.priority)
        else:
            self._limiter.leave(call.access.priority, call.route, started_s, answered=answered)

    def _resolve(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        method, path = scope["method"], scope["path"]
        fixed = self._fixed_paths.get((method, path))
        if fixed is not None:
            return fixed, {}
        allowed: list[str] = []
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                return route, found["path_params"]
            if match is Match.PARTIAL:
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowedError(f"{path} does not take this method", tuple(sorted(allowed)))
        raise NotFoundError("there is no such route")

    async def _answer(self, route: Route, path_parameters: dict[str, str], call: Call) -> Answer | StreamAnswer:
        if not route.access.open:
            call.actor = await self._verifier.verify(bearer(call.header("authorization")))
            if call.actor.role not in route.access.roles:
                raise PermissionDeniedError(f"the role {call.actor.role} may not do this")
            self._take_token(call)
        deadline_s = requested_timeout_s(call, route.access.deadline_max_s)
        deadline = Deadline.after(deadline_s, clock=self._clock)
        current_deadline.set(deadline)
        try:
            async with asyncio.timeout(deadline_s + self._limits.deadline_grace_s):
                body_size_bytes_max = max(self._limits.body_size_bytes_max, route.access.body_size_bytes_max)
                return await route.run(call, path_parameters, body_size_bytes_max)
        except TimeoutError:
            if call.reading:
                raise BodyTimeoutError("the body did not arrive in time") from None
            raise DeadlineExceededError("the answer was not there in time") from None

    def _take_token(self, call: Call) -> None:
        headers = call.answer_headers
        headers.append((b"ratelimit-policy", self._rate_limiter.policy_header))
        try:
            headers.append((b"ratelimit", self._rate_limiter.take(call.actor.sub)))
        except RateLimitedError as error:
            REFUSED.labels("rate").inc()
            headers.append((b"ratelimit", self._rate_limiter.refusal_header(error)))
            raise

    async def _send(self, call: Call, reply: Answer | StreamAnswer, send: Send) -> None:
        headers: list[Header] = [(b"x-request-id", call.request_id.encode()), *call.answer_headers, *reply.headers]
        headers.append((b"x-content-type-options", b"nosniff"))
        if not any(name == b"cache-control" for name, _ in reply.headers):
            headers.append((b"cache-control", b"no-store"))
        if isinstance(reply, Answer):
            if reply.body:
                headers.append((b"content-type", reply.media_type))
            headers.append((b"content-length", str(len(reply.body)).encode()))
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})
            return
        headers.append((b"content-type", reply.media_type))
        if reply.size_bytes is not None:
            headers.append((b"content-length", str(reply.size_bytes).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        # The server says nothing to one who sends on to a client that left: only `receive` tells.
        leaving = asyncio.ensure_future(call.gone())
        try:
            async with aclosing(reply.chunks) as chunks:
                async for chunk in chunks:
                    if leaving.done():
                        raise ClientGoneError
                    async with asyncio.timeout(self._limits.send_timeout_s):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (BreakwaterError, TimeoutError) as error:
            # The status is out: only a connection that ends short of its Content-Length can still tell.
            _log.warning("stream_cut", request_id=call.request_id, error=type(error).__name__)
            raise ConnectionAbortedError("the stream was cut") from None
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    def _observe(self, call: Call, status: int, duration_s: float) -> None:
        # Methods and paths that nobody declared are one label: a scanner must not make metrics grow.
        key = (call.scope["method"] if call.route else "_OTHER", call.route or "_OTHER", status)
        child = self._durations.get(key)
        if child is None:
            child = self._durations[key] = REQUEST_DURATION.labels(key[0], key[1], str(status))
        child.observe(duration_s)


def _attributes(call: Call, reply: Answer | StreamAnswer) -> dict[str, str | int]:
    return {
        "http.request.method": call.scope["method"],
        "http.route": call.route,
        "http.response.status_code": reply.status,
    }


def requested_timeout_s(call: Call, deadline_max_s: float) -> float:
    """What X-Request-Timeout asks for, capped by the route. Raises `InvalidRequestError`."""
    asked = call.header("x-request-timeout")
    if asked is None:
        return deadline_max_s
    try:
        timeout_s = float(asked)
    except ValueError:
        timeout_s = -1.0
    # Written so that NaN is refused as well.
    if not timeout_s > 0:
        raise InvalidRequestError(
            "the X-Request-Timeout is not usable",
            errors=(FieldError("X-Request-Timeout", "must be seconds above 0, such as 2.5"),),
        )
    return min(timeout_s, deadline_max_s)
