"""What happens around every request, in this order: id and trace, concurrency, route, caller, rate, deadline, endpoint.

One ASGI application instead of a stack of middleware: FastAPI declares the routes and makes OpenAPI, requests do not
pass through its handlers (a BaseHTTPMiddleware alone costs 0.6 of the throughput, measurements.md).
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
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
    PermissionDeniedError,
    RateLimitedError,
    UnavailableError,
)
from breakwater.chassis.logging import get_logger
from breakwater.resilience import Deadline, current_deadline
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
IN_FLIGHT = Gauge("breakwater_http_in_flight", "Requests being answered.", registry=metrics.REGISTRY)
REFUSED = Counter(
    "breakwater_http_refused_total", "Requests refused by a limit.", ("limit",), registry=metrics.REGISTRY
)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one replica takes on."""

    concurrency_max: int
    """Requests being answered; one more is 503 at once."""
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
        limits: EdgeLimits,
        clock: Clock,
    ) -> None:
        self._routes = tuple(routes)
        self._fixed_paths = {(route.method, route.path): route for route in routes if not route.param_convertors}
        self._verifier = verifier
        self._rate_limiter = rate_limiter
        self._hmac_key = hmac_key
        self._limits = limits
        self._clock = clock
        self._in_flight = 0
        self._durations: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise TypeError(f"the gateway speaks HTTP, not {scope['type']}")
        started_s = time.perf_counter()
        request_id = secrets.token_hex(12)
        headers: list[Header] = [(b"x-request-id", request_id.encode())]
        route: Route | None = None
        reply: Answer | StreamAnswer
        self._in_flight += 1
        IN_FLIGHT.set(self._in_flight)
        try:
            self._require_room()
            call = Call(scope, receive, request_id, self._hmac_key)
            telemetry.join(call.header("traceparent"))
            route, path_parameters = self._resolve(scope)
            reply = await self._answer(route, path_parameters, call, headers)
        except BreakwaterError as error:
            reply = problem(error, request_id)
            if error.status >= 500:  # noqa: PLR2004
                _log.warning("request_failed", request_id=request_id, code=error.code, dependency=error.dependency)
        except ClientGoneError:
            return
        except Exception:  # noqa: BLE001 - whatever escapes is a defect: logged with its trace, told without its text
            _log.exception("request_crashed", request_id=request_id, route=route.path if route else None)
            reply = problem(InternalError("Something went wrong on our side."), request_id)
        finally:
            self._in_flight -= 1
        try:
            await self._send(reply, headers, send)
        finally:
            self._observe(scope["method"], route, reply.status, time.perf_counter() - started_s)

    def _require_room(self) -> None:
        if self._in_flight > self._limits.concurrency_max:
            REFUSED.labels("concurrency").inc()
            raise UnavailableError("too many requests at a time", code="overloaded", retry_after_s=1.0)

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

    async def _answer(
        self, route: Route, path_parameters: dict[str, str], call: Call, headers: list[Header]
    ) -> Answer | StreamAnswer:
        if not route.access.open:
            call.actor = await self._verifier.verify(bearer(call.header("authorization")))
            if call.actor.role not in route.access.roles:
                raise PermissionDeniedError(f"the role {call.actor.role} may not do this")
            self._take_token(call, headers)
        deadline_s = requested_timeout_s(call, route.access.deadline_max_s)
        deadline = Deadline.after(deadline_s, clock=self._clock)
        current_deadline.set(deadline)
        try:
            async with asyncio.timeout(deadline_s + self._limits.deadline_grace_s):
                return await route.run(call, path_parameters, self._limits.body_size_bytes_max)
        except TimeoutError:
            if call.reading:
                raise BodyTimeoutError("the body did not arrive in time") from None
            raise DeadlineExceededError("the answer was not there in time") from None

    def _take_token(self, call: Call, headers: list[Header]) -> None:
        headers.append((b"ratelimit-policy", self._rate_limiter.policy_header))
        try:
            headers.append((b"ratelimit", self._rate_limiter.take(call.actor.sub)))
        except RateLimitedError as error:
            REFUSED.labels("rate").inc()
            headers.append((b"ratelimit", self._rate_limiter.refusal_header(error)))
            raise

    async def _send(self, reply: Answer | StreamAnswer, headers: list[Header], send: Send) -> None:
        size_bytes = len(reply.body) if isinstance(reply, Answer) else reply.size_bytes
        if reply.body if isinstance(reply, Answer) else True:
            headers.append((b"content-type", reply.media_type))
        headers += (
            (b"content-length", str(size_bytes).encode()),
            (b"x-content-type-options", b"nosniff"),
            *reply.headers,
        )
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if isinstance(reply, Answer):
            await send({"type": "http.response.body", "body": reply.body})
            return
        try:
            async for chunk in reply.chunks:
                async with asyncio.timeout(self._limits.send_timeout_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (BreakwaterError, TimeoutError) as error:
            # The status is out: only a connection that ends short of its Content-Length can still tell.
            _log.warning("stream_cut", error=type(error).__name__, detail=getattr(error, "detail", ""))
            raise ConnectionAbortedError("the stream was cut") from None
        await send({"type": "http.response.body", "body": b""})

    def _observe(self, method: str, route: Route | None, status: int, duration_s: float) -> None:
        key = (method if route else "_OTHER", route.path if route else "_OTHER", status)
        child = self._durations.get(key)
        if child is None:
            child = self._durations[key] = REQUEST_DURATION.labels(key[0], key[1], str(status))
        child.observe(duration_s)


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
