"""One fused wrapper around each RPC handler: credential, caller, load, deadline, trace, metrics and failures.

An interceptor for each would cost a third of a hop (measurements.md). The wrapper takes raw bytes, so that what a
stranger sends is not even parsed, and it is the one place where an exception becomes a status.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import grpc
from google.rpc import status_pb2
from opentelemetry.trace import SpanKind
from prometheus_client import Histogram

from breakwater.chassis import errors, metrics, telemetry, wire
from breakwater.chassis.auth import ServiceVerifier, TokenRefusedError
from breakwater.chassis.auth.claims import Reason
from breakwater.chassis.auth.verify import bearer
from breakwater.chassis.logging import get_logger
from breakwater.chassis.policies import error_of_policy
from breakwater.resilience import Deadline, PolicyError, current_deadline
from breakwater.resilience.shedding import Limiter, Priority, current_priority

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

current_caller: ContextVar[str] = ContextVar("breakwater_caller")
"""The service that calls the present RPC, from its verified token."""

_log = get_logger(__name__)


class _RefusedError(Exception):
    """The server refuses before any use case runs; `error` says what the client is told."""

    def __init__(self, error: errors.BreakwaterError) -> None:
        super().__init__(error.detail)
        self.error = error


class Claims(NamedTuple):
    """What a request says of itself in its metadata; nothing of it is believed yet."""

    authorization: str | None
    traceparent: str | None
    priority: Priority


@dataclass(slots=True)
class Method:
    """One RPC of a server. `name` is its full name, such as `breakwater.leads.v1.LeadsService/CreateLead`."""

    name: str
    callers: frozenset[str]
    verifier: ServiceVerifier
    limiter: Limiter
    deadline_default_s: float
    priority: Priority | None = None
    """Of every call, whatever the client says."""
    attributes: dict[str, telemetry.AttributeValue] = field(init=False)
    durations: dict[grpc.StatusCode, Histogram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attributes = {"rpc.system.name": "grpc", "rpc.method": self.name}

    def read(self, context: Context) -> Claims:
        """The metadata of a request. Raises `_RefusedError` for two credentials."""
        authorization = traceparent = None
        # A client that says nothing has somebody waiting, for all we know.
        priority = Priority.INTERACTIVE
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                if authorization is not None:
                    raise self._refused_token(TokenRefusedError(Reason.DUPLICATE), context)
                authorization = value
            elif key == "traceparent":
                traceparent = value
            elif key == wire.PRIORITY_METADATA:
                priority = _PRIORITY_BY_NAME.get(value, priority)
        return Claims(cast("str | None", authorization), cast("str | None", traceparent), self.priority or priority)

    async def admit(self, claims: Claims, context: Context) -> float | None:
        """Checks credential, caller and deadline and sets the request's context.

        The seconds to enforce are returned where the client set no deadline; gRPC itself enforces the client's. Raises
        `_RefusedError`.
        """
        telemetry.join(claims.traceparent)
        current_priority.set(claims.priority)
        try:
            caller = await self.verifier.verify(bearer(claims.authorization))
        except TokenRefusedError as error:
            raise self._refused_token(error, context) from error
        if caller not in self.callers:
            _log.warning("caller_refused", rpc=self.name, caller=caller)
            raise _RefusedError(
                errors.PermissionDeniedError(f"{caller} may not call {self.name}.", code="caller_refused")
            )
        current_caller.set(caller)
        remaining_s: float | None = context.time_remaining()
        if remaining_s is not None and remaining_s <= 0:
            raise _RefusedError(errors.DeadlineExceededError("The deadline passed before the work started."))
        current_deadline.set(Deadline.after(self.deadline_default_s if remaining_s is None else remaining_s))
        return self.deadline_default_s if remaining_s is None else None

    def observe(self, code: grpc.StatusCode, started_s: float) -> None:
        """Records an RPC that began at `started_s` of `time.monotonic`."""
        duration = self.durations.get(code)
        if duration is None:
            duration = self.durations[code] = metrics.RPC_SERVER_DURATION.labels(self.name, code.name)
        duration.observe(monotonic() - started_s)

    async def fail(self, error: BaseException, context: Context, started_s: float) -> None:
        """Answers a failed RPC with its status, or returns for the exception to go on: a cancelled or aborted one."""
        if isinstance(error, grpc.aio.AbortError):
            self.observe(context.code(), started_s)
            return
        task = asyncio.current_task()
        if not isinstance(error, Exception) and not (
            # Raised by something the handler awaited, not by gRPC ending this task: unanswered, its client would hang.
            isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()
        ):
            self.observe(grpc.StatusCode.CANCELLED, started_s)
            return
        status = self._status(error)
        code = _CODE_BY_NUMBER[status.code]
        self.observe(code, started_s)
        await context.abort(code, status.message, wire.trailers_of(status))

    def _status(self, error: BaseException) -> status_pb2.Status:
        if isinstance(error, _RefusedError):
            return wire.status_of(error.error, domain=wire.TRANSPORT_DOMAIN)
        if isinstance(error, PolicyError):
            error = error_of_policy(error)
        if isinstance(error, errors.BreakwaterError) and not isinstance(error, errors.InternalError):
            # A line for each of a flood is another flood.
            if error.status >= errors.InternalError.status and not isinstance(error, errors.OverloadedError):
                _log.warning("rpc_failed", rpc=self.name, code=error.code, dependency=error.dependency)
            return wire.status_of(error)
        _log.error("rpc_defect", rpc=self.name, exc_info=error)
        return wire.status_of(errors.InternalError("internal error"))

    def _refused_token(self, error: TokenRefusedError, context: Context) -> _RefusedError:
        _log.warning("token_refused", rpc=self.name, reason=error.reason.value, peer=context.peer())
        return _RefusedError(error)


def wrap(method: Method, handler: Handler) -> Handler:
    """The handler behind the method's wrapper. Raises `TypeError` for one that is not asynchronous."""
    parse, dump = handler.request_deserializer, handler.response_serializer
    if parse is None or dump is None:
        raise TypeError(f"{method.name} has no serialisers")
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if handler.response_streaming != inspect.isasyncgenfunction(behaviour):
        raise TypeError(f"{method.name} must be an async {'generator' if handler.response_streaming else 'function'}")
    if not handler.response_streaming and not inspect.iscoroutinefunction(behaviour):
        raise TypeError(f"{method.name} must be an async function")
    requests = _parsed_stream if handler.request_streaming else _parsed
    if handler.response_streaming:
        serve = _streaming(method, behaviour, parse, dump, requests)
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
    else:
        serve = _single(method, behaviour, parse, dump, requests)
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
    return make(serve)


