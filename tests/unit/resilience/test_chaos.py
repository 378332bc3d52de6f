"""Chaos: an override's fault happens inside of every layer, to which it is the dependency's doing."""

import asyncio
import random
import statistics
from collections import Counter
from datetime import timedelta

import pytest

from breakwater.resilience import CircuitState, Deadline, Outcome, Override, OverrideMode, Policy, PolicySettings
from breakwater.resilience.errors import (
    AttemptTimeoutError,
    CircuitOpenError,
    DeadlineExceededError,
    InjectedFaultError,
    InvalidPolicyError,
)
from breakwater.resilience.faults import Fault, FaultKind, current_fault
from breakwater.resilience.testing import VirtualClock, no_backoff

LATENCY, ERROR, HANG = FaultKind.LATENCY, FaultKind.ERROR, FaultKind.HANG
RESET, SLOW_BODY, CREDENTIAL = FaultKind.RESET, FaultKind.SLOW_BODY, FaultKind.CREDENTIAL
DELAYS = {LATENCY, SLOW_BODY}


def fault(kind: FaultKind, **values) -> Fault:
    needed = {"latency_p50_s": 0.2} if kind in DELAYS else {"code": "UNAVAILABLE"} if kind is ERROR else {}
    return Fault(kind=kind, **{**needed, **values})


@pytest.fixture
def inject(clock):
    """Lays a fault on a policy for a minute."""

    def lay(policy: Policy, kind: FaultKind, ttl_s: float = 60, **values) -> None:
        expires_at = clock.now() + timedelta(seconds=ttl_s)
        policy.apply(Override(OverrideMode.CHAOS, "li.wei", "drill", expires_at, fault(kind, **values)))

    return lay


async def degraded(error: Exception) -> str:
    return f"degraded by {type(error).__name__}"


@pytest.mark.parametrize(
    ("kind", "error", "outcome", "attempts"),
    [
        (ERROR, InjectedFaultError, "failed", 0),
        (RESET, ConnectionResetError, "failed", 0),
        (HANG, AttemptTimeoutError, "timeout", 0),
        (CREDENTIAL, InjectedFaultError, "auth", 0),
        (LATENCY, None, None, 1),
        (SLOW_BODY, None, None, 1),
    ],
)
async def test_a_fault_is_counted_as_what_it_comes_to(
    make_policy, dependency, calls, inject, start, clock, kind, error, outcome, attempts
):
    """Callers, figures and breaker see a failure of the dependency; that it was injected is shown beside it."""
    policy = make_policy(attempt_timeout_s=1)
    inject(policy, kind)
    (task,) = await start(calls(policy))
    await clock.advance(1)
    (result,) = task.result()
    assert result == "answer" if error is None else isinstance(result, error)
    snapshot = policy.snapshot()
    assert snapshot.forced is OverrideMode.CHAOS
    assert (snapshot.injected, snapshot.totals.injected) == (1, 1)
    assert sum(snapshot.errors.values()) == (0 if error is None else 1)
    assert outcome is None or snapshot.errors[outcome] == 1
    assert dependency.attempts == attempts


async def test_injected_failures_open_the_circuit_and_its_probes_fail_too(make_policy, calls, inject, clock):
    """The breaker acts as ever: it opens, refuses, probes, and closes once the fault has ended."""
    policy = make_policy(calls_min=4, probes=1)
    inject(policy, RESET, ttl_s=10)
    await calls(policy, 4)
    assert policy.snapshot().state is CircuitState.OPEN
    assert isinstance((await calls(policy))[0], CircuitOpenError)
    await clock.advance(3)
    assert isinstance((await calls(policy))[0], ConnectionResetError)
    assert policy.snapshot().state is CircuitState.OPEN
    await clock.advance(8)
    assert await calls(policy) == ["answer"]
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_injected_latency_is_the_dependencys(make_policy, calls, inject, start, clock):
    """Slow attempts are slow to the breaker, and percentiles show them."""
    policy = make_policy(calls_min=4, slow_call_s=0.5)
    inject(policy, LATENCY, latency_p50_s=0.6)
    await start(*(calls(policy) for _ in range(4)))
    await clock.advance(0.6)
    snapshot = policy.snapshot()
    assert snapshot.state is CircuitState.OPEN
    assert snapshot.p50_ms == pytest.approx(600, rel=0.15)


