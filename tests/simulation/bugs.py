"""Bugs known from other libraries and from our own drafts, planted into the policies one at a time.

Each is a context: inside it the policies have the bug. The simulation must find every one of them.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, Final

from breakwater.resilience import Outcome, OverrideMode, Policy
from breakwater.resilience import _breaker as breaker_module
from breakwater.resilience import _policy as policy_module
from breakwater.resilience import _retry as retry_module
from breakwater.resilience._breaker import Breaker, Ticket
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._override import OverrideInForce
from breakwater.resilience._retry import Retrier
from breakwater.resilience._timer import Alarm
from breakwater.resilience._window import Window

Plant = Callable[[], AbstractContextManager[None]]
PLANTED: Final[dict[str, Plant]] = {}


class Swap:
    """Replaces attributes and puts them back."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def __call__(self, owner: Any, name: str, value: Any) -> None:
        self._before.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def back(self) -> None:
        while self._before:
            setattr(*self._before.pop())


def planted(plant: Callable[[Swap], None]) -> Plant:
    """Registers a bug under the name of its function."""

    @contextmanager
    @wraps(plant)
    def context() -> Iterator[None]:
        swap = Swap()
        plant(swap)
        try:
            yield
        finally:
            swap.back()

    PLANTED[plant.__name__] = context
    return context


# ---- the breaker ----------------------------------------------------------------------------------------------------


@planted
def apply_stale_results(swap: Swap) -> None:
    """A result counts for whatever state the circuit is in when it arrives."""
    settle = Breaker.settle

    def settle_any(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, self.closed or next(iter(self._probes), ticket), outcome, slow=slow, now_s=now_s)

    swap(Breaker, "settle", settle_any)


@planted
def leak_permits_of_cancelled_probes(swap: Swap) -> None:
    settle = Breaker.settle

    def settle_unless_cancelled(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        if outcome is not Outcome.CANCELLED:
            settle(self, ticket, outcome, slow=slow, now_s=now_s)

    swap(Breaker, "settle", settle_unless_cancelled)


@planted
def let_everyone_probe(swap: Swap) -> None:
    swap(Breaker, "_free_permits", lambda _: 1)


@planted
def admit_to_an_open_circuit(swap: Swap) -> None:
    admit = Breaker.admit
    swap(Breaker, "admit", lambda self, now_s: admit(self, now_s) or Ticket(now_s + 1))


@planted
def never_probe(swap: Swap) -> None:
    swap(Breaker, "admit", lambda self, _: self.closed)


@planted
def never_end_a_lease(swap: Swap) -> None:
    """A stream that goes on and on keeps its permit."""
    ticket = Ticket.__init__
    swap(Ticket, "__init__", lambda self, expires_at_s: ticket(self, expires_at_s and expires_at_s + 1e9))


@planted
def close_on_the_first_good_probe(swap: Swap) -> None:
    settle = Breaker._settle_probe

    def settle_and_close(self: Breaker, probe: Ticket, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, probe, outcome, slow=slow, now_s=now_s)
        if self._probes_well and self.closed is None:
            self._state.close()

    swap(Breaker, "_settle_probe", settle_and_close)


@planted
def count_cancellations(swap: Swap) -> None:
    """Who goes away is taken for a failure of the dependency."""
    swap(breaker_module, "_SAYS_NOTHING", breaker_module._SAYS_NOTHING - {Outcome.CANCELLED})
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.CANCELLED})


@planted
def count_hurried_callers(swap: Swap) -> None:
    """A caller's own short deadline is taken for a failure of the dependency."""
    swap(breaker_module, "_SAYS_NOTHING", breaker_module._SAYS_NOTHING - {Outcome.DEADLINE_EXCEEDED})
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.DEADLINE_EXCEEDED})


@planted
def take_push_back_for_a_failure(swap: Swap) -> None:
    swap(breaker_module, "FAILED", breaker_module.FAILED | {Outcome.OVERLOAD})


