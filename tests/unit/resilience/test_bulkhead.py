"""The bulkhead: bounded concurrency, a bounded queue, and immediate refusal past both."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._timer import call_later_on
from breakwater.resilience.errors import BulkheadFullError
from breakwater.resilience.testing import VirtualClock, settle


async def test_no_more_attempts_run_at_once_than_there_are_slots(make_policy, dependency, start, clock):
    """Twenty callers, five slots: five at a time, and everyone is served in the end."""
    policy = make_policy(concurrency_max=5, queue_max=20, queue_wait_s_max=10)
    dependency.takes_s = 1
    tasks = await start(*(policy.call(dependency) for _ in range(20)))
    for _ in range(4):
        assert dependency.in_flight == 5
        await clock.advance(1)
    assert [await task for task in tasks] == ["answer"] * 20


async def test_a_full_queue_refuses_at_once(make_policy, dependency, start, calls):
    """The refusal is typed, immediate and counted, and says what is full."""
    policy = make_policy(concurrency_max=2, queue_max=3)
    dependency.takes_s = 1
    await start(*(policy.call(dependency) for _ in range(5)))
    (refused,) = await calls(policy)
    assert isinstance(refused, BulkheadFullError)
    assert "all 2 slots in use, 3 calls waiting" in str(refused)
    assert policy.snapshot().errors["rejected"] == 1


async def test_the_wait_for_a_slot_is_bounded(make_policy, dependency, start, clock):
    """After `queue_wait_s_max` a waiting call is refused and leaves the queue."""
    policy = make_policy(concurrency_max=1, queue_wait_s_max=0.5)
    dependency.takes_s = 1.5
    _, waiting = await start(policy.call(dependency), policy.call(dependency))
    assert policy.snapshot().bulkhead.queued == 1
    await clock.advance(0.5)
    assert isinstance(waiting.exception(), BulkheadFullError)
    assert policy.snapshot().bulkhead.queued == 0


async def test_slots_pass_on_in_the_order_of_arrival(make_policy, dependency, start, clock):
    """First come, first served; a late caller does not overtake."""
    policy = make_policy(concurrency_max=1, queue_wait_s_max=10)
    dependency.takes_s = 1
    order = []

    async def call(name: int) -> None:
        await policy.call(dependency)
        order.append(name)

    await start(*(call(name) for name in range(4)))
    await clock.advance(4)
    assert order == [0, 1, 2, 3]


async def test_a_slot_passed_to_a_cancelled_waiter_is_not_lost(make_policy, dependency, start, clock):
    """The waiter is cancelled in the very turn in which the slot reaches it: the next one gets the slot."""
    policy = make_policy(concurrency_max=1, queue_wait_s_max=10)
    dependency.takes_s = 1
    holder, cancelled, last = await start(*(policy.call(dependency) for _ in range(3)))
    holder.add_done_callback(lambda _: cancelled.cancel())
    await clock.advance(1)
    assert cancelled.cancelled()
    assert policy.snapshot().bulkhead.in_use == 1
    await clock.advance(1)
    assert await last == "answer"
    assert policy.snapshot().bulkhead.in_use == 0


class Crowd:
    """Callers of one bulkhead that arrive, finish and are cancelled at random."""

    def __init__(self, rng: random.Random, limit: int, queue_max: int) -> None:
        self.clock = VirtualClock()
        self.bulkhead = Bulkhead(limit, queue_max, call_later_on(self.clock))
        self.holders: dict[asyncio.Task, asyncio.Event] = {}
        self.tasks: list[asyncio.Task] = []
        self._rng = rng

    async def arrive(self) -> None:
        self.tasks.append(asyncio.ensure_future(self._caller()))

    async def finish(self) -> None:
        if self.holders:
            self._rng.choice(list(self.holders.values())).set()

    async def cancel(self) -> None:
        if self.tasks:
            self._rng.choice(self.tasks).cancel()

    async def finish_and_cancel(self) -> None:
        await self.finish()
        # One turn of the loop, so that the cancellation meets a slot on its way.
        await asyncio.sleep(0)
        await self.cancel()

    async def time(self) -> None:
        await self.clock.advance(self._rng.choice([0.1, 0.5, 1.0]))

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _caller(self) -> None:
        if not await self.bulkhead.wait(1.0):
            return
        task, done = asyncio.current_task(), asyncio.Event()
        self.holders[task] = done
        try:
            await done.wait()
        finally:
            del self.holders[task]
            self.bulkhead.release()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    limit=st.integers(1, 4),
    queue_max=st.integers(0, 4),
    steps=st.lists(st.sampled_from(["arrive", "finish", "cancel", "finish_and_cancel", "time"]), max_size=60),
)
def test_slots_are_conserved(seed, limit, queue_max, steps):
    """Whatever arrives, finishes, is cancelled or gives up in whatever order: slots in use = holders, never more."""

    async def run() -> None:
        crowd = Crowd(random.Random(seed), limit, queue_max)
        bulkhead = crowd.bulkhead
        for step in steps:
            await getattr(crowd, step)()
            await settle()
            assert bulkhead.in_use == len(crowd.holders) <= limit
            assert bulkhead.queued <= queue_max
            assert bulkhead.queued == 0 or bulkhead.in_use == limit
        await crowd.leave()
        assert (bulkhead.in_use, bulkhead.queued) == (0, 0)

    asyncio.run(run())


async def test_a_refused_call_leaves_no_trace_in_the_queue(make_policy, dependency, start, clock):
    """With no queue at all a busy bulkhead refuses and stays exactly as it was."""
    policy = make_policy(concurrency_max=1, queue_max=0)
    dependency.takes_s = 1
    await start(policy.call(dependency))
    with pytest.raises(BulkheadFullError):
        await policy.call(dependency)
    assert (policy.snapshot().bulkhead.in_use, policy.snapshot().bulkhead.queued) == (1, 0)