async def test_retries_and_fallback_see_the_fault(make_policy, dependency, calls, inject):
    """A retry may be lucky where the fault hits a share, and the fallback answers where none is."""
    policy = make_policy(attempts_max=3, retry_budget_tokens_max=10, retry_budget_ratio=1)
    inject(policy, ERROR)
    with no_backoff():
        assert await calls(policy, fallback=degraded, retryable=True) == ["degraded by InjectedFaultError"]
    snapshot = policy.snapshot()
    assert (snapshot.retries, snapshot.fallbacks) == (snapshot.injected - 1, 1)
    assert snapshot.retries > 0
    assert dependency.attempts == 0


async def test_a_refused_credential_is_never_retried(make_policy, calls, inject):
    """As a real one: a second attempt would be refused as well."""
    policy = make_policy()
    inject(policy, CREDENTIAL)
    await calls(policy, retryable=True)
    assert (policy.snapshot().injected, policy.snapshot().retries) == (1, 0)


@pytest.mark.parametrize("attempt_timer", [True, False])
@pytest.mark.parametrize("kind", [HANG, LATENCY, SLOW_BODY])
async def test_no_fault_outlives_the_attempt_timeout(make_policy, start, calls, inject, clock, kind, attempt_timer):
    """Also where the transport keeps the timeout itself and the fault never reaches it."""
    policy = make_policy(attempt_timeout_s=1, attempt_timer=attempt_timer)
    inject(policy, kind, **({"latency_p50_s": 30.0} if kind in DELAYS else {}))
    (task,) = await start(calls(policy))
    await clock.advance(0.99)
    assert not task.done()
    await clock.advance(0.01)
    assert isinstance(task.result()[0], AttemptTimeoutError)
    assert policy.snapshot().bulkhead.in_use == 0


@pytest.mark.parametrize("attempt_timer", [True, False])
async def test_no_fault_outlives_the_deadline(make_policy, start, calls, inject, clock, attempt_timer):
    """A caller in a hurry goes on with its fallback; the circuit learns nothing from it."""
    policy = make_policy(attempt_timeout_s=2, attempt_timer=attempt_timer, calls_min=1, slow_call_s=0.5)
    inject(policy, HANG)
    (task,) = await start(calls(policy, deadline=Deadline.after(0.3, clock)))
    await clock.advance(0.3)
    assert isinstance(task.result()[0], DeadlineExceededError)
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_latency_takes_its_time_from_the_attempt(make_policy, dependency, start, calls, inject, clock):
    """The transport is given what is left, so that the two together keep the timeout."""
    policy = make_policy(attempt_timeout_s=2)
    inject(policy, LATENCY, latency_p50_s=0.5)
    await start(calls(policy))
    await clock.advance(0.5)
    assert dependency.timeouts_s == [pytest.approx(1.5)]


async def test_a_caller_may_go_away_during_a_fault(make_policy, start, inject, dependency):
    """Cancellation stays cancellation, and gives the slot back."""
    policy = make_policy()
    inject(policy, HANG)
    (task,) = await start(policy.call(dependency))
    task.cancel()
    await asyncio.wait([task])
    snapshot = policy.snapshot()
    assert task.cancelled()
    assert snapshot.bulkhead.in_use == 0
    assert snapshot.totals.outcomes["cancelled"] == 1


async def test_a_share_of_the_attempts_is_hit(make_policy, calls, inject):
    """The rest goes through unharmed, by a seeded draw."""
    policy = make_policy(calls_min=1_000_000, calls_enough=1_000_000)
    inject(policy, RESET, share=0.25)
    kinds = Counter(type(result) for result in await calls(policy, 2_000))
    assert kinds[str] == pytest.approx(1_500, abs=100)
    assert policy.snapshot().injected == 2_000 - kinds[str]


