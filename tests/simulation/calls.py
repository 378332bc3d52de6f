"""One call of one caller, the dependency it meets, and what the model is told of both."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from breakwater.resilience import Admission, Deadline, Outcome, PolicyError, current_deadline
from breakwater.resilience._chaos import Chaos
from breakwater.resilience.errors import AttemptTimeoutError, BulkheadFullError, CircuitOpenError
from breakwater.resilience.faults import Fault
from tests.simulation.replica import Attempt, Replica
from tests.simulation.scene import ANSWER, ATTEMPT_TIMEOUT_S, FAILURE, LEASE, LEASE_S, STREAM_S_MAX

if TYPE_CHECKING:
    from tests.simulation.schedule import Schedule

_DEAF_SHARE: Final = 0.05
_FOR_EVER_S: Final = 1e6
_CALL_S_MAX: Final = 4 * (ATTEMPT_TIMEOUT_S + 0.3) + 5 + 1


class NotFoundError(Exception):
    outcome = Outcome.CALLER_FAULT


class CredentialRefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


class PushedBackError(Exception):
    outcome = Outcome.OVERLOAD
    retry_after_s = 0.3


class DropError(ConnectionError):
    outcome = Outcome.FAILURE


class CrashError(BaseException):
    """What no handler of ours knows: the attempt's task dies of it."""

    outcome = Outcome.CANCELLED


