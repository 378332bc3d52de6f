"""Calls to other services: one channel for each, its policy around every call, credential, deadline and trace by
default.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
from opentelemetry.trace import SpanKind

from breakwater.chassis import errors, telemetry, wire
from breakwater.chassis.auth import ServiceSigner
from breakwater.chassis.policies import CallFailedError, error_of
from breakwater.resilience import Admission, Deadline, Outcome, Policy, PolicyError
from breakwater.resilience.errors import AttemptTimeoutError, OverloadedError
from breakwater.resilience.faults import Fault, FaultKind, current_fault
from breakwater.resilience.shedding import Priority, current_priority

Request = TypeVar("Request")
Response = TypeVar("Response")
T = TypeVar("T")
Call = TypeVar("Call")

MESSAGE_SIZE_BYTES_MAX = 4 * 1024 * 1024
METADATA_SIZE_BYTES_MAX = 16 * 1024
KEEPALIVE_S = 30

_PRIORITIES = {priority: (wire.PRIORITY_METADATA, priority.value) for priority in Priority}
_IPV4 = re.compile(r"[0-9.]+:\d+")
_CALLER_FAULTS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
    }
)
_AUTH = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_TOO_LARGE = re.compile(r"\b(?:[Rr]eceived|[Ss]ent) message larger than max")


class Channel:
    """The one way to call a service. Stubs are made on `.grpc`; calls go through `unary`, `stream` and `upload`.

    Every failure is a `chassis.errors` one. What the dependency's use case refused (not found, invalid ...) comes as
    it was raised there; what the dependency failed to do as `UnavailableError`, `DeadlineExceededError`,
    `OverloadedError` or `DependencyAuthError` with `dependency` set.
    """

    def __init__(
        self,
        dependency: str,
        addresses: Sequence[str],
        policy: Policy,
        signer: ServiceSigner | None,
        *,
        message_size_bytes_max: int = MESSAGE_SIZE_BYTES_MAX,
    ) -> None:
        """`signer` None sends no credential: only for what must work without one."""
        self.dependency = dependency
        self._policy = policy
        self._signer = signer
        # Only the transport can fail with a status of gRPC, or send a credential that is refused.
        credential = {FaultKind.CREDENTIAL} if signer is not None else set()
        policy.chaos.transport_commits = frozenset({FaultKind.ERROR, *credential})
        self.grpc = grpc.aio.insecure_channel(target_of(addresses), options=_options(message_size_bytes_max))

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        retryable: bool = False,
        deadline: Deadline | None = None,
        fallback: Callable[[errors.BreakwaterError], Awaitable[Response]] | None = None,
    ) -> Response:
        """One answer. `retryable` only for what is idempotent or carries an idempotency key.

        `deadline` defaults to that of the present request. `fallback` is given the failure and answers in its place.
        """

        async def attempt(timeout_s: float) -> Response:
            try:
                metadata = self._metadata(current_fault.get())
                return await method(request, timeout=timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise self._failed(error) from error
            except asyncio.CancelledError as error:
                raise self._cancelled(error) from error

        with telemetry.span(
            _name(method), SpanKind.CLIENT, {"rpc.system.name": "grpc", "server.address": self.dependency}
        ):
            try:
                return await self._policy.call(
                    attempt,
                    deadline=deadline,
                    retryable=retryable,
                    fallback=self._given(fallback) if fallback else None,
                )
            except (CallFailedError, PolicyError) as error:
                raise error_of(error) from error

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        deadline: Deadline | None = None,
        idle_timeout_s: float | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Many answers. Each must come within `idle_timeout_s`, by default the edge's attempt timeout; all before the
        deadline.

        Leaving the iteration early cancels the call; close it (`contextlib.aclosing`) to do so at once.
        """
        idle_s = idle_timeout_s or self._policy.settings.attempt_timeout_s
        try:
            async with self._policy.admit(deadline=deadline) as admission:
                call = method(request, timeout=admission.timeout_s, metadata=self._metadata(admission.fault))
                try:
                    messages = aiter(call)
                    while True:
                        try:
                            message = await self._soon(idle_s, _next(messages, admission))
                        except StopAsyncIteration:
                            break
                        admission.answered()
                        yield message
                finally:
                    call.cancel()
        except (CallFailedError, PolicyError) as error:
            raise error_of(error) from error

    async def upload(
        self,
        method: grpc.aio.StreamUnaryMultiCallable[Request, Response],
        requests: AsyncIterator[Request],
        *,
        deadline: Deadline | None = None,
        answer_timeout_s: float | None = None,
    ) -> Response:
        """Many messages for one answer; never retried, for the messages are gone.

        The service must take each message, and answer after the last, within `answer_timeout_s`, by default the edge's
        attempt timeout. What `requests` raises ends the call and is raised here.
        """
        answer_s = answer_timeout_s or self._policy.settings.attempt_timeout_s
        try:
            async with self._policy.admit(deadline=deadline) as admission:
                metadata = self._metadata(admission.fault)
                call = _with_true_status(method(timeout=admission.timeout_s, metadata=metadata))
                try:
                    async for request in requests:
                        if call.done():
                            break  # refused before the end: its status is the answer
                        await self._soon(answer_s, _sent(call, request, admission))
                    if not call.done():
                        await self._soon(answer_s, call.done_writing())
                    return await self._soon(answer_s, _answer(call))
                finally:
                    call.cancel()
        except (CallFailedError, PolicyError) as error:
            raise error_of(error) from error

    async def close(self) -> None:
        """Ends calls in flight and disconnects."""
        await self.grpc.close()

    def _metadata(self, fault: Fault | None) -> tuple[tuple[str, str], ...]:
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise self._failed(_injected(fault))
        # As metadata: per-RPC call credentials leak memory (measurements.md, gRPC settings).
        traceparent = telemetry.current_traceparent()
        trace = (("traceparent", traceparent),) if traceparent else ()
        inherited = (_PRIORITIES[current_priority.get()], *trace)
        if self._signer is None:
            return inherited
        token = self._signer.token_for(self.dependency)
        if fault is not None and fault.kind is FaultKind.CREDENTIAL:
            token = f"{token.rpartition('.')[0]}.{'A' * 86}"  # its signature is nobody's
        return (("authorization", f"Bearer {token}"), *inherited)

    async def _soon(self, timeout_s: float, work: Awaitable[T]) -> T:
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            caller = self._policy.settings.caller
            raise AttemptTimeoutError(caller, self.dependency, f"nothing came for {timeout_s} s") from error
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        except asyncio.CancelledError as error:
            raise self._cancelled(error) from error

    def _failed(self, error: grpc.aio.AioRpcError) -> CallFailedError | OverloadedError:
        details = wire.details_of(error)
        outcome = outcome_of(error, details)
        if outcome is Outcome.OVERLOAD:
            return OverloadedError(
                self._policy.settings.caller, self.dependency, "it pushed back", retry_after_s=details.retry_after_s
            )
        return CallFailedError(self._translated(error, details, outcome), outcome)

    def _translated(
        self, error: grpc.aio.AioRpcError, details: wire.Details, outcome: Outcome
    ) -> errors.BreakwaterError:
        code, text = error.code(), error.details() or ""
        if outcome is Outcome.AUTH_REJECTED:
            return errors.DependencyAuthError(
                f"{self.dependency} does not accept this service's credential.", dependency=self.dependency
            )
        if _TOO_LARGE.search(text):
            return errors.PayloadTooLargeError(f"A message for {self.dependency} is larger than its limit.")
        if outcome is Outcome.CALLER_FAULT and details.domain == wire.DOMAIN:
            return wire.class_of(code, details.reason)(
                text,
                code=details.reason,
                errors=details.errors,
                retry_after_s=details.retry_after_s,
                dependency=details.dependency,
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceededError(
                f"{self.dependency} did not answer in time.", dependency=details.dependency or self.dependency
            )
        if outcome is Outcome.CALLER_FAULT:
            # A status without our ErrorInfo: its text may be anything, its meaning is certain.
            return wire.class_of(code, details.reason)(f"{self.dependency} refused the request.")
        # The deepest failing edge is the root cause: what the dependency names goes before the dependency itself.
        return errors.UnavailableError(
            f"{self.dependency} could not do it.",
            code=_code_of(code, details),
            retry_after_s=details.retry_after_s,
            dependency=details.dependency or self.dependency,
        )

    def _cancelled(self, error: asyncio.CancelledError) -> BaseException:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return error
        # gRPC raises CancelledError in calls whose channel is closed, though nobody cancelled this task.
        gone = errors.UnavailableError(f"The connection to {self.dependency} was closed.", dependency=self.dependency)
        return CallFailedError(gone, Outcome.CANCELLED)

    def _given(
        self, fallback: Callable[[errors.BreakwaterError], Awaitable[Response]]
    ) -> Callable[[Exception], Awaitable[Response]]:
        def answer(error: Exception) -> Awaitable[Response]:
            return fallback(error_of(error))

        return answer


def outcome_of(error: grpc.aio.AioRpcError, details: wire.Details) -> Outcome:
    """What a failed attempt says of the dependency (resilience.md, classification)."""
    code = error.code()
    if code in _AUTH:
        # A use case's refusal of the *actor* carries our domain; anything else refuses this service's credential.
        return Outcome.CALLER_FAULT if details.domain == wire.DOMAIN else Outcome.AUTH_REJECTED
    if code in _CALLER_FAULTS:
        return Outcome.CALLER_FAULT
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        limited = details.domain == wire.DOMAIN and details.reason != errors.OverloadedError.default_code
        return Outcome.CALLER_FAULT if limited or _TOO_LARGE.search(error.details() or "") else Outcome.OVERLOAD
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome.TIMEOUT
    return Outcome.FAILURE


def target_of(addresses: Sequence[str]) -> str:
    """gRPC's target for the addresses of one service: `ipv4:a,b`, or a name for DNS.

    Raises `ValueError` for several addresses that are not all IPv4: give them one DNS name.
    """
    if addresses and all(map(_IPV4.fullmatch, addresses)):
        return "ipv4:" + ",".join(addresses)
    if len(addresses) != 1:
        raise ValueError("several addresses of one service must be IPv4 addresses")
    address = addresses[0]
    return address if re.match(r"(?:dns|ipv4|ipv6|unix):", address) else f"dns:///{address}"


def _options(message_size_bytes_max: int) -> list[tuple[str, Any]]:
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.max_send_message_length", message_size_bytes_max),
        ("grpc.max_receive_message_length", message_size_bytes_max),
        ("grpc.max_metadata_size", METADATA_SIZE_BYTES_MAX),
        ("grpc.enable_http_proxy", 0),
    ]


