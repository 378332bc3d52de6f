"""Retries: only what may be repeated, never too often, never too late, and within the budget."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.resilience import Deadline, Outcome, Policy, PolicySettings
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience.errors import OverloadedError
from breakwater.resilience.testing import VirtualClock, no_backoff


class CredentialRefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


@pytest.fixture
def rich(make_policy):
    """A policy that can afford every retry."""

    def make(**settings):
        return make_policy(**{"retry_budget_ratio": 1, "calls_min": 1000, "calls_enough": 1000, **settings})

    return make


async def test_a_retryable_call_survives_two_failed_attempts(rich, dependency, calls):
    """The third attempt's answer is the call's answer; it counts as rescued by retries."""
    policy = rich()
    await calls(policy, 10)
    dependency.script = [ConnectionError, ConnectionError]
    with no_backoff():
        assert await calls(policy, retryable=True) == ["answer"]
    snapshot = policy.snapshot()
    assert (snapshot.calls, snapshot.retries) == (11, 2)
    assert snapshot.availability == 1
    assert snapshot.availability_first == pytest.approx(10 / 11)


async def test_a_call_that_is_not_retryable_is_tried_once(rich, dependency, calls):
    """Repeating what may have had an effect is for callers with an idempotency key."""
    dependency.script = [ConnectionError]
    (error,) = await calls(rich())
    assert isinstance(error, ConnectionError)
    assert dependency.attempts == 1


async def test_a_refused_credential_is_never_retried(rich, dependency, calls):
    """The same credential will be refused again."""
    dependency.fails_with = CredentialRefusedError
    with no_backoff():
        await calls(rich(), retryable=True)
    assert dependency.attempts == 1


async def test_attempts_are_bounded(rich, dependency, calls):
    """The last error is told after `attempts_max` attempts."""
    policy = rich(attempts_max=4)
    await calls(policy, 10)
    dependency.fails_with = ConnectionError
    with no_backoff():
        (error,) = await calls(policy, retryable=True)
    assert isinstance(error, ConnectionError)
    assert dependency.attempts == 14


async def test_no_retry_starts_after_the_total_time(rich, dependency, start, calls, clock):
    """Long back-offs end with `retry_s_max`, without waiting for a retry that would come too late."""
    policy = rich(attempts_max=100, retry_s_max=5, backoff_s=2, backoff_s_max=2)
    await calls(policy, 10)
    dependency.fails_with = ConnectionError
    (task,) = await start(policy.call(dependency, retryable=True))
    await clock.advance(5)
    assert isinstance(task.exception(), ConnectionError)
    assert 12 <= dependency.attempts < 30


async def test_no_back_off_runs_into_the_deadline(rich, dependency, calls, clock):
    """Where the wait would eat what the deadline leaves, the caller hears at once."""
    policy = rich(backoff_s=60, backoff_s_max=60, retry_s_max=600)
    dependency.fails_with = ConnectionError
    before_s = clock.monotonic()
    (error,) = await calls(policy, retryable=True, deadline=Deadline.after(0.5, clock))
    assert isinstance(error, ConnectionError)
    assert clock.monotonic() == before_s


async def test_back_off_has_full_jitter(rich, dependency, start, clock):
    """The waits before a first retry spread over the whole span from nothing to `backoff_s`."""
    policy = rich(attempts_max=2, backoff_s=1, retry_budget_tokens_max=1000, concurrency_max=500)
    dependency.script = [ConnectionError] * 200
    tasks = await start(*(policy.call(dependency, retryable=True) for _ in range(200)))
    done = []
    for _ in range(10):
        await clock.advance(0.1)
        done.append(sum(task.done() for task in tasks))
    assert done[-1] == 200
    assert all(10 <= later - sooner <= 32 for sooner, later in zip([0, *done], done, strict=False))


async def test_push_back_is_obeyed(rich, dependency, start, clock):
    """A server that asks for three seconds gets them before the retry, and jitter after them."""
    policy = rich(backoff_s=0.1, backoff_s_max=0.1)
    dependency.script = [lambda: OverloadedError("gateway", "leads", "busy", retry_after_s=3)]
    (task,) = await start(policy.call(dependency, retryable=True))
    await clock.advance(2.99)
    assert dependency.attempts == 1
    await clock.advance(0.2)
    assert await task == "answer"


async def test_a_cancelled_back_off_ends_the_call(rich, dependency, start, clock):
    """Whoever goes away while waiting to retry is retried no more."""
    policy = rich(backoff_s=60, backoff_s_max=60, retry_s_max=600)
    dependency.fails_with = ConnectionError
    (task,) = await start(policy.call(dependency, retryable=True))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.advance(100)
    assert dependency.attempts == 1


async def test_at_total_failure_retries_add_a_tenth(make_policy, dependency, calls, clock):
    """Load amplification at 100 % failure stays at 1.1, without any help from the breaker."""
    policy = make_policy(calls_min=10**6, calls_enough=10**6)
    dependency.fails_with = ConnectionError
    with no_backoff():
        for _ in range(200):
            await calls(policy, 10, retryable=True)
            await clock.advance(0.1)
    assert 2000 * 1.09 <= dependency.attempts <= 2000 * 1.1 + 1


async def test_three_layers_with_budgets_add_a_third(clock):
    """Stacked retries multiply only what the budgets allow: 1.1^3, not 27 (resilience.md, Pitfalls)."""
    attempts = 0

    async def broken(timeout_s: float) -> None:
        nonlocal attempts
        attempts += 1
        raise ConnectionError

    def layer(name: str, inner):
        settings = PolicySettings(caller=name, dependency="next", calls_min=10**6, calls_enough=10**6)
        policy = Policy(settings, clock=clock, rng=random.Random(1))

        async def call(timeout_s: float) -> None:
            await policy.call(inner, retryable=True)

        return call

    outermost = layer("a", layer("b", layer("c", broken)))
    with no_backoff():
        for _ in range(2000):
            with pytest.raises(ConnectionError):
                await outermost(1.0)
            await clock.advance(0.01)
    assert 2000 * 1.3 <= attempts <= 2000 * 1.35


async def test_a_quiet_edge_may_still_retry(make_policy, dependency, calls, clock):
    """The floor fills the budget where calls are too few for the ratio: one call every ten seconds may retry."""
    policy = make_policy()
    with no_backoff():
        for _ in range(10):
            dependency.script = [ConnectionError]
            assert await calls(policy, retryable=True) == ["answer"]
            await clock.advance(10)


@given(
    events=st.lists(st.one_of(st.just("call"), st.just("retry"), st.floats(0, 5)), max_size=300),
    ratio=st.sampled_from([0.0, 0.05, 0.1, 0.5]),
    floor_per_s=st.sampled_from([0.0, 0.2, 1.0]),
    tokens_max=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_the_budget_never_gives_more_than_was_earned(events, ratio, floor_per_s, tokens_max):
    """At any moment retries <= 1 + ratio x calls + floor x time, and no burst of retries is longer than the bucket."""
    now_s, calls, retries, burst = 0.0, 0, 0, 0
    budget = RetryBudget(ratio=ratio, floor_per_s=floor_per_s, tokens_max=tokens_max, now_s=now_s)
    for event in events:
        if event == "call":
            budget.earned += ratio
            calls += 1
            burst = 0
        elif event == "retry":
            seen = budget.tokens(now_s)
            granted = budget.spend(now_s)
            assert granted == (seen >= 1 - 1e-9)
            retries += granted
            burst += granted
        else:
            now_s += event
            burst = 0
        assert retries <= 1 + ratio * calls + floor_per_s * now_s + 1e-6
        assert burst <= tokens_max
        assert 0 <= budget.tokens(now_s) <= tokens_max


async def test_the_budget_is_measured_at_admission(dependency):
    """Calls that hang still earn: a slow dependency does not starve the retries of the calls beside them."""
    clock = VirtualClock()
    policy = Policy(PolicySettings(caller="gateway", dependency="leads", retry_budget_ratio=0.1), clock=clock)
    dependency.clock, dependency.takes_s = clock, 1.0
    tasks = [asyncio.ensure_future(policy.call(dependency)) for _ in range(50)]
    await clock.advance(0)
    assert policy.snapshot().retry_budget_tokens == pytest.approx(6.0)
    await clock.advance(1)
    await asyncio.gather(*tasks)
