"""Failures as callers see them: RFC 9457 problem details, never with the text of an unexpected exception.

`type` is `/docs#problem-<code>`: it resolves on this gateway to what the code means and what to do next.
"""

import math
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
        case BodyTimeoutError():
            # Whatever may still come of the body is not waited for.
            headers.append((b"connection", b"close"))
        case RangeNotSatisfiableError():
            headers.append((b"content-range", f"bytes */{error.size_bytes}".encode()))
        case BreakwaterError(status=401):
            headers.append((b"www-authenticate", b'Bearer realm="breakwater"'))
        case _:
            pass
    return Answer(error.status, msgspec.json.encode(body), media_type=MEDIA_TYPE, headers=headers)