def _code_of(code: grpc.StatusCode, details: wire.Details) -> str | None:
    if code is grpc.StatusCode.UNAVAILABLE:
        return details.reason or None
    return "dependency_failed"


class _TrueStatus:
    """In place of gRPC's inner call: a write that fails must not invent a status."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def set_internal_error(self, _: str) -> None:
        """Nothing: the status of the service is on its way."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _with_true_status(call: Call) -> Call:
    # gRPC turns a write to a call that the service has ended into INTERNAL, and the service's own word is lost.
    inner: Any = call
    inner._cython_call = _TrueStatus(inner._cython_call)  # noqa: SLF001 - there is no public way; a test watches it
    return call


def _injected(fault: Fault) -> grpc.aio.AioRpcError:
    code = grpc.StatusCode.__members__.get(fault.code, grpc.StatusCode.UNKNOWN)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "injected")


async def _next(messages: AsyncIterator[Response], admission: Admission) -> Response:
    await admission.pace()
    return await anext(messages)


async def _sent(call: grpc.aio.StreamUnaryCall[Request, Any], request: Request, admission: Admission) -> None:
    await admission.pace()
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        return  # the call ended meanwhile: its status is the answer


async def _answer(call: grpc.aio.StreamUnaryCall[Any, Response]) -> Response:
    return await call


def _name(method: Any) -> str:
    # gRPC keeps the name to itself; without it a span could not say which RPC it is.
    name: bytes = getattr(method, "_method", b"")
    return name.decode("ascii").lstrip("/")
