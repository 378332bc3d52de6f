"""What a policy raises; each error names its edge, and none is ever raised twice as the same instance."""

from typing import ClassVar

from breakwater.resilience._outcome import Outcome


class PolicyError(Exception):
    """A call that the policy refused or cut short.

    `caller` and `dependency` name the edge; `retry_after_s` says, where it is known, after how many seconds another
    call has a chance.
    """

    outcome: ClassVar[Outcome] = Outcome.FAILURE

    def __init__(self, caller: str, dependency: str, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{caller} -> {dependency}: {detail}")
        self.caller = caller
        self.dependency = dependency
        self.detail = detail
        self.retry_after_s = retry_after_s


class CircuitOpenError(PolicyError):
    """The circuit is open, forced open, or half-open with every probe leased; the dependency was not called."""

    outcome = Outcome.SHORT_CIRCUITED


class BulkheadFullError(PolicyError):
    """Every slot and every place in the queue is taken, or the wait for a slot took too long; nothing was called."""

    outcome = Outcome.REJECTED


class DeadlineExceededError(PolicyError):
    """The caller's deadline passed: before the attempt started, or while it ran (then its effect is unknown)."""

    outcome = Outcome.DEADLINE_EXCEEDED


class AttemptTimeoutError(PolicyError):
    """One attempt took longer than its timeout; its effect is unknown."""

    outcome = Outcome.TIMEOUT


class OverloadedError(PolicyError):
    """The dependency pushed back; an adapter raises it, `retry_after_s` is what the server asked for."""

    outcome = Outcome.OVERLOAD


class InjectedFaultError(PolicyError):
    """A fault that an override injected, in place of the dependency's own failure."""


class InjectedResetError(InjectedFaultError, ConnectionResetError):
    """The connection broke off."""


class InjectedRejectionError(InjectedFaultError):
    """Our credential was refused."""

    outcome = Outcome.AUTH_REJECTED


class InvalidPolicyError(ValueError):
    """A policy document breaks its rules; `errors` holds every one as `edge.field: reason`."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
