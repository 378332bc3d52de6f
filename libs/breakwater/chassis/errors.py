"""Failures with a meaning for callers.

Pure: domain and use cases raise these; the gRPC server and the gateway map them to a status in one place each.
Anything else that escapes is a defect and reaches callers as `internal`, without its text. The HTTP meaning of each
status is fixed by api.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of the input and what is wrong with it. `field` is a dotted path such as `utm.source`."""

    field: str
    reason: str


class BreakwaterError(Exception):
    """An expected failure.

    `detail` is a sentence for the caller and never holds secrets; `code` is stable, lower snake case, and explained by
    `breakwater explain CODE`; `dependency` names the edge that failed, when one did.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        dependency: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.dependency = dependency


class InvalidRequestError(BreakwaterError):
    """The input breaks a rule; `errors` names the fields."""

    status = 422
    default_code = "invalid_request"
    title = "Invalid request"


class IdempotencyMismatchError(BreakwaterError):
    """The Idempotency-Key was used before with another body."""

    status = 422
    default_code = "idempotency_key_reused"
    title = "Idempotency key reused"


class UnauthenticatedError(BreakwaterError):
    """No valid credential."""

    status = 401
    default_code = "unauthenticated"
    title = "Unauthenticated"


class PermissionDeniedError(BreakwaterError):
    """The role does not allow the action. What a caller may not *see* is `NotFoundError`."""

    status = 403
    default_code = "permission_denied"
    title = "Permission denied"


class NotFoundError(BreakwaterError):
    """It does not exist, or the caller may not know that it does."""

    status = 404
    default_code = "not_found"
    title = "Not found"


class ConflictError(BreakwaterError):
    """The present state does not allow the action."""

    status = 409
    default_code = "conflict"
    title = "Conflict"


class PayloadTooLargeError(BreakwaterError):
    """A body, file or message is past its limit; `detail` names the limit."""

    status = 413
    default_code = "payload_too_large"
    title = "Payload too large"


class RateLimitedError(BreakwaterError):
    """A limit of requests, jobs or concurrency is reached."""

    status = 429
    default_code = "rate_limited"
    title = "Too many requests"


class OverloadedError(RateLimitedError):
    """No room at present, whoever asks: push-back of a service, and nobody's quota."""

    status = 503
    default_code = "overloaded"
    title = "Overloaded"


class UnavailableError(BreakwaterError):
    """A dependency is out, or we are draining; trying again later may help."""

    status = 503
    default_code = "unavailable"
    title = "Unavailable"


class DeadlineExceededError(UnavailableError):
    """The deadline passed before the answer was there; the effect may or may not have happened."""

    default_code = "deadline_exceeded"
    title = "Deadline exceeded"


class DependencyAuthError(UnavailableError):
    """A dependency refused *our own* credential: a contract fault, never retried (resilience.md, classification)."""

    default_code = "dependency_auth"
    title = "Dependency refused our credential"


class InternalError(BreakwaterError):
    """A defect; the text of the cause stays in the log."""
