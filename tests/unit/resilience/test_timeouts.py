"""Attempt timeouts and cancellation: each is told apart from the other, and neither is ever lost."""

import asyncio
import time

import pytest
import uvloop

from breakwater.chassis.clock import VirtualClock as ChassisVirtualClock
from breakwater.resilience import Deadline, Policy, PolicySettings
from breakwater.resilience.errors import AttemptTimeoutError, DeadlineExceededError
from breakwater.resilience.testing import settle


async def test_a_hanging_attempt_ends_at_its_timeout(make_policy, dependency, start, clock):
    """Not sooner, not later, and as a typed error."""
    policy = make_policy(attempt_timeout_s=2)
    dependency.takes_s = 3600
    (task,) = await start(policy.call(dependency))
    await clock.advance(1.9)
    assert not task.done()
    await clock.advance(0.1)
    assert isinstance(task.exception(), AttemptTimeoutError)
    assert policy.snapshot().errors["timeout"] == 1
    assert dependency.in_flight == 0
    assert policy.snapshot().bulkhead.in_use == 0


async def test_each_attempt_has_a_timeout_of_its_own(make_policy, dependency, start, clock):
    """Attempts that share the policy's one timer end each at its own moment, also after others have answered."""
    policy = make_policy(attempt_timeout_s=2)
    dependency.takes_s = 0.5
    (answered,) = await start(policy.call(dependency))
    dependency.takes_s = 3600
    ends_s = []
    for _ in range(4):
        await start(ending(policy.call(dependency), ends_s, clock))
        await clock.advance(0.7)
    await clock.advance(5)
    assert await answered == "answer"
    assert ends_s == pytest.approx([2.0, 2.7, 3.4, 4.1])


async def ending(call, ends_s, clock):
    try:
        await call
    except AttemptTimeoutError:
        ends_s.append(clock.monotonic())


async def test_an_idle_policy_times_out_again(make_policy, dependency, start, clock):
    """The shared timer is set anew after a quiet time."""
    policy = make_policy(attempt_timeout_s=2, calls_min=100)
    dependency.takes_s = 3600
    for _ in range(3):
        (task,) = await start(policy.call(dependency))
        await clock.advance(2)
        assert isinstance(task.exception(), AttemptTimeoutError)
        await clock.advance(100)


async def test_a_deadline_cuts_an_attempt_short(make_policy, dependency, start, clock):
    """The caller is told that its deadline passed, not that the dependency was slow."""
    policy = make_policy(attempt_timeout_s=2)
    dependency.takes_s = 3600
    (task,) = await start(policy.call(dependency, deadline=Deadline.after(1, clock)))
    await clock.advance(1)
    assert isinstance(task.exception(), DeadlineExceededError)


async def test_a_cancelled_call_is_cancelled_and_counts_for_nothing(make_policy, dependency, start):
    """The slot is free again, no result is recorded against the dependency."""
    policy = make_policy(calls_min=1)
    dependency.takes_s = 1
    (task,) = await start(policy.call(dependency))
    task.cancel()
    await settle()
    assert task.cancelled()
    snapshot = policy.snapshot()
    assert snapshot.bulkhead.in_use == 0
    assert snapshot.totals.outcomes["cancelled"] == 1
    assert (snapshot.error_rate, snapshot.availability) == (None, None)


