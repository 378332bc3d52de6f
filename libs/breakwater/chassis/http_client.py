"""Calls over HTTP to what is not ours: chat robots, a finance system. The policy of the edge around every request.

One client reaches one configured base URL and nothing else: no redirects, no cookies, no proxies of the environment, no
address that `Egress` refuses, bodies of bounded size in both directions, nothing compressed (a bomb needs that).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
from opentelemetry.trace import SpanKind

from breakwater.chassis import errors, telemetry
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.egress import Egress, EgressRefusedError
from breakwater.chassis.logging import get_logger
from breakwater.chassis.policies import CallFailedError, error_of
from breakwater.resilience import Deadline, Outcome, Policy, PolicyError
from breakwater.resilience.errors import AttemptTimeoutError, OverloadedError
from breakwater.resilience.faults import Fault, FaultKind, current_fault

__all__ = ["Answer", "HttpClient", "HttpLimits", "Judge", "Refusal"]

RETRY_AFTER_S_MAX = 3600.0
"""A longer Retry-After is taken as this: nothing here waits for a day."""

_IDENTITY = "identity"
_STATUS_END = 600
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of one client."""

    answer_size_bytes_max: int = 1024 * 1024
    request_size_bytes_max: int = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read to its end. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self) -> Any:
        """The body. Raises `ValueError` where it is no JSON."""
        return orjson.loads(self.content)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer means to the policy when it is no success. `detail` is for our own caller and holds no secret."""

    outcome: Outcome
    detail: str
    code: str | None = None
    retry_after_s: float | None = None


Judge = Callable[[Answer], Refusal | None]
"""Reads an answer whose status does not say everything: robots answer errors as HTTP 200 (wire-formats.md).

None leaves it to the status. What a judge raises over a body it cannot read counts as a failure of the dependency.
"""

_STATUS_ERRORS: Mapping[int, type[errors.BreakwaterError]] = {
    HTTPStatus.NOT_FOUND: errors.NotFoundError,
    HTTPStatus.CONFLICT: errors.ConflictError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.PayloadTooLargeError,
}


class HttpClient:
    """The one way to call a dependency over HTTP.

    Every failure is a `chassis.errors` one with `dependency` set, as with `Channel`: `UnavailableError` (no connection,
    5xx, 408, a redirect, an answer that is too large), `OverloadedError` (429, or 503 with Retry-After),
    `DependencyAuthError` (401, 403), `DeadlineExceededError`, and for other 4xx `InvalidRequestError`, `NotFoundError`,
    `ConflictError` or `PayloadTooLargeError`.
    """

    def __init__(
        self,
        dependency: str,
        base_url: str,
        policy: Policy,
        *,
        egress: Egress | None = None,
        judge: Judge | None = None,
        limits: HttpLimits | None = None,
        user_agent: str = "breakwater",
        clock: Clock | None = None,
    ) -> None:
        """Raises `ValueError` for a base that is no http(s) URL, and for a policy that leaves the time to the transport."""
        parts = urlsplit(base_url)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ValueError(f"the base of {dependency} must be http(s)://host[:port][/path]")
        if not policy.settings.attempt_timer:
            # httpx2 times each read, not the request: an answer that drips would last for ever.
            raise ValueError(f"the edge to {dependency} needs attempt_timer")
        self.dependency = dependency
        self._base = base_url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._policy = policy
        # Only the transport can fail with a status of HTTP, or send a credential that is refused.
        policy.chaos.transport_commits = frozenset({FaultKind.ERROR, FaultKind.CREDENTIAL})
        self._egress = egress or Egress()
        self._judge = judge
        self._limits = limits or HttpLimits()
        self._user_agent = user_agent
        self._clock = clock or SystemClock()
        connections_max = policy.settings.concurrency_max
        # The transport alone: httpx2's client would follow environment, cookies and redirects. Where there is no TLS to
        # verify, the certificates are not read: that takes 0.2 s.
        self._transport = httpx2.AsyncHTTPTransport(
            trust_env=False,
            verify=parts.scheme == "https",
            limits=httpx2.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        retryable: bool = False,
        deadline: Deadline | None = None,
        fallback: Callable[[errors.BreakwaterError], Awaitable[Answer]] | None = None,
    ) -> Answer:
        """One answer. `path` stands below the base and begins with a slash; `params` are encoded once.

        `retryable` only for what is idempotent or carries an idempotency key: after a time-out nobody knows what the
        dependency did.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("a path stands below the base: it begins with one slash")
        if len(content) > self._limits.request_size_bytes_max:
            raise errors.PayloadTooLargeError(
                f"A request to {self.dependency} has at most {self._limits.request_size_bytes_max} bytes."
            )
        url = httpx2.URL(f"{self._base}{path}", params=dict(params) if params else None)
        given = {"accept": "application/json", **(headers or {})}

        async def attempt(timeout_s: float) -> Answer:
            sent, answer = _with_fault(given, current_fault.get())
            if answer is None:
                answer = await self._exchange(method, url, sent, content, timeout_s)
            refusal = self._judged(answer)
            if refusal is not None:
                raise self._failed(refusal, answer.status)
            return answer

        async def instead(error: Exception) -> Answer:
            assert fallback is not None  # noqa: S101 - only passed on where there is one
            return await fallback(error_of(error))

        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": self._host,
            "server.port": self._port,
        }
        with telemetry.span(method, SpanKind.CLIENT, attributes):
            try:
                return await self._policy.call(
                    attempt, deadline=deadline, retryable=retryable, fallback=instead if fallback else None
                )
            except (CallFailedError, PolicyError) as error:
                raise error_of(error) from error

    async def close(self) -> None:
        """Disconnects."""
        await self._transport.aclose()

    async def _exchange(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], content: bytes, timeout_s: float
    ) -> Answer:
        try:
            request = await self._addressed(method, url, headers, content, timeout_s)
            response = await self._transport.handle_async_request(request)
            try:
                return await self._read(response)
            finally:
                await response.aclose()
        except EgressRefusedError as error:
            raise CallFailedError(error, Outcome.CALLER_FAULT) from error
        except httpx2.TimeoutException as error:
            raise AttemptTimeoutError(
                self._policy.settings.caller, self.dependency, f"no answer within {timeout_s} s"
            ) from error
        except (httpx2.TransportError, OSError) as error:
            # Lost after the request had left: nobody knows whether it was read.
            code = None if isinstance(error, httpx2.ConnectError) else "outcome_unknown"
            gone = errors.UnavailableError(
                f"{self.dependency} cannot be reached.", code=code, dependency=self.dependency
            )
            raise CallFailedError(gone, Outcome.FAILURE) from error

    async def _addressed(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], content: bytes, timeout_s: float
    ) -> httpx2.Request:
        """The request to the very address that was judged; the name stays in Host, SNI and certificate check."""
        address = await self._egress.resolve(self.dependency, self._host, self._port)
        traceparent = telemetry.current_traceparent()
        own = {"user-agent": self._user_agent, "accept-encoding": _IDENTITY}
        return httpx2.Request(
            method,
            url.copy_with(host=address),
            headers={
                **headers,
                **own,
                **({"traceparent": traceparent} if traceparent else {}),
                "host": url.netloc.decode("ascii"),
            },
            content=content,
            extensions={"timeout": httpx2.Timeout(timeout_s).as_dict(), "sni_hostname": self._host},
        )

    async def _read(self, response: httpx2.Response) -> Answer:
        if response.headers.get("content-encoding", _IDENTITY) != _IDENTITY:
            raise self._failed(Refusal(Outcome.FAILURE, f"{self.dependency} answered compressed, unasked."), 0)
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self._limits.answer_size_bytes_max:
                detail = f"{self.dependency} answered more than {self._limits.answer_size_bytes_max} bytes."
                raise self._failed(Refusal(Outcome.FAILURE, detail, code="answer_too_large"), 0)
        return Answer(response.status_code, dict(response.headers.items()), bytes(content))

    def _judged(self, answer: Answer) -> Refusal | None:
        if self._judge is not None:
            try:
                refusal = self._judge(answer)
            except Exception as error:  # noqa: BLE001 - a hostile body must not be more than a failed call
                _log.warning("answer_unreadable", dependency=self.dependency, problem=type(error).__name__)
                return Refusal(Outcome.FAILURE, f"{self.dependency} answered what cannot be read.")
            if refusal is not None:
                return refusal
        return refusal_of_status(self.dependency, answer, self._clock.now())

    def _failed(self, refusal: Refusal, status: int) -> CallFailedError | OverloadedError:
        caller, dependency, detail = self._policy.settings.caller, self.dependency, refusal.detail
        if refusal.outcome is Outcome.OVERLOAD:
            return OverloadedError(caller, dependency, detail, retry_after_s=refusal.retry_after_s)
        if refusal.outcome is Outcome.AUTH_REJECTED:
            error: errors.BreakwaterError = errors.DependencyAuthError(detail, code=refusal.code, dependency=dependency)
        elif refusal.outcome is Outcome.CALLER_FAULT:
            kind = _STATUS_ERRORS.get(status, errors.InvalidRequestError)
            error = kind(detail, code=refusal.code, dependency=dependency)
        else:
            error = errors.UnavailableError(
                detail,
                code=refusal.code or "dependency_failed",
                retry_after_s=refusal.retry_after_s,
                dependency=dependency,
            )
        return CallFailedError(error, refusal.outcome)


