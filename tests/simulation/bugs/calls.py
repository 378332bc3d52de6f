"""Bugs of what is around an attempt: slots, retries and time."""

import asyncio
from typing import Any

from breakwater.resilience import Outcome, Policy
from breakwater.resilience import _retry as retry_module
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._retry import Retrier
from breakwater.resilience._timer import Alarm
from tests.simulation.bugs.planting import Swap, planted

# ---- slots -----------------------------------------------------------------------------------------------------------


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


# ---- retries ---------------------------------------------------------------------------------------------------------


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


# ---- time ------------------------------------------------------------------------------------------------------------


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
