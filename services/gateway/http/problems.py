"""Failures as callers see them: RFC 9457 problem details, never with the text of an unexpected exception.

`type` is `/docs#problem-<code>`: it resolves on this gateway to what the code means and what to do next.
"""

import math
from collections.abc import Mapping
from typing import NotRequired

import msgspec
from typing_extensions import TypedDict

from breakwater.chassis.errors import BreakwaterError, InvalidRequestError
from services.gateway.http.answers import Answer

MEDIA_TYPE = b"application/problem+json"


class MethodNotAllowedError(BreakwaterError):
    """The path exists, but not with this method; `allowed` names those it has."""

    status = 405
    default_code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, detail: str, allowed: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allowed = allowed


class BodyTimeoutError(BreakwaterError):
    """The body did not arrive within the route's deadline."""

    status = 408
    default_code = "body_timeout"
    title = "Body not received in time"


class UnsupportedMediaTypeError(BreakwaterError):
    """The body is of another type than the route takes."""

    status = 415
    default_code = "unsupported_media_type"
    title = "Unsupported media type"


class RangeNotSatisfiableError(BreakwaterError):
    """The range asked for lies outside of the content."""

    status = 416
    default_code = "range_not_satisfiable"
    title = "Range not satisfiable"

    def __init__(self, detail: str, size_bytes: int) -> None:
        super().__init__(detail)
        self.size_bytes = size_bytes


class MalformedBodyError(InvalidRequestError):
    """The body is not what its content type says."""

    default_code = "malformed_body"
    title = "Malformed body"


class FieldProblem(TypedDict):
    """One field and what is wrong with it; `field` is a dotted path."""

    field: str
    reason: str


class Problem(TypedDict):
    """A failure (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: NotRequired[list[FieldProblem]]
    retry_after_s: NotRequired[float]
    dependency: NotRequired[str]


NEXT_STEPS: Mapping[str, str] = {
    "body_timeout": "Send the whole body within the route's deadline, or ask for a longer one with X-Request-Timeout.",
    "circuit_open": "A part is out and is not called until it recovers: wait for Retry-After.",
    "conflict": "Read the record again: its present state does not allow the action.",
    "contract": "A service answers what we do not understand; on-call is told. Retry later.",
    "deadline_exceeded": "It may have happened: repeat it with the same Idempotency-Key, or ask for more time.",
    "dependency_auth": "A service refuses our credential: nothing is wrong with yours. Retry later.",
    "dependency_failed": "A service met a defect; quote request_id when you report it.",
    "export_expired": "The file's retention is over: ask for a new export.",
    "export_failed": "Read detail, correct the request and ask for a new export.",
    "export_not_ready": "Poll GET /v1/exports/{id} until its state is completed.",
    "head_timeout": "Send the request line and the headers without pauses.",
    "head_too_large": "Send fewer or shorter headers: detail names the limit.",
    "idempotency_key_in_flight": "The first request with this key is still running: repeat it after Retry-After.",
    "idempotency_key_reused": "This key was used with another body: use a new key for a new request.",
    "internal": "A defect of ours; quote request_id when you report it.",
    "invalid_request": "Correct the fields that errors names.",
    "local_engine_failed": "Neither engine could make the file; it is tried again by itself.",
    "malformed_body": "Send a body that is what its Content-Type says.",
    "malformed_request": "Speak HTTP/1.1.",
    "method_not_allowed": "Use one of the methods in the Allow header.",
    "not_ready": "The process starts or drains: wait for Retry-After.",
    "not_found": "Check the id; a record you may not see is not found either.",
    "overloaded": "This replica, or a part behind it, is at its limit: wait for Retry-After.",
    "payload_too_large": "Send less: detail names the limit.",
    "permission_denied": "Your role does not allow this; ask for a token with another role.",
    "range_not_satisfiable": "Ask for a range inside the size that Content-Range tells.",
    "rate_limited": "Slow down to what RateLimit-Policy allows and wait for Retry-After.",
    "unauthenticated": "Send Authorization: Bearer with a valid token: breakwater token --role ROLE --sub NAME.",
    "unavailable": "A part is out or busy; wait for Retry-After and repeat with the same Idempotency-Key.",
    "unsupported_media_type": "Send the Content-Type the route names.",
}
"""What a caller does next, by code; shown on /docs, where `type` points."""


def problem(error: BreakwaterError, request_id: str) -> Answer:
    """The answer for an expected failure, with the headers its status calls for."""
    body: Problem = {
        "type": f"/docs#problem-{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    headers: list[tuple[bytes, bytes]] = []
    if error.errors:
        body["errors"] = [{"field": entry.field, "reason": entry.reason} for entry in error.errors]
    if error.dependency:
        body["dependency"] = error.dependency
    retry_after_s = error.retry_after_s
    if retry_after_s is None and error.status == 503:  # noqa: PLR2004 - api.md: 503 always says when
        retry_after_s = 1.0
    if retry_after_s is not None:
        body["retry_after_s"] = round(retry_after_s, 3)
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after_s))).encode()))
    match error:
        case MethodNotAllowedError():
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        case RangeNotSatisfiableError():
            headers.append((b"content-range", f"bytes */{error.size_bytes}".encode()))
        case BreakwaterError(status=401):
            headers.append((b"www-authenticate", b'Bearer realm="breakwater"'))
        case _:
            pass
    return Answer(error.status, msgspec.json.encode(body), media_type=MEDIA_TYPE, headers=headers)
