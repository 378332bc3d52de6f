"""The order of the layers: fallback > deadline > retry with budget > for each attempt: bulkhead > breaker > timeout."""

import asyncio

import pytest

from breakwater.resilience import CircuitState, Deadline, Outcome, current_deadline
from breakwater.resilience.errors import AttemptTimeoutError, BulkheadFullError, CircuitOpenError, DeadlineExceededError


class NotFoundError(Exception):
    outcome = Outcome.CALLER_FAULT


async def degraded(error: Exception) -> str:
    return f"degraded by {type(error).__name__}"


async def test_the_attempt_is_given_its_timeout(make_policy, dependency, calls):
    """An attempt learns how many seconds it has, so that a transport can keep them too."""
    await calls(make_policy(attempt_timeout_s=1.5), 1)
    assert dependency.timeouts_s == [1.5]


async def test_a_nearer_deadline_shortens_the_attempt(make_policy, dependency, calls, clock):
    """The attempt's timeout is what the deadline leaves, where that is less."""
    await calls(make_policy(attempt_timeout_s=1.5), 1, deadline=Deadline.after(0.5, clock))
    assert dependency.timeouts_s == [0.5]


async def test_the_deadline_of_the_request_is_obeyed_when_none_is_given(make_policy, dependency, calls, clock):
    """`current_deadline` travels with the task."""
    token = current_deadline.set(Deadline.after(0.25, clock))
    try:
        await calls(make_policy(), 1)
    finally:
        current_deadline.reset(token)
    assert dependency.timeouts_s == [0.25]


async def test_work_past_the_deadline_is_not_started(make_policy, dependency, calls, clock):
    """A call whose deadline has passed is refused without an attempt and without touching the breaker."""
    policy = make_policy(calls_min=1)
    deadline = Deadline.after(1, clock)
    await clock.advance(1)
    (refused,) = await calls(policy, deadline=deadline)
    assert isinstance(refused, DeadlineExceededError)
    assert dependency.attempts == 0
    assert policy.snapshot().bulkhead.in_use == 0


async def test_a_call_queued_past_its_deadline_is_not_started(make_policy, dependency, start, clock):
    """The wait for a slot ends with the deadline, and says so."""
    policy = make_policy(concurrency_max=1, queue_wait_s_max=5)
    dependency.takes_s = 1.5
    _, queued = await start(policy.call(dependency), policy.call(dependency, deadline=Deadline.after(1, clock)))
    await clock.advance(1)
    assert isinstance(queued.exception(), DeadlineExceededError)
    assert dependency.attempts == 1


async def test_no_wait_outlives_the_deadline(make_policy, dependency, start, clock):
    """A hanging dependency holds a caller, retries and back-off included, no longer than its deadline."""
    policy = make_policy(attempt_timeout_s=0.4, slow_call_s=0.4, backoff_s=0.2)
    dependency.takes_s = 3600
    (task,) = await start(policy.call(dependency, deadline=Deadline.after(1, clock), retryable=True))
    await clock.advance(1)
    assert isinstance(task.exception(), DeadlineExceededError | AttemptTimeoutError)


async def test_the_breaker_sees_every_attempt(make_policy, dependency, calls, clock, start):
    """Three attempts of one call are three results: the breaker is inside the retry."""
    policy = make_policy(calls_min=3, attempts_max=3, retry_budget_ratio=1, backoff_s=0.001, backoff_s_max=0.001)
    await calls(policy, 10)
    await clock.advance(30)
    dependency.fails_with = ConnectionError
    (task,) = await start(policy.call(dependency, retryable=True))
    await clock.advance(1)
    assert isinstance(task.exception(), ConnectionError)
    assert dependency.attempts == 13
    assert policy.snapshot().state is CircuitState.OPEN


async def test_no_slot_is_held_during_back_off(make_policy, dependency, start, clock):
    """While one call waits to try again, another uses the only slot."""
    policy = make_policy(concurrency_max=1, queue_max=0, backoff_s=10, backoff_s_max=10, retry_s_max=60)
    dependency.script = [ConnectionError]
    (waiting,) = await start(policy.call(dependency, retryable=True))
    assert not waiting.done()
    assert policy.snapshot().bulkhead.in_use == 0
    assert await policy.call(dependency) == "answer"
    await clock.advance(10)
    assert await waiting == "answer"