@planted
def forget_failures_after_a_success(swap: Swap) -> None:
    """Counts in a row: at 50 % errors the circuit hardly ever opens."""
    settle = Breaker._settle_closed

    def settle_in_a_row(self: Breaker, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        if outcome is Outcome.SUCCESS:
            self._window.forget()
        settle(self, outcome, slow=slow, now_s=now_s)

    swap(Breaker, "_settle_closed", settle_in_a_row)


@planted
def take_slow_answers_for_good_ones(swap: Swap) -> None:
    settle = Breaker.settle

    def settle_as_quick(self: Breaker, ticket: Any, outcome: Outcome, *, slow: bool, now_s: float) -> None:
        settle(self, ticket, outcome, slow=False, now_s=now_s)

    swap(Breaker, "settle", settle_as_quick)


@planted
def keep_what_was_judged_before(swap: Swap) -> None:
    """A closed circuit starts with the failures that opened it."""
    swap(Window, "forget", lambda _: None)


@planted
def probe_at_a_look(swap: Swap) -> None:
    """Asking for the state moves it on."""
    snapshot = Policy.snapshot

    def look(self: Policy) -> Any:
        self._breaker.admit(self._monotonic())
        return snapshot(self)

    swap(Policy, "snapshot", look)


@planted
def judge_by_the_wall_clock(swap: Swap) -> None:
    """The clock of the day is set back, and a circuit stays open for an hour."""
    init = Policy.__init__

    def wall_clocked(self: Policy, settings: Any, **options: Any) -> None:
        init(self, settings, **options)
        self._monotonic = lambda: self._clock.now().timestamp()

    swap(Policy, "__init__", wall_clocked)


# ---- slots ----------------------------------------------------------------------------------------------------------


@planted
def lose_the_slot_of_a_cancelled_waiter(swap: Swap) -> None:
    """The slot reaches a waiter in the turn that cancels it, and nobody gives it back."""

    async def wait(self: Bulkhead, timeout_s: float) -> bool:
        if self.in_use < self.limit:
            self.in_use += 1
            return True
        if len(self._queue) >= self.queue_max:
            return False
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self._call_later(timeout_s, lambda: self._give_up(place))
        try:
            return await place
        finally:
            if place in self._queue:
                self._queue.remove(place)

    swap(Bulkhead, "wait", wait)


@planted
def free_slots_that_were_passed_on(swap: Swap) -> None:
    release = Bulkhead.release

    def release_twice(self: Bulkhead) -> None:
        queued = self.queued
        release(self)
        self.in_use -= queued > self.queued

    swap(Bulkhead, "release", release_twice)


@planted
def keep_the_slots_of_the_cancelled(swap: Swap) -> None:
    release = Bulkhead.release

    def release_unless_cancelled(self: Bulkhead) -> None:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            release(self)

    swap(Bulkhead, "release", release_unless_cancelled)


@planted
def queue_without_end(swap: Swap) -> None:
    init = Bulkhead.__init__
    swap(Bulkhead, "__init__", lambda self, limit, _, call_later: init(self, limit, 10_000, call_later))


# ---- retries --------------------------------------------------------------------------------------------------------


@planted
def retry_without_a_budget(swap: Swap) -> None:
    swap(RetryBudget, "spend", lambda *_: True)
    swap(RetryBudget, "holds_one", lambda *_: True)


@planted
def save_budget_without_end(swap: Swap) -> None:
    """A quiet night pays for a storm of retries in the morning."""
    init = RetryBudget.__init__
    swap(RetryBudget, "__init__", lambda self, **options: init(self, **{**options, "tokens_max": 1e9}))


@planted
def measure_the_budget_late(swap: Swap) -> None:
    """A call earns its share when it ends: a dependency that hangs takes the retries away."""
    init, record = Policy.__init__, Policy._record

    def silent(self: Policy, settings: Any, **options: Any) -> None:
        init(self, settings, **options)
        self._budget.ratio = 0.0

    def record_and_earn(self: Policy, *arguments: Any) -> None:
        self._budget.earned += self.settings.retry_budget_ratio
        record(self, *arguments)

    swap(Policy, "__init__", silent)
    swap(Policy, "_record", record_and_earn)


@planted
def retry_refusals(swap: Swap) -> None:
    """What bulkhead and breaker refused is tried again."""
    refused = {Outcome.REJECTED, Outcome.SHORT_CIRCUITED}
    swap(retry_module, "RETRIED", retry_module.RETRIED | refused)


@planted
def hold_the_slot_during_back_off(swap: Swap) -> None:
    run = Retrier.run

    async def run_in_a_slot(self: Retrier, first: Exception, attempt: Any, deadline: Any) -> Any:
        bulkhead = (
            attempt.__closure__
            and next(
                cell.cell_contents for cell in attempt.__closure__ if isinstance(cell.cell_contents, Policy)
            )._bulkhead
        )
        bulkhead.in_use += 1
        try:
            return await run(self, first, attempt, deadline)
        finally:
            bulkhead.release()

    swap(Retrier, "run", run_in_a_slot)


# ---- time -----------------------------------------------------------------------------------------------------------


@planted
def start_work_past_its_deadline(swap: Swap) -> None:
    swap(Policy, "_left_s", lambda *_: 1.0)


@planted
def forget_the_alarm(swap: Swap) -> None:
    """An attempt that hangs is never told to stop."""
    swap(Alarm, "ring", lambda _: None)


@planted
def ring_once(swap: Swap) -> None:
    """An attempt whose cancellation got lost on its way goes on for ever."""
    ring = Alarm.ring
    swap(Alarm, "ring", lambda self: ring(self) if self.rings == 0 else None)


@planted
def take_every_cancellation_for_a_timeout(swap: Swap) -> None:
    swap(Alarm, "answered", lambda self: self._task.uncancel() >= 0)


# ---- overrides ------------------------------------------------------------------------------------------------------


@planted
def never_end_an_override(swap: Swap) -> None:
    put = OverrideInForce.set

    def put_for_ever(self: OverrideInForce, override: Any) -> None:
        put(self, override)
        self.until_s += 1e9

    swap(OverrideInForce, "set", put_for_ever)


@planted
def end_overrides_by_the_wall_clock(swap: Swap) -> None:
    """A clock that is set while an override holds shortens or lengthens it."""

    def at(self: OverrideInForce, _: float) -> Any:
        override = self.override
        return override if override is not None and self._clock.now() < override.expires_at else None

    swap(OverrideInForce, "at", at)


@planted
def let_calls_through_forced_open(swap: Swap) -> None:
    swap(policy_module, "_NO_ATTEMPTS", policy_module._NO_ATTEMPTS - {OverrideMode.FORCED_OPEN})


@planted
def take_shadow_for_auto(swap: Swap) -> None:
    """An override that should only watch refuses calls."""
    apply = Policy.apply

    def apply_strictly(self: Policy, override: Any) -> None:
        if override is not None and override.mode is OverrideMode.SHADOW:
            override = replace(override, mode=OverrideMode.FORCED_OPEN)
        apply(self, override)

    swap(Policy, "apply", apply_strictly)


# ---- reloads --------------------------------------------------------------------------------------------------------


@planted
def lend_leased_permits_again_after_a_reload(swap: Swap) -> None:
    reconfigure = Breaker.reconfigure

    def forget_probes(self: Breaker, settings: Any, window: Window) -> None:
        reconfigure(self, settings, window)
        self._probes = set()

    swap(Breaker, "reconfigure", forget_probes)


@planted
def let_waiters_in_uncounted_after_a_reload(swap: Swap) -> None:
    resize = Bulkhead.resize

    def resize_uncounted(self: Bulkhead, limit: int, queue_max: int) -> None:
        in_use = self.in_use
        resize(self, limit, queue_max)
        self.in_use = in_use

    swap(Bulkhead, "resize", resize_uncounted)
