"""Commits the faults of an override around an attempt: inside breaker and timeout, to which they are the dependency's."""

import random
from collections.abc import Awaitable, Callable
from typing import Never, TypeVar

from breakwater.resilience._admission import Admission
from breakwater.resilience._clock import Clock
from breakwater.resilience.errors import (
    AttemptTimeoutError,
    InjectedFaultError,
    InjectedRejectionError,
    InjectedResetError,
)
from breakwater.resilience.faults import Fault, FaultKind, current_fault

T = TypeVar("T")
Cohort = Callable[[], float | None]


class Chaos:
    """The faults of one edge. Every wait keeps the seconds it is given: a hang never outlives the attempt's timeout.

    `cohort` tells where from 0 to below 1 the present request stands, the same on each of its hops, or None outside of
    one; `committed` is called for each fault.
    """

    def __init__(
        self,
        caller: str,
        dependency: str,
        clock: Clock,
        rng: random.Random,
        cohort: Cohort | None,
        committed: Callable[[], None],
    ) -> None:
        self.transport_commits: frozenset[FaultKind] = frozenset()
        """Faults that the edge's transport commits itself, for only it knows its own errors and credential.

        Set by the transport, which finds them in `current_fault` or as `Admission.fault`; all others are told here.
        """
        self._edge = (caller, dependency)
        self._clock = clock
        self._rng = rng
        self._cohort = cohort
        self._committed = committed

    def spares(self, fault: Fault) -> bool:
        """Whether the attempt that is about to be made goes through unharmed."""
        stands = self._cohort() if self._cohort is not None and fault.control_share else None
        if stands is not None and stands < fault.control_share:
            return True
        return fault.share < 1 and self._rng.random() >= fault.share

    def around(self, fault: Fault, attempt: Callable[[float], Awaitable[T]]) -> Callable[[float], Awaitable[T]]:
        """The attempt with the fault in it."""

        async def faulty(timeout_s: float) -> T:
            if fault.kind is FaultKind.SLOW_BODY:
                ends_s = self._clock.monotonic() + timeout_s
                self._committed()
                value = await attempt(timeout_s)
                await self.delay(fault, ends_s - self._clock.monotonic())
                return value
            left_s = await self.strike(fault, timeout_s)
            if fault.kind not in self.transport_commits:
                return await attempt(left_s)  # late is all it is
            token = current_fault.set(fault)
            try:
                return await attempt(left_s)
            finally:
                current_fault.reset(token)

        return faulty

    async def strike(self, fault: Fault, timeout_s: float) -> float:
        """Commits the fault, unless it concerns the body or the transport has to; the seconds left of `timeout_s`.

        Raises `InjectedFaultError`, and `AttemptTimeoutError` when the time is over.
        """
        self._committed()
        if fault.kind is FaultKind.LATENCY:
            return timeout_s - await self.delay(fault, timeout_s)
        if fault.kind is FaultKind.HANG:
            await self._time_out(timeout_s)
        if fault.kind is not FaultKind.SLOW_BODY and fault.kind not in self.transport_commits:
            kind = _ERRORS.get(fault.kind, InjectedFaultError)
            raise kind(*self._edge, f"injected {fault.kind} {fault.code}".rstrip())
        return timeout_s

    async def begin(
        self, fault: Fault, admission: Admission, attempt_timeout_s: float, present: Callable[[], Fault | None]
    ) -> None:
        """The same for a stream or a transaction, which may last for minutes, its beginning may not.

        A slow body is slow for as long as the `present` fault is this one.
        """
        ends_s = admission.started_s + admission.timeout_s
        start_s = min(admission.timeout_s, attempt_timeout_s)
        admission.timeout_s -= start_s - await self.strike(fault, start_s)

        async def pace() -> None:
            if present() == fault:
                await self.delay(fault, min(attempt_timeout_s, ends_s - self._clock.monotonic()))

        if fault.kind is FaultKind.SLOW_BODY:
            admission.pacer = pace
        elif fault.kind in self.transport_commits:
            admission.fault = fault

    async def delay(self, fault: Fault, timeout_s: float) -> float:
        """Waits for one delay of the fault; how long it was. Raises `AttemptTimeoutError` after `timeout_s` seconds."""
        delay_s = fault.delay_s(self._rng)
        if delay_s >= timeout_s:
            await self._time_out(timeout_s)
        await self._clock.sleep(delay_s)
        return delay_s

    async def _time_out(self, timeout_s: float) -> Never:
        await self._clock.sleep(max(0.0, timeout_s))
        raise AttemptTimeoutError(*self._edge, "injected: no answer")


_ERRORS: dict[FaultKind, type[InjectedFaultError]] = {
    FaultKind.RESET: InjectedResetError,
    FaultKind.CREDENTIAL: InjectedRejectionError,
}