async def test_a_rejection_by_the_breaker_is_never_retried(opened, dependency, calls):
    """An open circuit answers at once."""
    policy = await opened()
    (refused,) = await calls(policy, retryable=True)
    assert isinstance(refused, CircuitOpenError)
    assert policy.snapshot().totals.retries == 0


async def test_a_rejection_by_the_bulkhead_is_never_retried(make_policy, dependency, start, calls):
    """A full bulkhead answers at once."""
    policy = make_policy(concurrency_max=1, queue_max=0)
    dependency.takes_s = 1
    await start(policy.call(dependency))
    (refused,) = await calls(policy, retryable=True)
    assert isinstance(refused, BulkheadFullError)
    assert policy.snapshot().totals.retries == 0


async def test_the_bulkhead_is_outside_the_breaker(opened, dependency, start, calls, clock):
    """A call refused by the bulkhead takes no probe permit."""
    policy = await opened(concurrency_max=1, queue_max=0, probes=2)
    await clock.advance(3)
    dependency.takes_s = 0.1
    await start(policy.call(dependency))
    (refused,) = await calls(policy)
    assert isinstance(refused, BulkheadFullError)
    await clock.advance(0.1)
    dependency.takes_s = 0
    assert await calls(policy) == ["answer"]
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_the_wait_for_a_slot_is_not_the_dependencys_latency(make_policy, dependency, start, clock):
    """Queueing before us does not make the dependency look slow."""
    policy = make_policy(concurrency_max=1, queue_wait_s_max=5)
    dependency.takes_s = 0.4
    await start(*(policy.call(dependency) for _ in range(5)))
    await clock.advance(2)
    snapshot = policy.snapshot()
    assert snapshot.calls == 5
    assert snapshot.p99_ms == pytest.approx(400, rel=0.13)


@pytest.mark.parametrize("fails_with", [ConnectionError, TimeoutError])
async def test_the_fallback_answers_for_a_failed_call(make_policy, dependency, calls, fails_with):
    """A failure that retries could not mend is answered by the fallback, and counted."""
    policy = make_policy()
    dependency.fails_with = fails_with
    (value,) = await calls(policy, fallback=degraded)
    assert value.startswith("degraded by")
    assert policy.snapshot().fallbacks == 1


async def test_the_fallback_is_outside_everything(opened, calls, clock):
    """It answers for an open circuit and for a deadline that has passed."""
    policy = await opened()
    assert await calls(policy, fallback=degraded) == ["degraded by CircuitOpenError"]
    late = Deadline.after(0, clock)
    assert await calls(policy, fallback=degraded, deadline=late) == ["degraded by DeadlineExceededError"]


async def test_the_fallback_never_hides_the_callers_own_fault(make_policy, dependency, calls):
    """Not found stays not found."""
    policy = make_policy()
    dependency.fails_with = NotFoundError
    (error,) = await calls(policy, fallback=degraded, retryable=True)
    assert isinstance(error, NotFoundError)
    assert policy.snapshot().fallbacks == 0
    assert dependency.attempts == 1


async def test_the_fallback_never_answers_a_cancelled_call(make_policy, dependency, start):
    """Whoever went away gets nothing."""
    policy = make_policy()
    dependency.takes_s = 1
    (task,) = await start(policy.call(dependency, fallback=degraded))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert policy.snapshot().fallbacks == 0


async def test_a_failing_fallback_tells_its_own_error(make_policy, dependency, calls):
    """The fallback's error reaches the caller, with the first failure as its context."""

    async def broken(error: Exception) -> str:
        raise OSError("no disk") from error

    dependency.fails_with = ConnectionError
    (error,) = await calls(make_policy(), fallback=broken)
    assert isinstance(error, OSError)
    assert isinstance(error.__cause__, ConnectionError)


async def test_every_refusal_is_an_instance_of_its_own(opened, calls):
    """One shared exception would grow its traceback for ever."""
    policy = await opened()
    refusals = await calls(policy, 5)
    assert len({id(error) for error in refusals}) == 5
    assert all(isinstance(error, CircuitOpenError) for error in refusals)