FAULTS: Final = (DropError, DropError, DropError, NotFoundError, CredentialRefusedError, PushedBackError, CrashError)
_EXPECTED: Final = (
    PolicyError, DropError, NotFoundError, CredentialRefusedError, PushedBackError, TimeoutError, CrashError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls through one replica, in one style, in its own hurry."""

    replica: int
    style: int
    deadline_s: float | None


PLAIN, RETRYING, DEGRADING, STREAMING = range(4)
"""Styles: a plain call; one that may be retried; one with retries and a fallback; a stream, kept by its caller."""
STYLES: Final = (PLAIN, PLAIN, PLAIN, RETRYING, RETRYING, RETRYING, DEGRADING, STREAMING)
DEADLINES_S: Final = (None, None, None, None, 0.05, 0.5, 1.0, 2.0)


class Call:
    """One call of one caller through the policy of its replica."""

    __slots__ = (
        "attempts",
        "cancelled",
        "context",
        "deadline",
        "injected",
        "replica",
        "schedule",
        "stamp_s",
        "style",
        "task",
    )

    def __init__(self, schedule: "Schedule", caller: Caller, replica: Replica) -> None:
        self.schedule = schedule
        self.replica = replica
        self.style = caller.style
        self.attempts = 0
        self.cancelled = False
        self.injected: Attempt | None = None
        """The present attempt, where an injected fault is around it."""
        self.stamp_s = replica.clock.monotonic()
        deadline_s = caller.deadline_s
        self.deadline = None if deadline_s is None else Deadline(self.stamp_s + deadline_s, replica.clock)
        self.context = copy_context()
        self.task = asyncio.Task(self.run(), loop=schedule.loop, context=self.context)

    async def run(self) -> None:
        replica, policy, style = self.replica, self.replica.policy, self.style
        replica.admitted()
        _call_of.set(self)
        try:
            if style == STREAMING:
                async with policy.admit(deadline=self.deadline) as admission:
                    await self.body(min(admission.timeout_s, STREAM_S_MAX))
            elif style == DEGRADING:
                current_deadline.set(self.deadline)
                await policy.call(self.attempt, retryable=True, fallback=self.fallback)
            else:
                await policy.call(self.attempt, deadline=self.deadline, retryable=style == RETRYING)
                if self.deadline is not None and self.deadline.remaining_s() < -1e-6:
                    replica.fail("no answer comes after its deadline")
        except CircuitOpenError:
            self.refused()
        except BulkheadFullError:
            self.check_wait()
        except _EXPECTED:
            pass
        finally:
            if replica.alive:
                del replica.live[self]
                if self.spent_s() > _CALL_S_MAX:
                    replica.fail("no call hangs")

    def vanish(self) -> "asyncio.Task[None]":
        """Ends without an answer, as its process does; the task must be kept, or it is reported as lost."""
        self.task._log_destroy_pending = False
        self.context.run(self.task.get_coro().close)
        return self.task

    async def fallback(self, error: Exception) -> str:
        if isinstance(error, CircuitOpenError):
            self.refused()
        return "degraded"

    def refused(self) -> None:
        self.check_wait()
        self.replica.refused()

    def check_wait(self) -> None:
        """What was refused, and was never at the dependency, has waited for a slot and for nothing else."""
        replica = self.replica
        if self.attempts == 0 and self.spent_s() > replica.settings.queue_wait_s_max + 1e-6:
            replica.fail("a refusal is not retried")

    def spent_s(self) -> float:
        return self.replica.clock.monotonic() - self.stamp_s

    async def attempt(self, timeout_s: float) -> str:
        attempt = self.started(timeout_s, ATTEMPT_TIMEOUT_S)
        return await self.work(attempt, timeout_s, *self.schedule.fate())

    async def body(self, timeout_s: float) -> None:
        """A stream keeps its own time, and may outlive its lease."""
        attempt = self.started(timeout_s, STREAM_S_MAX)
        self.injected = None
        takes_s, fault = self.schedule.fate()
        if takes_s >= timeout_s:
            takes_s, fault = timeout_s, TimeoutError
        await self.work(attempt, timeout_s, takes_s, fault, stream=True)

    def started(self, timeout_s: float, limit_s: float) -> Attempt:
        """The attempt that has reached the dependency, maybe after a fault that took some of its time."""
        attempt = self.injected
        if attempt is None:
            return self.starts(timeout_s, limit_s)
        if timeout_s > attempt.timeout_s - (self.replica.clock.monotonic() - attempt.started_s) + 1e-6:
            self.replica.fail("what a fault takes is the attempt's time")
        return attempt

    def starts(self, timeout_s: float, limit_s: float) -> Attempt:
        """Tells the model of an attempt that begins now."""
        replica = self.replica
        waited = self.attempts > 0 or replica.clock.monotonic() > self.stamp_s
        self.check_wait()
        self.attempts += 1
        left_s = None if self.deadline is None else self.deadline.remaining_s()
        attempt = replica.starts(timeout_s, limit_s, left_s, waited=waited)
        if attempt.leased_until_s:
            replica.clock.loop.call_later(LEASE_S, _nothing, LEASE, replica)
        return attempt

    async def work(
        self,
        attempt: Attempt,
        timeout_s: float,
        takes_s: float,
        fault: type[BaseException] | None,
        *,
        stream: bool = False,
    ) -> str:
        """What the dependency does; one within an injected fault ends with the fault."""
        if attempt is self.injected:
            return await self.serve(timeout_s, takes_s, fault)
        with self.ending(attempt, stream=stream):
            return await self.serve(timeout_s, takes_s, fault)

    async def serve(self, timeout_s: float, takes_s: float, fault: type[BaseException] | None) -> str:
        if takes_s:
            await self.wait(takes_s, ANSWER if fault is None else FAILURE, deaf=takes_s > timeout_s)
        if fault is not None:
            raise fault
        return "answer"

    @contextmanager
    def ending(self, attempt: Attempt, *, stream: bool = False) -> Iterator[None]:
        """Tells the model how an attempt ended, whatever it met."""
        outcome = Outcome.SUCCESS
        try:
            yield
        except BaseException as error:
            outcome = self.outcome_of(error, attempt)
            raise
        finally:
            replica = self.replica
            if replica.alive:
                late = replica.clock.monotonic() - attempt.started_s >= attempt.timeout_s - 1e-6
                if late and not stream and outcome in _MET:
                    # The answer and the end of its time met in one moment; either order is right.
                    replica.exact = False
                replica.ends(attempt, outcome)

    def outcome_of(self, error: BaseException, attempt: Attempt) -> Outcome:
        if isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and self.cancelled):
            return Outcome.CANCELLED
        if isinstance(error, asyncio.CancelledError | TimeoutError | AttemptTimeoutError):
            return self.cut_off(attempt, self.replica.clock.monotonic() - attempt.started_s)
        outcome: Outcome = error.outcome  # type: ignore[attr-defined]
        return outcome

    async def wait(self, duration_s: float, label: int, *, deaf: bool) -> None:
        """What is `deaf` may swallow the first word that its time is over, and would then go on for ever."""
        try:
            await self.replica.clock.wake_after(duration_s, label, self.replica)
        except asyncio.CancelledError:
            if self.cancelled or not deaf or self.schedule.draw() >= _DEAF_SHARE:
                raise
            await self.replica.clock.wake_after(_FOR_EVER_S, label, self.replica)

    def cut_off(self, attempt: Attempt, took_s: float) -> Outcome:
        """README.md: a deadline that cuts an attempt off counts only where it ran longer than a slow call may take."""
        limit_s = ATTEMPT_TIMEOUT_S if attempt.timeout_s <= ATTEMPT_TIMEOUT_S else STREAM_S_MAX
        by_deadline = self.deadline is not None and attempt.timeout_s < limit_s
        if by_deadline and took_s <= self.replica.settings.slow_call_s:
            return Outcome.DEADLINE_EXCEEDED
        return Outcome.TIMEOUT


_MET: Final = frozenset(
    {Outcome.SUCCESS, Outcome.FAILURE, Outcome.CALLER_FAULT, Outcome.AUTH_REJECTED, Outcome.OVERLOAD}
)


def watch_faults(chaos: Chaos) -> None:
    """Lets the model see attempts that meet an injected fault: they hold slot and permit, and end as the fault says."""
    around, begin = chaos.around, chaos.begin

    def seen_around(fault: Fault, attempt: Any) -> Any:
        faulty, call = around(fault, attempt), attempt.__self__

        async def seen(timeout_s: float) -> str:
            call.injected = call.starts(timeout_s, ATTEMPT_TIMEOUT_S)
            try:
                with call.ending(call.injected):
                    value: str = await faulty(timeout_s)
                    return value
            finally:
                call.injected = None

        return seen

    async def seen_begin(fault: Fault, admission: Admission, *arguments: Any) -> None:
        call = _call_of.get()
        call.injected = call.starts(admission.timeout_s, STREAM_S_MAX)
        try:
            await begin(fault, admission, *arguments)
        except BaseException:
            with call.ending(call.injected, stream=True):
                raise
        # Its body goes on with it.

    chaos.around, chaos.begin = seen_around, seen_begin  # type: ignore[method-assign]


_call_of: ContextVar[Call] = ContextVar("call")


def _nothing() -> None:
    """A moment at which the rules are checked."""
