"""Overrides: an operator's word, with a name, a reason and an end."""

from datetime import datetime, timedelta

import pytest

from breakwater.resilience import CircuitState, Override, OverrideMode
from breakwater.resilience.errors import BulkheadFullError, CircuitOpenError, InvalidPolicyError


@pytest.fixture
def override(clock):
    def make(mode: OverrideMode, ttl_s: float = 60) -> Override:
        return Override(mode, "li.wei", "drill", clock.now() + timedelta(seconds=ttl_s))

    return make


async def degraded(error: Exception) -> str:
    return "degraded"


@pytest.mark.parametrize("mode", [OverrideMode.FORCED_OPEN, OverrideMode.FALLBACK])
async def test_no_attempt_is_made(make_policy, dependency, calls, override, mode):
    """Forced open and forced fallback refuse without an attempt and say when the override ends."""
    policy = make_policy()
    policy.apply(override(mode))
    (refused,) = await calls(policy, retryable=True)
    assert isinstance(refused, CircuitOpenError)
    assert refused.retry_after_s == pytest.approx(60)
    assert await calls(policy, fallback=degraded) == ["degraded"]
    assert dependency.attempts == 0


async def test_an_override_expires_by_itself(make_policy, dependency, calls, override, clock, transitions):
    """Nobody has to end it; the end is announced with the next call, and shown at once."""
    policy = make_policy()
    policy.apply(override(OverrideMode.FORCED_OPEN, ttl_s=60))
    await clock.advance(59.9)
    assert isinstance((await calls(policy))[0], CircuitOpenError)
    await clock.advance(0.1)
    assert policy.snapshot().forced is None
    assert await calls(policy) == ["answer"]
    assert [t.reason for t in transitions] == [
        "forced-open set by li.wei: drill",
        "forced-open of li.wei expired",
    ]
    assert [t.forced for t in transitions] == [OverrideMode.FORCED_OPEN, None]


async def test_an_override_can_be_ended(make_policy, calls, override, transitions):
    """Applying None ends it."""
    policy = make_policy()
    policy.apply(override(OverrideMode.FORCED_OPEN))
    policy.apply(None)
    policy.apply(None)
    assert await calls(policy) == ["answer"]
    assert transitions[-1].reason == "forced-open of li.wei ended"
    assert len(transitions) == 2


async def test_an_override_that_has_expired_before_it_arrives_does_nothing(make_policy, calls, override, transitions):
    """A late message from the store of overrides closes nothing and opens nothing."""
    policy = make_policy()
    policy.apply(override(OverrideMode.FORCED_OPEN, ttl_s=-1))
    assert await calls(policy) == ["answer"]
    assert transitions == []


async def test_setting_the_same_override_again_is_announced_once(make_policy, override, transitions):
    """Overrides reach a process by two ways; the second changes nothing."""
    policy = make_policy()
    same = override(OverrideMode.SHADOW)
    policy.apply(same)
    policy.apply(same)
    assert len(transitions) == 1


async def test_forced_closed_lets_calls_through_an_open_circuit(opened, dependency, calls, override):
    """Calls go on while the computed state stays visible beside the forced one."""
    policy = await opened()
    policy.apply(override(OverrideMode.FORCED_CLOSED))
    assert await calls(policy, 3) == ["answer"] * 3
    snapshot = policy.snapshot()
    assert (snapshot.state, snapshot.forced) == (CircuitState.OPEN, OverrideMode.FORCED_CLOSED)
    policy.apply(None)
    assert isinstance((await calls(policy))[0], CircuitOpenError)


async def test_a_forced_closed_circuit_goes_on_computing(opened, calls, override, clock):
    """What passes an open circuit by force decides nothing, but once it would probe, the calls are its probes."""
    policy = await opened(probes=2)
    policy.apply(override(OverrideMode.FORCED_CLOSED))
    await calls(policy, 5)
    assert policy.snapshot().state is CircuitState.OPEN
    await clock.advance(3)
    await calls(policy, 2)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_forced_closed_keeps_the_bulkhead(make_policy, dependency, start, calls, override):
    """Only the breaker is forced."""
    policy = make_policy(concurrency_max=1, queue_max=0)
    policy.apply(override(OverrideMode.FORCED_CLOSED))
    dependency.takes_s = 1
    await start(policy.call(dependency))
    assert isinstance((await calls(policy))[0], BulkheadFullError)


async def test_shadow_refuses_nothing_and_computes_everything(make_policy, dependency, start, calls, override, clock):
    """Metrics only: the circuit opens on paper, and more calls run than there are slots."""
    policy = make_policy(concurrency_max=1, queue_max=0, calls_min=4)
    policy.apply(override(OverrideMode.SHADOW))
    dependency.fails_with = ConnectionError
    results = await calls(policy, 6)
    assert [type(result) for result in results] == [ConnectionError] * 6
    assert policy.snapshot().state is CircuitState.OPEN
    dependency.fails_with, dependency.takes_s = None, 0.1
    tasks = await start(*(policy.call(dependency) for _ in range(3)))
    assert policy.snapshot().bulkhead.in_use == 3
    await clock.advance(0.1)
    assert [await task for task in tasks] == ["answer"] * 3
    assert policy.snapshot().bulkhead.in_use == 0


async def test_disabled_turns_breaker_bulkhead_and_retries_off(make_policy, dependency, start, calls, override, clock):
    """The breaker computes nothing, nothing is retried or refused."""
    policy = make_policy(concurrency_max=1, queue_max=0, calls_min=4)
    policy.apply(override(OverrideMode.DISABLED))
    dependency.fails_with = ConnectionError
    await calls(policy, 10, retryable=True)
    assert dependency.attempts == 10
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().errors["failed"] == 10


async def test_even_disabled_nothing_hangs(make_policy, dependency, start, override, clock):
    """Deadline and attempt timeout stay in every mode."""
    policy = make_policy(attempt_timeout_s=1)
    policy.apply(override(OverrideMode.DISABLED))
    dependency.takes_s = 3600
    (task,) = await start(policy.call(dependency))
    await clock.advance(1)
    assert task.done()


@pytest.mark.parametrize(
    ("actor", "reason", "naive", "errors"),
    [
        ("", "drill", False, ["override.actor: must name who set it"]),
        ("li.wei", " ", False, ["override.reason: must say why"]),
        ("", "", True, ["override.actor", "override.reason", "override.expires_at"]),
    ],
)
def test_an_override_without_actor_reason_or_expiry_is_refused(clock, actor, reason, naive, errors):
    """Who, why and until when are never optional, and all that is missing is told at once."""
    expires_at: datetime = clock.now()
    if naive:
        expires_at = expires_at.replace(tzinfo=None)
    with pytest.raises(InvalidPolicyError) as refused:
        Override(OverrideMode.SHADOW, actor, reason, expires_at)
    assert len(refused.value.errors) == len(errors)
    for told, expected in zip(refused.value.errors, errors, strict=True):
        assert told.startswith(expected)