def _with_fault(headers: Mapping[str, str], fault: Fault | None) -> tuple[Mapping[str, str], Answer | None]:
    """The headers to send, and the answer of a fault that sends nothing."""
    if fault is None:
        return headers, None
    if fault.kind is FaultKind.ERROR:
        known = fault.code.isdecimal() and HTTPStatus.BAD_REQUEST <= int(fault.code) < _STATUS_END
        return headers, Answer(int(fault.code) if known else HTTPStatus.INTERNAL_SERVER_ERROR)
    credentials = [name for name in headers if name.lower() == "authorization"]
    if not credentials:
        # One that is part of a URL or a body is not ours to break.
        return headers, Answer(HTTPStatus.UNAUTHORIZED)
    return {**headers, credentials[0]: f"{headers[credentials[0]].partition(' ')[0]} refused"}, None


def refusal_of_status(dependency: str, answer: Answer, now: datetime) -> Refusal | None:
    """What a status alone says (RFC 9110, 15); None for 2xx."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    wait_s = retry_after_s(answer.headers.get("retry-after"), now)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and wait_s is not None):
        return Refusal(Outcome.OVERLOAD, f"{dependency} pushed back (HTTP {status}).", retry_after_s=wait_s)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return Refusal(Outcome.AUTH_REJECTED, f"{dependency} does not accept this service's credential.")
    client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if client_error and status != HTTPStatus.REQUEST_TIMEOUT:
        return Refusal(Outcome.CALLER_FAULT, f"{dependency} refused the request (HTTP {status}).")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Refusal(Outcome.FAILURE, f"{dependency} redirects (HTTP {status}); that is not followed.")
    return Refusal(Outcome.FAILURE, f"{dependency} failed (HTTP {status}).", retry_after_s=wait_s)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date (RFC 9110, 10.2.3); None where it says neither."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_S_MAX)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (aware - now).total_seconds()), RETRY_AFTER_S_MAX)