async def test_a_timeout_does_not_leave_its_task_cancelled(make_policy, dependency, start, clock):
    """After a timeout the task goes on: what it awaits next is not cancelled."""
    policy = make_policy(attempt_timeout_s=1)
    dependency.takes_s = 3600

    async def call_and_go_on() -> int:
        with pytest.raises(AttemptTimeoutError):
            await policy.call(dependency)
        await clock.sleep(1)
        return asyncio.current_task().cancelling()

    (task,) = await start(call_and_go_on())
    await clock.advance(2)
    assert await task == 0


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancellation_in_the_moment_of_the_timeout_is_not_lost(make_policy, dependency, clock, cancel_first):
    """Timeout and cancellation in one turn of the loop, in either order: the task ends cancelled."""
    policy = make_policy(attempt_timeout_s=1, calls_min=1)
    dependency.takes_s = 3600

    async def call() -> str:
        return await policy.call(dependency)

    task = asyncio.ensure_future(call())
    if not cancel_first:
        await settle()
    clock.call_later(1, task.cancel)
    await clock.advance(1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert policy.snapshot().totals.outcomes["timeout"] == 0


async def test_a_timeout_inside_a_cancelled_task_is_still_a_timeout(make_policy, dependency, start, clock):
    """Clean-up that calls while its task is being cancelled gets the timeout as an error, not a second cancellation."""
    policy = make_policy(attempt_timeout_s=1)
    dependency.takes_s = 3600
    cleaned_up = []

    async def work() -> None:
        try:
            await clock.sleep(3600)
        finally:
            try:
                await policy.call(dependency)
            except AttemptTimeoutError:
                cleaned_up.append(True)

    (task,) = await start(work())
    task.cancel()
    await settle()
    await clock.advance(1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up == [True]


async def test_an_answer_given_in_spite_of_the_timeout_is_kept(make_policy, start, clock):
    """An attempt that finishes its work when told to stop has answered; the task is not left cancelled."""
    policy = make_policy(attempt_timeout_s=1)

    async def stubborn(timeout_s: float) -> str:
        try:
            await clock.sleep(3600)
        except asyncio.CancelledError:
            return "committed"
        return "never"

    async def call() -> tuple[str, int]:
        return await policy.call(stubborn), asyncio.current_task().cancelling()

    (task,) = await start(call())
    await clock.advance(1)
    assert await task == ("committed", 0)


@pytest.mark.parametrize("deadline_s", [None, 0.4])
async def test_an_attempt_that_loses_its_cancellation_is_told_again(make_policy, start, clock, deadline_s):
    """What an attempt awaits may swallow a cancellation: it rings until the attempt is over, and nothing of it stays."""
    policy = make_policy(attempt_timeout_s=1, calls_min=100)
    told = []

    async def deaf(timeout_s: float) -> None:
        for _ in range(3):
            try:
                await clock.sleep(3600)
            except asyncio.CancelledError:
                told.append(clock.monotonic())
        raise ConnectionResetError

    async def call() -> int:
        deadline = None if deadline_s is None else Deadline.after(deadline_s, clock)
        with pytest.raises(AttemptTimeoutError if deadline is None else DeadlineExceededError):
            await policy.call(deaf, deadline=deadline)
        await clock.sleep(10)
        return asyncio.current_task().cancelling()

    (task,) = await start(call())
    await clock.advance(20)
    assert await task == 0
    first_s = deadline_s or 1
    assert told == pytest.approx([first_s, first_s + 0.5, first_s + 1])
    assert policy.snapshot().bulkhead.in_use == 0


async def test_a_cancellation_among_the_rings_is_not_lost(make_policy, start, clock):
    """Who cancels the task of an attempt that is deaf to its alarm finds it cancelled."""
    policy = make_policy(attempt_timeout_s=1)

    async def deaf(timeout_s: float) -> None:
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError):
                await clock.sleep(3600)
        await clock.sleep(3600)

    (task,) = await start(policy.call(deaf))
    await clock.advance(1.6)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert policy.snapshot().bulkhead.in_use == 0


async def test_an_attempt_that_turns_its_cancellation_into_an_error_has_timed_out(make_policy, start, clock):
    """A transport may report our own time-out as its error: the caller is told of the timeout."""
    policy = make_policy(attempt_timeout_s=1)

    async def translating(timeout_s: float) -> None:
        try:
            await clock.sleep(3600)
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    (task,) = await start(policy.call(translating))
    await clock.advance(1)
    assert isinstance(task.exception(), AttemptTimeoutError)
    assert isinstance(task.exception().__cause__, ConnectionResetError)


async def test_an_attempt_that_keeps_its_own_time_needs_no_timer(make_policy, dependency, calls, clock):
    """Without the timer a transport's time-out is told as ours, and a deadline's as the deadline's."""
    policy = make_policy(attempt_timer=False, attempt_timeout_s=2)

    async def grpc(timeout_s: float) -> None:
        await clock.sleep(timeout_s)
        raise TimeoutError

    tasks = [
        asyncio.ensure_future(policy.call(grpc)),
        asyncio.ensure_future(policy.call(grpc, deadline=Deadline.after(1, clock))),
    ]
    await clock.advance(2)
    assert [type(task.exception()) for task in tasks] == [AttemptTimeoutError, DeadlineExceededError]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_real_time_is_kept_by_the_loop(run):
    """On the machine's clock a timeout of 50 ms takes about that long on both loops, also after a loop ended early."""
    policy = Policy(PolicySettings(caller="a", dependency="b", attempt_timeout_s=0.05, slow_call_s=0.05))

    async def hang(timeout_s: float) -> None:
        await asyncio.Event().wait()

    async def answer(timeout_s: float) -> str:
        return "answer"

    async def timed_out_after_s() -> float:
        started_s = time.monotonic()
        with pytest.raises(AttemptTimeoutError):
            await policy.call(hang)
        return time.monotonic() - started_s

    for _ in range(2):
        assert run(policy.call(answer)) == "answer"
        assert 0.045 <= run(timed_out_after_s()) < 1


async def test_the_chassis_virtual_clock_turns_timeouts(dependency):
    """A clock with `call_later` turns the timeouts too."""
    clock = ChassisVirtualClock()
    policy = Policy(PolicySettings(caller="a", dependency="b", attempt_timeout_s=1), clock=clock)
    dependency.clock, dependency.takes_s = clock, 3600
    task = asyncio.ensure_future(policy.call(dependency))
    await clock.advance(1)
    assert isinstance(task.exception(), AttemptTimeoutError)