def _single(method: Method, behaviour: Any, parse: Any, dump: Any, requests: Any) -> Any:
    limiter, name, attributes = method.limiter, method.name, method.attributes

    async def serve(content: Any, context: Context) -> bytes:
        started_s = monotonic()
        answered = False
        try:
            claims = method.read(context)
            _require_room(limiter.enter(claims.priority))
            try:
                timeout_s = await method.admit(claims, context)
                with telemetry.span(name, SpanKind.SERVER, attributes):
                    work = behaviour(requests(content, parse), context)
                    answer: bytes = dump(await (work if timeout_s is None else _within(timeout_s, work)))
                answered = True
            finally:
                limiter.leave(claims.priority, name, started_s, answered=answered)
        except BaseException as error:
            await method.fail(error, context, started_s)
            raise
        method.observe(grpc.StatusCode.OK, started_s)
        return answer

    return serve


def _streaming(method: Method, behaviour: Any, parse: Any, dump: Any, requests: Any) -> Any:
    limiter, name, attributes = method.limiter, method.name, method.attributes

    async def serve(content: Any, context: Context) -> AsyncIterator[bytes]:
        started_s = monotonic()
        try:
            claims = method.read(context)
            _require_room(limiter.enter_stream(claims.priority))
            try:
                timeout_s = await method.admit(claims, context)
                ends_at_s = None if timeout_s is None else started_s + timeout_s
                with telemetry.span(name, SpanKind.SERVER, attributes):
                    async with aclosing(behaviour(requests(content, parse), context)) as messages:
                        while True:
                            work = anext(messages)
                            try:
                                message = await (work if ends_at_s is None else _within(ends_at_s - monotonic(), work))
                            except StopAsyncIteration:
                                break
                            yield dump(message)
            finally:
                limiter.leave_stream(claims.priority)
        except BaseException as error:
            await method.fail(error, context, started_s)
            raise
        method.observe(grpc.StatusCode.OK, started_s)

    return serve


def _require_room(retry_after_s: float | None) -> None:
    if retry_after_s is not None:
        # At once, for waiting would only add load.
        raise _RefusedError(
            errors.OverloadedError("The service has as many requests as it can serve.", retry_after_s=retry_after_s)
        )


def _parsed(content: bytes, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(content)
    except (
        Exception
    ) as error:  # whatever the parser dislikes is the client's fault, and DecodeError has no narrower base
        raise errors.InvalidRequestError("The message cannot be parsed.", code="malformed_message") from error


async def _parsed_stream(contents: AsyncIterator[bytes], parse: Callable[[bytes], T]) -> AsyncIterator[T]:
    async for content in contents:
        yield _parsed(content, parse)


async def _within(timeout_s: float, work: Awaitable[T]) -> T:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise errors.DeadlineExceededError("The work took longer than a request without a deadline may.") from error
        raise


def method_for(
    name: str,
    handler: Handler,
    *,
    callers: Collection[str],
    verifier: ServiceVerifier,
    limiter: Limiter,
    unary_s: float,
    stream_s: float,
    priority: Priority | None,
) -> Method:
    """The method of a handler: streams have a default deadline of their own."""
    streaming = handler.request_streaming or handler.response_streaming
    return Method(name, frozenset(callers), verifier, limiter, stream_s if streaming else unary_s, priority)


_PRIORITY_BY_NAME: dict[Any, Priority] = {priority.value: priority for priority in Priority}
_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
