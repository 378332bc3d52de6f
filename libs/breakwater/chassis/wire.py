"""Failures and identity in their wire form: the one place where errors meet google.rpc.Status (https://aip.dev/193)."""

import math
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from breakwater.chassis import errors
from breakwater.chassis.errors import FieldError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.identity.v1 import identity_pb2

DOMAIN = "breakwater"
"""ErrorInfo.domain of a use case's failure."""
TRANSPORT_DOMAIN = "transport.breakwater"
"""ErrorInfo.domain of what the server itself refuses before any use case: a credential, a caller, too much load."""

PRIORITY_METADATA = "breakwater-priority"
"""Metadata, and header of a NATS request: a `breakwater.resilience.Priority`."""

DETAIL_LENGTH_MAX = 1_000
FIELD_ERRORS_MAX = 50
STATUS_TRAILER = "grpc-status-details-bin"

_CODES: dict[type[errors.BreakwaterError], grpc.StatusCode] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IdempotencyMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.PayloadTooLargeError: grpc.StatusCode.OUT_OF_RANGE,
    errors.RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DependencyAuthError: grpc.StatusCode.UNAVAILABLE,
    errors.InternalError: grpc.StatusCode.INTERNAL,
}
_CLASSES: dict[grpc.StatusCode, type[errors.BreakwaterError]] = {
    code: error for error, code in _CODES.items() if error is not errors.DependencyAuthError
} | {grpc.StatusCode.ALREADY_EXISTS: errors.ConflictError}


@dataclass(frozen=True, slots=True)
class Details:
    """What the status of a failed RPC says beside its code. `domain` is empty when the peer sent no ErrorInfo."""

    domain: str = ""
    reason: str = ""
    dependency: str | None = None
    errors: tuple[FieldError, ...] = ()
    retry_after_s: float | None = None


def code_of(error: errors.BreakwaterError) -> grpc.StatusCode:
    """The gRPC status of a failure; a subclass has its nearest ancestor's."""
    for each in type(error).__mro__:
        if each in _CODES:
            return _CODES[each]
    return grpc.StatusCode.INTERNAL


def class_of(code: grpc.StatusCode, reason: str) -> type[errors.BreakwaterError]:
    """The failure a status stands for; `InternalError` for a status this platform does not use."""
    if code is grpc.StatusCode.FAILED_PRECONDITION and reason != errors.IdempotencyMismatchError.default_code:
        return errors.ConflictError
    return _CLASSES.get(code, errors.InternalError)


def status_of(error: errors.BreakwaterError, *, domain: str = DOMAIN) -> status_pb2.Status:
    """The failure as google.rpc.Status with ErrorInfo, and BadRequest and RetryInfo where they apply."""
    code: int = code_of(error).value[0]
    status = status_pb2.Status(code=code, message=error.detail[:DETAIL_LENGTH_MAX])
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=domain)
    if error.dependency:
        info.metadata["dependency"] = error.dependency
    status.details.add().Pack(info)
    if error.errors:
        violations = error_details_pb2.BadRequest()
        for each in error.errors[:FIELD_ERRORS_MAX]:
            violations.field_violations.add(field=each.field, description=each.reason[:DETAIL_LENGTH_MAX])
        status.details.add().Pack(violations)
    if error.retry_after_s is not None and math.isfinite(error.retry_after_s):
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s)))
    return status


def trailers_of(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries a status."""
    return ((STATUS_TRAILER, status.SerializeToString()),)


def details_of(error: grpc.aio.AioRpcError) -> Details:
    """What a failed RPC's trailers say; nothing when they hold no well-formed status."""
    content = _status_trailer(error)
    if content is None:
        return Details()
    try:
        status = status_pb2.Status.FromString(content)
    except DecodeError:  # a peer's malformed trailer must not hide its failure
        return Details()
    info, violations, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    domain = reason = ""
    dependency: str | None = None
    fields: tuple[errors.FieldError, ...] = ()
    retry_after_s: float | None = None
    for detail in status.details:
        if detail.Unpack(info):
            domain, reason, dependency = info.domain, info.reason, info.metadata.get("dependency") or None
        elif detail.Unpack(violations):
            fields = tuple(errors.FieldError(each.field, each.description) for each in violations.field_violations)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Details(domain, reason, dependency, fields, retry_after_s)


def actor_to(actor: Actor) -> identity_pb2.Actor:
    """The actor in its wire form."""
    return identity_pb2.Actor(
        sub=actor.sub,
        role=identity_pb2.Role.Value(f"ROLE_{actor.role.name}"),
        scope=identity_pb2.Scope.Value(f"SCOPE_{actor.scope.name}"),
    )


def actor_from(actor: identity_pb2.Actor) -> Actor:
    """The actor a request is made for. Raises `InvalidRequestError` when it is incomplete or of unknown kind."""
    try:
        role = Role[identity_pb2.Role.Name(actor.role).removeprefix("ROLE_")]
        scope = Scope[identity_pb2.Scope.Name(actor.scope).removeprefix("SCOPE_")]
    except (KeyError, ValueError) as error:
        raise errors.InvalidRequestError(
            "The request names no known role and scope.", errors=(errors.FieldError("actor", "unknown role or scope"),)
        ) from error
    if not actor.sub:
        raise errors.InvalidRequestError(
            "The request names no actor.", errors=(errors.FieldError("actor.sub", "is empty"),)
        )
    return Actor(actor.sub, role, scope)


def _status_trailer(error: grpc.aio.AioRpcError) -> bytes | None:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_TRAILER and isinstance(value, bytes):
            return value
    return None


def _duration(seconds: float) -> Duration:
    whole = int(max(seconds, 0.0))
    return Duration(seconds=whole, nanos=int((max(seconds, 0.0) - whole) * 1e9))
