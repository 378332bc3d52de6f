"""The circuit breaker: what opens it, what closes it, and what never does."""

import asyncio
import random

import pytest

from breakwater.resilience import CircuitState, Deadline, Outcome
from breakwater.resilience.errors import CircuitOpenError, OverloadedError
from breakwater.resilience.testing import settle


class NotFoundError(Exception):
    outcome = Outcome.CALLER_FAULT


class CredentialRefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


async def test_a_failing_dependency_opens_the_circuit(make_policy, dependency, calls, transitions):
    """Once enough results are in and the share of failures is reached, calls are refused without an attempt."""
    policy = make_policy(calls_min=10)
    dependency.fails_with = ConnectionError
    await calls(policy, 10)
    (refused,) = await calls(policy)
    assert isinstance(refused, CircuitOpenError)
    assert (refused.caller, refused.dependency) == ("gateway", "leads")
    assert 0 < refused.retry_after_s <= 2.2
    assert dependency.attempts == 10
    assert [(t.old, t.new) for t in transitions] == [(CircuitState.CLOSED, CircuitState.OPEN)]
    assert transitions[0].reason == "10 of 10 calls failed"


async def test_fewer_results_than_the_minimum_volume_never_open_the_circuit(make_policy, dependency, calls):
    """Nine failures of nine calls are no verdict where ten results are asked for."""
    policy = make_policy(calls_min=10)
    dependency.fails_with = ConnectionError
    await calls(policy, 9)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_failures_older_than_the_window_are_forgotten(make_policy, dependency, calls, clock):
    """Nine failures, a window's length of silence and one more failure leave the circuit closed."""
    policy = make_policy(calls_min=10, window_s=20)
    dependency.fails_with = ConnectionError
    await calls(policy, 9)
    await clock.advance(20.5)
    await calls(policy, 1)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_half_of_the_calls_failing_opens_the_circuit_within_two_seconds(make_policy, dependency, calls, clock):
    """At 100 calls a second, after a minute of health, 50 % errors trip in at most 2 s (resilience engine, 5)."""
    policy = make_policy()
    for _ in range(600):
        await calls(policy, 10)
        await clock.advance(0.1)
    waited_s = 0.0
    while policy.snapshot().state is CircuitState.CLOSED and waited_s < 5:
        dependency.script = [ConnectionError, None] * 5
        await calls(policy, 10)
        await clock.advance(0.1)
        waited_s += 0.1
    assert waited_s <= 2.0


async def test_ten_times_the_latency_opens_the_circuit_within_two_seconds(make_policy, dependency, start, clock):
    """A gray failure trips on the share of slow calls: at 100 calls a second, 60 ms become 600 ms."""
    policy = make_policy(slow_call_s=0.5)
    dependency.takes_s = 0.06
    for step in range(400):
        if step == 200:
            dependency.takes_s = 0.6
        await start(*(policy.call(dependency) for _ in range(5)))
        await clock.advance(0.05)
        if step < 200:
            assert policy.snapshot().state is CircuitState.CLOSED
        if policy.snapshot().state is CircuitState.OPEN:
            assert (step - 200) * 0.05 <= 2.0
            return
    pytest.fail("the circuit stayed closed")


async def test_a_success_between_failures_does_not_save_a_failing_dependency(make_policy, dependency, calls):
    """The circuit trips on the rate, not on consecutive failures: every second call succeeds and it opens all the same."""
    policy = make_policy(calls_min=20)
    dependency.script = [None, ConnectionError] * 10
    await calls(policy, 20)
    assert policy.snapshot().state is CircuitState.OPEN


async def test_a_few_errors_never_open_the_circuit(make_policy, dependency, calls, clock):
    """1 % errors, at random and at three rates for five simulated minutes each, leave it closed."""
    policy, rng = make_policy(), random.Random(11)
    for per_s in (1, 10, 100):
        for _ in range(300):
            dependency.script = [ConnectionError if rng.random() < 0.01 else None for _ in range(per_s)]
            await calls(policy, per_s)
            await clock.advance(1)
    assert policy.snapshot().state is CircuitState.CLOSED