async def test_the_control_group_is_spared_on_every_attempt(clock, dependency, inject):
    """Who stands below the control share is never hit, the others as ever; outside of a request nobody is in it."""
    stands: list[float | None] = [0.0]
    settings = PolicySettings(caller="gateway", dependency="leads", calls_min=1_000, calls_enough=1_000)
    policy = Policy(settings, clock=clock, rng=random.Random(7), cohort=lambda: stands[0])
    inject(policy, RESET, control_share=0.5)

    async def hit() -> bool:
        try:
            await policy.call(dependency)
        except ConnectionResetError:
            return True
        return False

    hits = {}
    for each in (0.0, 0.49, 0.5, 0.99, None):
        stands[0] = each
        hits[each] = [await hit() for _ in range(20)]
    assert not any(hits[0.0] + hits[0.49])
    assert all(hits[0.5] + hits[0.99] + hits[None])


async def test_a_fault_ends_with_its_override(make_policy, calls, inject, clock, transitions):
    """By itself, or when it is lifted; it is announced with what it does."""
    policy = make_policy()
    inject(policy, ERROR, ttl_s=5)
    await calls(policy)
    await clock.advance(5)
    assert await calls(policy) == ["answer"]
    assert policy.snapshot().forced is None
    assert transitions[0].reason == "chaos (error UNAVAILABLE for 100% of attempts) set by li.wei: drill"
    assert transitions[-1].reason == "chaos of li.wei expired"


async def test_a_transport_commits_what_only_it_can(make_policy, inject):
    """It finds the fault beside its attempt, and nothing beside another; what it raises is judged as ever."""
    seen = []

    class RefusedError(Exception):
        outcome = Outcome.AUTH_REJECTED

    async def attempt(_: float) -> str:
        seen.append(current_fault.get())
        if seen[-1] is not None:
            raise RefusedError
        return "answer"

    policy = make_policy()
    policy.chaos.transport_commits = frozenset({CREDENTIAL})
    inject(policy, CREDENTIAL)
    with pytest.raises(RefusedError):
        await policy.call(attempt)
    policy.apply(None)
    assert await policy.call(attempt) == "answer"
    assert seen == [fault(CREDENTIAL), None]
    assert policy.snapshot().errors["auth"] == 1


@pytest.mark.parametrize(("kind", "error"), [(RESET, ConnectionResetError), (HANG, AttemptTimeoutError)])
async def test_streams_and_transactions_fail_at_their_beginning(make_policy, start, inject, clock, kind, error):
    """Within the attempt timeout, though the stream itself may take minutes."""
    policy = make_policy(attempt_timeout_s=1, stream_s_max=300)
    inject(policy, kind)

    async def work() -> None:
        async with policy.admit():
            pytest.fail("the body must not run")

    (task,) = await start(work())
    await clock.advance(1)
    assert isinstance(task.exception(), error)
    assert policy.snapshot().bulkhead.in_use == 0


async def test_a_stream_that_begins_late_has_less_time(make_policy, start, inject, clock):
    """Latency is taken from what the body may take."""
    policy = make_policy(stream_s_max=10)
    inject(policy, LATENCY, latency_p50_s=0.5)

    async def work() -> float:
        async with policy.admit() as admission:
            return admission.timeout_s

    (task,) = await start(work())
    await clock.advance(0.5)
    assert task.result() == pytest.approx(9.5)


async def test_a_slow_body_comes_message_by_message(make_policy, start, inject, clock):
    """Each message is late, until the override is lifted."""
    policy = make_policy(attempt_timeout_s=2)
    inject(policy, SLOW_BODY, latency_p50_s=0.5)
    came_at_s = []

    async def work() -> None:
        async with policy.admit() as admission:
            for _ in range(4):
                await admission.pace()
                came_at_s.append(clock.monotonic())

    (task,) = await start(work())
    await clock.advance(1)
    policy.apply(None)
    await clock.advance(1)
    assert came_at_s == [0.5, 1.0, 1.5, 1.5]
    assert task.done()
    assert policy.snapshot().injected == 1


async def test_a_body_that_stops_is_given_up(make_policy, start, inject, clock):
    """A message later than the attempt timeout is a timeout, as it is without a fault."""
    policy = make_policy(attempt_timeout_s=1)
    inject(policy, SLOW_BODY, latency_p50_s=5.0)

    async def work() -> None:
        async with policy.admit() as admission:
            await admission.pace()

    (task,) = await start(work())
    await clock.advance(1)
    assert isinstance(task.exception(), AttemptTimeoutError)
    assert policy.snapshot().errors["timeout"] == 1


