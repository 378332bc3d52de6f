"""What the driver's errors mean: to callers (`translated`), and to the policy of the edge (`classify`)."""

import asyncio

import asyncpg

from breakwater.chassis.errors import DeadlineExceededError, DependencyAuthError, UnavailableError
from breakwater.resilience import Outcome

DEPENDENCY = "postgres"

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What a statement may raise; a time-out is an `OSError`."""

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
)
_OUT = (
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
_CONFLICT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_CONFLICT_RETRY_AFTER_S = 0.1


class UniqueViolationError(Exception):
    """A row with this key exists; `constraint` names the index. The transaction, or its savepoint, is void."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class TooLateError(DeadlineExceededError):
    """The deadline had passed before the statement: nothing was sent, and nothing is said of the database."""


def connection_lost(error: BaseException) -> bool:
    """Whether the connection is gone: what was sent on it may or may not have happened."""
    return isinstance(error, _LOST) and not isinstance(error, TimeoutError)


def translated(error: Exception, *, lost: bool = False) -> Exception:
    """The error callers see; what is a defect of ours comes back as it is. `lost`: the connection is closed by now."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolationError(error.constraint_name or "")
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
        return DeadlineExceededError("The database did not answer in time.", dependency=DEPENDENCY)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return DependencyAuthError("The database refused our credential.", dependency=DEPENDENCY)
    if isinstance(error, _CONFLICT):
        return UnavailableError(
            "Another transaction was in the way.",
            code="transaction_conflict",
            dependency=DEPENDENCY,
            retry_after_s=_CONFLICT_RETRY_AFTER_S,
        )
    if lost or isinstance(error, _OUT) or connection_lost(error):
        return UnavailableError("The database cannot be reached.", dependency=DEPENDENCY)
    return error


def injected(sqlstate: str) -> Exception:
    """The error callers see when PostgreSQL fails with `sqlstate`; one that it does not know is an outage."""
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": "injected"})
    return translated(error, lost=isinstance(error, asyncpg.UnknownPostgresError))


def classify(error: BaseException) -> Outcome:
    """For the policy of `service -> postgres`: only what PostgreSQL failed to do counts against it."""
    if isinstance(error, DependencyAuthError) and error.dependency == DEPENDENCY:
        return Outcome.AUTH_REJECTED
    if isinstance(error, TooLateError):
        return Outcome.DEADLINE_EXCEEDED
    if isinstance(error, DeadlineExceededError) and error.dependency == DEPENDENCY:
        return Outcome.TIMEOUT
    if isinstance(error, UnavailableError) and error.dependency == DEPENDENCY:
        return Outcome.CALLER_FAULT if error.code == "transaction_conflict" else Outcome.FAILURE
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return Outcome.CANCELLED
    return Outcome.CALLER_FAULT