@pytest.mark.parametrize("error", [NotFoundError, asyncio.CancelledError])
async def test_what_is_not_the_dependencys_fault_never_opens_the_circuit(make_policy, dependency, error):
    """The caller's own faults and cancellations do not count as failures, however many there are."""
    policy = make_policy(calls_min=4)
    dependency.fails_with = error
    for _ in range(50):
        with pytest.raises(error):
            await policy.call(dependency)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_push_back_does_not_open_the_circuit(make_policy, dependency, calls):
    """An overloaded dependency still serves what it admits: shutting it off would waste its goodput."""
    policy = make_policy(calls_min=4, attempts_max=1)
    dependency.fails_with = lambda: OverloadedError("gateway", "leads", "busy", retry_after_s=1)
    await calls(policy, 50)
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().errors["overload"] == 50


async def test_a_refused_credential_opens_the_circuit(make_policy, dependency, calls):
    """Rejecting our own credential is a fault of the dependency or the contract, so it counts."""
    policy = make_policy(calls_min=4)
    dependency.fails_with = CredentialRefusedError
    await calls(policy, 4)
    assert policy.snapshot().state is CircuitState.OPEN
    assert policy.snapshot().errors["auth"] == 4


async def test_ten_thousand_callers_at_half_open_admit_exactly_the_probes(opened, dependency, start, clock):
    """However many callers arrive while the circuit is half-open, exactly N of them reach the dependency."""
    policy = await opened(probes=3, concurrency_max=20_000)
    await clock.advance(3)
    dependency.takes_s = 0.1
    tasks = await start(*(policy.call(dependency) for _ in range(10_000)))
    assert dependency.attempts == 3
    await clock.advance(0.1)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count("answer") == 3
    assert sum(isinstance(result, CircuitOpenError) for result in results) == 9_997
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_cancelled_probe_gives_its_permit_back(opened, dependency, start, clock):
    """A probe whose caller went away decides nothing, and the next caller may probe in its place."""
    policy = await opened(probes=1)
    await clock.advance(3)
    dependency.takes_s = 0.1
    (first,) = await start(policy.call(dependency))
    with pytest.raises(CircuitOpenError):
        await policy.call(dependency)
    first.cancel()
    await settle()
    (second,) = await start(policy.call(dependency))
    await clock.advance(0.1)
    assert await second == "answer"
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_permit_expires_with_its_lease(opened, dependency, start, clock):
    """A stream that holds its probe permit too long loses it, and its late result changes nothing."""
    policy = await opened(probes=1, probe_lease_s=5)
    await clock.advance(3)
    hold = asyncio.Event()

    async def stream_for_ever() -> None:
        async with policy.admit():
            await hold.wait()
            raise ConnectionError

    (stream,) = await start(stream_for_ever())
    await clock.advance(4.9)
    with pytest.raises(CircuitOpenError):
        await policy.call(dependency)
    await clock.advance(0.2)
    assert await policy.call(dependency) == "answer"
    assert policy.snapshot().state is CircuitState.CLOSED
    hold.set()
    await settle()
    assert isinstance(stream.exception(), ConnectionError)
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().totals.stale == 1


async def test_failed_probes_open_the_circuit_again_for_twice_as_long(opened, dependency, calls, clock, transitions):
    """Each failed round doubles the open time up to its limit, with at most a tenth of jitter."""
    policy = await opened(probes=2, open_s=2, open_s_max=5)
    dependency.fails_with = ConnectionError
    for at_least_s in (4, 5, 5):
        await clock.advance(policy.snapshot().next_probe_s)
        await calls(policy, 1)
        assert transitions[-1].new is CircuitState.OPEN
        assert at_least_s <= policy.snapshot().next_probe_s <= at_least_s * 1.1


async def test_a_result_after_its_lease_counts_for_nothing(opened, start, clock):
    """Also when nobody has taken the expired permit yet, the late result of its holder decides nothing."""
    policy = await opened(probes=1, probe_lease_s=5)
    await clock.advance(3)
    hold = asyncio.Event()

    async def stream() -> None:
        async with policy.admit():
            await hold.wait()

    await start(stream())
    await clock.advance(5)
    hold.set()
    await settle()
    assert policy.snapshot().state is CircuitState.HALF_OPEN
    assert policy.snapshot().totals.stale == 1