async def test_an_answer_that_comes_too_late_was_done_all_the_same(
    make_policy, dependency, start, calls, inject, clock
):
    """A slow body after the effect: the caller sees a timeout, whose effect is unknown to it."""
    policy = make_policy(attempt_timeout_s=1)
    inject(policy, SLOW_BODY, latency_p50_s=5.0)
    (task,) = await start(calls(policy))
    await clock.advance(1)
    assert isinstance(task.result()[0], AttemptTimeoutError)
    assert dependency.attempts == 1


def test_delays_follow_their_distribution():
    """Half are below p50 and one in a hundred above p99, none above the limit."""
    slow = fault(LATENCY, latency_p50_s=0.1, latency_p99_s=1.0, latency_s_max=2.0)
    rng = random.Random(7)
    delays_s = [slow.delay_s(rng) for _ in range(20_000)]
    assert statistics.median(delays_s) == pytest.approx(0.1, rel=0.05)
    assert statistics.quantiles(delays_s, n=100)[98] == pytest.approx(1.0, rel=0.1)
    assert max(delays_s) <= 2.0


async def test_the_same_seed_hits_the_same_attempts(dependency, inject):
    """A drill can be repeated."""

    async def run() -> list[bool]:
        clock = VirtualClock()
        settings = PolicySettings(caller="gateway", dependency="leads", calls_min=1_000, calls_enough=1_000)
        policy = Policy(settings, clock=clock, rng=random.Random(3))
        expires_at = clock.now() + timedelta(seconds=60)
        policy.apply(Override(OverrideMode.CHAOS, "li.wei", "drill", expires_at, fault(RESET, share=0.5)))
        hits = []
        for _ in range(50):
            try:
                await policy.call(dependency)
            except ConnectionResetError:
                hits.append(True)
            else:
                hits.append(False)
        return hits

    first = await run()
    assert first == await run()
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"kind": LATENCY}, ["fault.latency_p50_s: latency needs it"]),
        ({"kind": LATENCY, "latency_p50_s": 0.0}, ["fault.latency_p50_s: must be above 0"]),
        ({"kind": LATENCY, "latency_p50_s": float("nan")}, ["fault.latency_p50_s: must be above 0"]),
        (
            {"kind": SLOW_BODY, "latency_p50_s": 1.0, "latency_p99_s": 0.5},
            ["fault.latency_p99_s: must be at least latency_p50_s"],
        ),
        ({"kind": HANG, "latency_p50_s": 1.0}, ["fault.latency_p50_s: means nothing to hang"]),
        ({"kind": ERROR}, ["fault.code: error needs it"]),
        ({"kind": RESET, "code": "X"}, ["fault.code: means nothing to reset"]),
        ({"kind": ERROR, "code": "no good"}, ["fault.code: must be at most 40 letters, digits and underscores"]),
        (
            {"kind": RESET, "share": 0.0, "control_share": 1.0},
            ["fault.share: must be above 0 and at most 1", "fault.control_share: must be at least 0 and below 1"],
        ),
        (
            {"kind": LATENCY, "latency_p50_s": 1.0, "latency_s_max": 301.0},
            ["fault.latency_s_max: must be above 0 and at most 300"],
        ),
    ],
)
def test_a_fault_that_cannot_be_is_refused(values, errors):
    """With every field that is wrong."""
    with pytest.raises(InvalidPolicyError) as refused:
        Fault(**values)
    assert list(refused.value.errors) == errors


@pytest.mark.parametrize(
    ("mode", "given", "error"),
    [
        (OverrideMode.CHAOS, None, "override.fault: chaos needs it"),
        (OverrideMode.SHADOW, fault(HANG), "override.fault: means nothing to shadow"),
    ],
)
def test_a_fault_belongs_to_chaos_only(clock, mode, given, error):
    """An override of another mode cannot hide one."""
    with pytest.raises(InvalidPolicyError, match=error):
        Override(mode, "li.wei", "drill", clock.now(), given)
