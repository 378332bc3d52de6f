"""One policy guards one caller -> dependency edge. The order of its layers is documented in README.md, and tested."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from breakwater.resilience._admission import Admission
from breakwater.resilience._breaker import Breaker, Ticket
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._chaos import Chaos, Cohort
from breakwater.resilience._clock import Clock, SystemClock
from breakwater.resilience._deadline import Deadline, current_deadline
from breakwater.resilience._figures import take_snapshot
from breakwater.resilience._outcome import REACHED, Classify, Outcome, classify_by_type
from breakwater.resilience._override import Override, OverrideInForce, OverrideMode
from breakwater.resilience._retry import Retrier
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._timer import Alarm, Alarms, call_later_on
from breakwater.resilience._window import Bucket, Window, cell_of
from breakwater.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    PolicyError,
)
from breakwater.resilience.faults import Fault
from breakwater.resilience.snapshots import CircuitState, EdgeSnapshot, Transition

T = TypeVar("T")
Listener = Callable[[Transition], None]

_LOG: Final = logging.getLogger(__name__)
_SUCCESS: Final = Outcome.SUCCESS
_NO_ATTEMPTS: Final = frozenset({OverrideMode.FORCED_OPEN, OverrideMode.FALLBACK})
_REFUSING: Final = frozenset({None, OverrideMode.CHAOS})
_NO_BULKHEAD: Final = frozenset({OverrideMode.SHADOW, OverrideMode.DISABLED})
# A transport's own timer may fire this much before ours would have.
_EARLY_S: Final = 0.005


class Policy:
    """Fallback > deadline > retry with budget > for each attempt: bulkhead > breaker > attempt timeout.

    Belongs to one event loop at a time. `classify` tells what an attempt's exception means, `listener` hears of every
    transition and override and must return at once, `rng` seeds back-off, jitter and faults. `cohort` tells where from 0
    to below 1 the present request stands, the same on each of its hops: the control group of a fault is taken by it.
    """

    def __init__(
        self,
        settings: PolicySettings,
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        listener: Listener | None = None,
        rng: random.Random | None = None,
        cohort: Cohort | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._classify = classify
        self._listeners = [listener] if listener is not None else []
        rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        now_s = self._monotonic()
        self._attempt_timeout_s = settings.attempt_timeout_s
        self._slow_call_s = settings.slow_call_s
        self._window = Window(settings.window_s, now_s)
        self._budget = RetryBudget(
            ratio=settings.retry_budget_ratio,
            floor_per_s=settings.retry_budget_floor_per_s,
            tokens_max=settings.retry_budget_tokens_max,
            now_s=now_s,
        )
        self._retrier = Retrier(settings, self._budget, self._clock, rng, self._outcome_of)
        self._bulkhead = Bulkhead(settings.concurrency_max, settings.queue_max, call_later_on(self._clock))
        self._breaker = Breaker(settings, self._window, rng, self._changed)
        self._alarms = Alarms(settings.attempt_timeout_s, self._clock) if settings.attempt_timer else None
        self.chaos = Chaos(settings.caller, settings.dependency, self._clock, rng, cohort, self._injected)
        self._forced = OverrideInForce(self._clock, self._announce)

    async def call(
        self,
        attempt: Callable[[float], Awaitable[T]],
        *,
        deadline: Deadline | None = None,
        retryable: bool = False,
        fallback: Callable[[Exception], Awaitable[T]] | None = None,
    ) -> T:
        """Makes the call and returns its value.

        `attempt` is given its timeout in seconds. `deadline` is `current_deadline` unless given. `retryable` says that
        the call is idempotent or keyed. `fallback` answers in place of any failure but the caller's own fault; it is
        counted, and its value must say that it is degraded.

        Raises `CircuitOpenError`, `BulkheadFullError`, `DeadlineExceededError`, `AttemptTimeoutError`, or what the
        last attempt raised.
        """
        if deadline is None:
            deadline = current_deadline.get()
        # The budget is measured when a call is admitted, so that slow answers do not lag it behind.
        self._budget.earned += self._budget.ratio
        try:
            return await self._attempt(attempt, deadline)
        except Exception as error:
            if not retryable and fallback is None:
                raise
            return await self._rescue(error, attempt, deadline, retryable=retryable, fallback=fallback)

    @asynccontextmanager
    async def admit(self, *, deadline: Deadline | None = None) -> AsyncIterator[Admission]:
        """Guards work whose body is the caller's (a stream, a transaction): `async with policy.admit() as admission:`.

        The block's end tells the outcome. Deadline, bulkhead and breaker act as in `call`; nothing is retried, and the
        body keeps `admission.timeout_s` itself. Raises what `call` raises.
        """
        if deadline is None:
            deadline = current_deadline.get()
        self._budget.earned += self._budget.ratio
        mode = None if self._forced.override is None else self._forced.mode()
        fault = self._fault() if mode is OverrideMode.CHAOS else None
        await self._take_slot(mode, deadline)
        try:
            limit_s = self.settings.stream_s_max
            timeout_s = limit_s if deadline is None else min(limit_s, self._left_s(deadline))
            admission = Admission(timeout_s, self._monotonic)
            ticket = self._pass_breaker(mode, admission.started_s)
            try:
                if fault is not None:
                    await self.chaos.begin(fault, admission, self._attempt_timeout_s, self._forced.fault)
                yield admission
            except BaseException as error:
                told = self._failed(error, ticket, admission.started_s, timeout_s=timeout_s, limit_s=limit_s)
                if told is error:
                    raise
                raise told from error
            answered_at_s = admission.answered_at_s or self._monotonic()
            self._record(ticket, _SUCCESS, answered_at_s - admission.started_s)
        finally:
            self._bulkhead.release()

    def listen(self, listener: Listener) -> None:
        """Adds a listener of transitions and overrides; it must return at once."""
        self._listeners.append(listener)

    def reconfigure(self, settings: PolicySettings) -> None:
        """Takes other settings for the same edge, without losing anything.

        The circuit's state, leased permits, slots, those who wait and the budget stay; what is in flight ends by the
        limits it began with; another `window_s` begins new figures and judgements.
        """
        before, now_s = self.settings, self._monotonic()
        if (settings.caller, settings.dependency) != (before.caller, before.dependency):
            raise ValueError(f"{settings.caller} -> {settings.dependency} is another edge")
        self.settings = settings
        self._attempt_timeout_s = settings.attempt_timeout_s
        self._slow_call_s = settings.slow_call_s
        if settings.window_s != before.window_s:
            self._window = self._window.resized(settings.window_s, now_s)
        self._breaker.reconfigure(settings, self._window)
        self._budget.reconfigure(
            ratio=settings.retry_budget_ratio,
            floor_per_s=settings.retry_budget_floor_per_s,
            tokens_max=settings.retry_budget_tokens_max,
            now_s=now_s,
        )
        self._retrier.reconfigure(settings)
        self._bulkhead.resize(settings.concurrency_max, settings.queue_max)
        # Alarms in one queue end in the order they start: those of another length need a queue of their own.
        self._alarms = Alarms(settings.attempt_timeout_s, self._clock) if settings.attempt_timer else None

    def apply(self, override: Override | None) -> None:
        """Sets the override of this edge, or ends it; one that has expired ends it too."""
        self._forced.set(override)

    def snapshot(self) -> EdgeSnapshot:
        """Every figure of the edge; changes nothing."""
        now_s = self._monotonic()
        return take_snapshot(
            self.settings,
            self._clock.now(),
            now_s,
            window=self._window,
            breaker=self._breaker,
            bulkhead=self._bulkhead,
            budget=self._budget,
            override=self._forced.at(now_s),
        )

    async def _rescue(
        self,
        error: Exception,
        attempt: Callable[[float], Awaitable[T]],
        deadline: Deadline | None,
        *,
        retryable: bool,
        fallback: Callable[[Exception], Awaitable[T]] | None,
    ) -> T:
        if retryable and self._may_retry() and self._retrier.worth_it(error):
            try:
                return await self._retrier.run(error, lambda: self._retry(attempt, deadline), deadline)
            except Exception as last:  # noqa: BLE001 - raised below, or told to the fallback
                error = last
        if fallback is None or self._outcome_of(error) is Outcome.CALLER_FAULT:
            raise error
        self._bucket().fallbacks += 1
        return await fallback(error)

    async def _retry(self, attempt: Callable[[float], Awaitable[T]], deadline: Deadline | None) -> T:
        self._bucket().retries += 1
        value = await self._attempt(attempt, deadline)
        self._bucket().rescued += 1
        return value

    async def _attempt(self, attempt: Callable[[float], Awaitable[T]], deadline: Deadline | None) -> T:
        bulkhead = self._bulkhead
        mode = None if self._forced.override is None else self._forced.mode()
        if mode is None and bulkhead.in_use < bulkhead.limit:
            bulkhead.in_use += 1
        else:
            attempt = await self._admitted(mode, attempt, deadline)
        try:
            limit_s = self._attempt_timeout_s
            timeout_s = limit_s if deadline is None else min(limit_s, self._left_s(deadline))
            started_s = self._monotonic()
            ticket = self._breaker.closed
            if ticket is None or mode is not None:
                ticket = self._pass_breaker(mode, started_s)
            alarms = self._alarms
            if alarms is None:
                try:
                    value = await attempt(timeout_s)
                except BaseException as error:
                    told = self._failed(error, ticket, started_s, timeout_s=timeout_s, limit_s=limit_s)
                    if told is error:
                        raise
                    raise told from error
            else:
                alarm = alarms.set(started_s, timeout_s)
                try:
                    value = await attempt(timeout_s)
                except BaseException as error:
                    alarms.clear(alarm)
                    told = self._failed(error, ticket, started_s, timeout_s=timeout_s, limit_s=limit_s, alarm=alarm)
                    if told is error:
                        raise
                    raise told from error
                alarms.clear(alarm)
                if alarm.rings:
                    # The attempt answered all the same: its value counts, our request to cancel does not.
                    alarm.answered()
            self._record(ticket, _SUCCESS, self._monotonic() - started_s)
            return value
        finally:
            bulkhead.release()

    async def _admitted(
        self, mode: OverrideMode | None, attempt: Callable[[float], Awaitable[T]], deadline: Deadline | None
    ) -> Callable[[float], Awaitable[T]]:
        fault = self._fault() if mode is OverrideMode.CHAOS else None
        await self._take_slot(mode, deadline)
        return attempt if fault is None else self.chaos.around(fault, attempt)

    async def _take_slot(self, mode: OverrideMode | None, deadline: Deadline | None) -> None:
        wait_s = self.settings.queue_wait_s_max
        if deadline is not None:
            wait_s = min(wait_s, self._left_s(deadline))
        if mode in _NO_ATTEMPTS:
            retry_after_s = self._forced.until_s - self._monotonic()
            raise self._refusal(CircuitOpenError, f"{mode} by an override", retry_after_s=retry_after_s)
        if mode in _NO_BULKHEAD:
            self._bulkhead.in_use += 1
        elif not await self._bulkhead.wait(wait_s):
            if deadline is not None:
                self._left_s(deadline)
            detail = f"all {self._bulkhead.limit} slots in use, {self._bulkhead.queued} calls waiting"
            raise self._refusal(BulkheadFullError, detail)

    def _pass_breaker(self, mode: OverrideMode | None, now_s: float) -> Ticket | None:
        if mode is OverrideMode.DISABLED:
            return None
        ticket = self._breaker.admit(now_s)
        if ticket is None and mode in _REFUSING:
            raise self._refusal(
                CircuitOpenError, f"circuit {self._breaker.state}", retry_after_s=self._breaker.next_probe_s(now_s)
            )
        return ticket

    def _left_s(self, deadline: Deadline) -> float:
        left_s = deadline.remaining_s()
        if left_s <= 0:
            raise self._refusal(DeadlineExceededError, "the deadline passed before the attempt")
        return left_s

    def _refusal(self, kind: type[PolicyError], detail: str, *, retry_after_s: float | None = None) -> PolicyError:
        self._bucket().count(kind.outcome)
        return kind(self.settings.caller, self.settings.dependency, detail, retry_after_s=retry_after_s)

    def _failed(
        self,
        error: BaseException,
        ticket: Ticket | None,
        started_s: float,
        *,
        timeout_s: float,
        limit_s: float,
        alarm: Alarm | None = None,
    ) -> BaseException:
        """Records how an attempt failed and returns what its caller is told: `error` itself or a `PolicyError`."""
        outcome = self._outcome_of(error)
        if alarm is not None and alarm.rings:
            ours = alarm.answered()
            if isinstance(error, Exception) or (ours and isinstance(error, asyncio.CancelledError)):
                outcome = Outcome.TIMEOUT
        latency_s = self._monotonic() - started_s
        told = error
        if outcome is Outcome.TIMEOUT:
            kind: type[PolicyError] = AttemptTimeoutError
            if timeout_s < limit_s and latency_s >= timeout_s - _EARLY_S:
                kind = DeadlineExceededError
                # A caller in more of a hurry than a slow call takes learns nothing about the dependency.
                if latency_s <= self._slow_call_s:
                    outcome = Outcome.DEADLINE_EXCEEDED
            told = kind(self.settings.caller, self.settings.dependency, f"no answer within {latency_s:.3f} s")
        self._record(ticket, outcome, latency_s)
        return told

    def _record(self, ticket: Ticket | None, outcome: Outcome, latency_s: float) -> None:
        now_s = self._monotonic()
        window = self._window
        bucket = window.newest if now_s < window.end_s else window.bucket(now_s)
        bucket.outcomes[outcome] = bucket.outcomes.get(outcome, 0) + 1
        if outcome in REACHED:
            cell = cell_of(latency_s)
            bucket.cells[cell] = bucket.cells.get(cell, 0) + 1
            bucket.latency_s_sum += latency_s
        self._breaker.settle(ticket, outcome, slow=latency_s > self._slow_call_s, now_s=now_s)

    def _outcome_of(self, error: BaseException) -> Outcome:
        if not isinstance(error, Exception):
            return Outcome.CANCELLED
        if isinstance(error, PolicyError) and (error.caller, error.dependency) == (
            self.settings.caller,
            self.settings.dependency,
        ):
            return error.outcome
        return self._classify(error)

    def _bucket(self) -> Bucket:
        return self._window.bucket(self._monotonic())

    def _may_retry(self) -> bool:
        override = self._forced.override
        return override is None or override.mode is not OverrideMode.DISABLED

    def _fault(self) -> Fault | None:
        """The fault that is to happen to the attempt about to be made."""
        fault = self._forced.fault()
        return None if fault is None or self.chaos.spares(fault) else fault

    def _injected(self) -> None:
        self._bucket().injected += 1

    def _announce(self, reason: str) -> None:
        self._changed(self._breaker.state, self._breaker.state, reason)

    def _changed(self, old: CircuitState, new: CircuitState, reason: str) -> None:
        forced = self._forced.at(self._monotonic())
        transition = Transition(
            caller=self.settings.caller,
            dependency=self.settings.dependency,
            old=old,
            new=new,
            forced=forced.mode if forced else None,
            reason=reason,
            at=self._clock.now(),
        )
        for listener in self._listeners:
            try:
                listener(transition)
            except Exception:  # noqa: BLE001 - logged; an observer must not fail the call it observes
                _LOG.exception("a listener of policy transitions failed")