async def test_a_recovered_circuit_starts_judging_anew(opened, dependency, calls, clock):
    """The failures that opened it are forgotten: one more does not open it again, and a new outage starts short."""
    policy = await opened(probes=1, open_s=2, calls_min=4)
    dependency.fails_with = ConnectionError
    await clock.advance(3)
    await calls(policy, 1)
    dependency.fails_with = None
    await clock.advance(6)
    await calls(policy, 1)
    dependency.fails_with = ConnectionError
    await calls(policy, 3)
    assert policy.snapshot().state is CircuitState.CLOSED
    await calls(policy, 1)
    assert policy.snapshot().next_probe_s <= 2.2


async def test_cancellation_counts_for_nothing_whatever_the_classifier_says(make_policy, dependency):
    """A classifier that takes everything for a failure is not asked about cancellations."""
    policy = make_policy(calls_min=1, classify=lambda _: Outcome.FAILURE)
    dependency.fails_with = asyncio.CancelledError
    with pytest.raises(asyncio.CancelledError):
        await policy.call(dependency)
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().totals.outcomes["cancelled"] == 1


async def test_push_back_settles_no_probe(opened, dependency, calls, clock):
    """A probe answered by push-back returns its permit: the circuit stays half-open until a real verdict."""
    policy = await opened(probes=1)
    await clock.advance(3)
    dependency.fails_with = lambda: OverloadedError("gateway", "leads", "busy", retry_after_s=1)
    await calls(policy, 5)
    assert (dependency.attempts, policy.snapshot().state) == (5, CircuitState.HALF_OPEN)
    dependency.fails_with = None
    await calls(policy, 1)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_stale_failure_never_opens_a_recovered_circuit(make_policy, dependency, start, calls, clock):
    """Calls admitted before the circuit opened fail after it has recovered, and are ignored."""
    policy = make_policy(calls_min=4, calls_enough=8, probes=1, attempt_timeout_s=60, slow_call_s=60, probe_lease_s=60)
    dependency.takes_s, dependency.script = 10, [ConnectionError] * 20
    old = await start(*(policy.call(dependency) for _ in range(20)))
    dependency.takes_s, dependency.script = 0, [ConnectionError] * 4
    await calls(policy, 4)
    assert policy.snapshot().state is CircuitState.OPEN
    await clock.advance(3)
    await calls(policy, 4)
    assert policy.snapshot().state is CircuitState.CLOSED
    await clock.advance(10)
    assert all(isinstance(task.exception(), ConnectionError) for task in old)
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().totals.stale == 20


async def test_a_stale_success_never_closes_an_open_circuit(make_policy, dependency, start, calls, clock):
    """Calls admitted before the circuit opened succeed while it is half-open, and do not count as probes."""
    policy = make_policy(calls_min=4, calls_enough=8, probes=1, attempt_timeout_s=60, slow_call_s=60, probe_lease_s=60)
    dependency.takes_s = 5
    old = await start(*(policy.call(dependency) for _ in range(5)))
    dependency.takes_s, dependency.script = 0, [ConnectionError] * 4
    await calls(policy, 4)
    await clock.advance(3)
    dependency.takes_s = 10
    (probe,) = await start(policy.call(dependency))
    await clock.advance(2)
    assert [await task for task in old] == ["answer"] * 5
    assert policy.snapshot().state is CircuitState.HALF_OPEN
    await clock.advance(8)
    assert await probe == "answer"
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_caller_in_a_hurry_does_not_open_the_circuit(make_policy, dependency, start, clock):
    """An attempt cut off by its caller's deadline before a slow call's time says nothing about the dependency."""
    policy = make_policy(calls_min=4, slow_call_s=0.5)
    dependency.takes_s = 0.3
    await start(*(policy.call(dependency, deadline=Deadline.after(0.1, clock)) for _ in range(20)))
    await clock.advance(1)
    assert policy.snapshot().errors["deadline"] == 20
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_hanging_dependency_opens_the_circuit_though_deadlines_are_shorter(
    make_policy, dependency, start, clock
):
    """Deadlines below the attempt timeout but above a slow call's time do count: hanging is noticed."""
    policy = make_policy(calls_min=4, slow_call_s=0.5, attempt_timeout_s=2)
    dependency.takes_s = 3600
    await start(*(policy.call(dependency, deadline=Deadline.after(1, clock)) for _ in range(20)))
    await clock.advance(1)
    assert policy.snapshot().state is CircuitState.OPEN
