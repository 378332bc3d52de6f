"""Settings are taken anew while calls are under way: nothing is lost, nothing is doubled."""

import asyncio

import pytest

from breakwater.resilience import CircuitState, PolicyRegistry, PolicySettings
from breakwater.resilience.errors import AttemptTimeoutError, BulkheadFullError, CircuitOpenError, InvalidPolicyError
from breakwater.resilience.testing import settle


def settings(**values) -> PolicySettings:
    return PolicySettings(caller="gateway", dependency="leads", **values)


async def test_an_open_circuit_stays_open(opened, calls, clock):
    """Its state and the time of its next probe are not the settings'."""
    policy = await opened(open_s=4)
    before = policy.snapshot()
    policy.reconfigure(settings(open_s=1))
    assert isinstance((await calls(policy))[0], CircuitOpenError)
    assert policy.snapshot().next_probe_s == before.next_probe_s


@pytest.mark.parametrize("probes", [1, 2, 5])
async def test_a_round_of_probes_ends_as_it_began(opened, dependency, start, calls, clock, probes):
    """Permits in flight are neither lost nor doubled by another number of probes, and the round is decided."""
    policy = await opened(probes=3)
    await clock.advance(3)
    dependency.takes_s = 0.4
    leased = await start(policy.call(dependency), policy.call(dependency))
    policy.reconfigure(settings(probes=probes))
    await start(*(policy.call(dependency) for _ in range(5)))
    assert dependency.in_flight == 3
    await clock.advance(1)
    assert [await task for task in leased] == ["answer"] * 2
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_the_next_round_has_the_new_number_of_probes(opened, dependency, start, clock):
    """From then on exactly so many go."""
    policy = await opened(probes=3)
    policy.reconfigure(settings(probes=5))
    await clock.advance(3)
    dependency.takes_s = 1
    await start(*(policy.call(dependency) for _ in range(9)))
    assert dependency.in_flight == 5


async def test_slots_in_use_are_kept_when_the_bulkhead_shrinks(make_policy, dependency, start, calls, clock):
    """Whoever is in flight goes on; nobody new is let in until enough have gone."""
    policy = make_policy(concurrency_max=4, queue_max=0)
    dependency.takes_s = 1
    tasks = await start(*(policy.call(dependency) for _ in range(4)))
    policy.reconfigure(settings(concurrency_max=2, queue_max=0))
    assert policy.snapshot().bulkhead.in_use == 4
    assert isinstance((await calls(policy))[0], BulkheadFullError)
    await clock.advance(1)
    assert [await task for task in tasks] == ["answer"] * 4
    await start(*(policy.call(dependency) for _ in range(2)))
    assert isinstance((await calls(policy))[0], BulkheadFullError)
    await clock.advance(1)
    assert policy.snapshot().bulkhead.in_use == 0


async def test_who_waits_gets_the_new_slots_when_the_bulkhead_grows(make_policy, dependency, start, clock):
    """At once, in the order they came."""
    policy = make_policy(concurrency_max=1, queue_max=5)
    dependency.takes_s = 0.2
    tasks = await start(*(policy.call(dependency) for _ in range(4)))
    policy.reconfigure(settings(concurrency_max=3, queue_max=5))
    await settle()
    snapshot = policy.snapshot().bulkhead
    assert (snapshot.in_use, snapshot.queued, dependency.in_flight) == (3, 1, 3)
    await clock.advance(0.2)
    await clock.advance(0.2)
    assert [await task for task in tasks] == ["answer"] * 4
    assert policy.snapshot().bulkhead.in_use == 0


async def test_a_waiter_that_went_away_takes_no_new_slot(make_policy, dependency, start, clock):
    """A slot given to somebody who is gone would be lost."""
    policy = make_policy(concurrency_max=1, queue_max=5)
    dependency.takes_s = 0.2
    _, gone, waiting = await start(*(policy.call(dependency) for _ in range(3)))
    gone.cancel()
    policy.reconfigure(settings(concurrency_max=2, queue_max=5))
    await asyncio.wait([gone])
    await settle()
    assert (policy.snapshot().bulkhead.in_use, dependency.in_flight) == (2, 2)
    await clock.advance(0.2)
    assert await waiting == "answer"
    assert policy.snapshot().bulkhead.in_use == 0


async def test_the_retry_budget_is_kept(make_policy, calls, clock):
    """What was saved up stays, as far as the new bucket holds it; the rates are the new ones."""
    policy = make_policy(retry_budget_ratio=0.1, retry_budget_floor_per_s=0)
    await calls(policy, 30)
    assert policy.snapshot().retry_budget_tokens == pytest.approx(4)
    policy.reconfigure(settings(retry_budget_ratio=0.5, retry_budget_floor_per_s=0))
    assert policy.snapshot().retry_budget_tokens == pytest.approx(4)
    await calls(policy, 2)
    assert policy.snapshot().retry_budget_tokens == pytest.approx(5)
    policy.reconfigure(settings(retry_budget_tokens_max=2))
    assert policy.snapshot().retry_budget_tokens == pytest.approx(2)


async def test_an_attempt_in_flight_keeps_its_timeout_and_the_next_has_the_new_one(
    make_policy, dependency, start, clock
):
    """Timeouts of both lengths end in time, whichever began first."""
    policy = make_policy(attempt_timeout_s=4)
    dependency.takes_s = 3600
    (old,) = await start(policy.call(dependency))
    policy.reconfigure(settings(attempt_timeout_s=1))
    (new,) = await start(policy.call(dependency))
    await clock.advance(1)
    assert (new.done(), old.done()) == (True, False)
    await clock.advance(3)
    assert isinstance(new.exception(), AttemptTimeoutError)
    assert isinstance(old.exception(), AttemptTimeoutError)
    assert policy.snapshot().bulkhead.in_use == 0


async def test_another_window_begins_anew_and_counters_only_grow(make_policy, dependency, calls):
    """What is scraped since the start survives; what is judged starts from nothing."""
    policy = make_policy(window_s=20)
    dependency.fails_with = ConnectionError
    await calls(policy, 5)
    policy.reconfigure(settings(window_s=60))
    snapshot = policy.snapshot()
    assert (snapshot.calls, snapshot.window_s, snapshot.totals.outcomes["failed"]) == (0, 60, 5)
    await calls(policy, 20)
    assert policy.snapshot().state is CircuitState.OPEN
    assert policy.snapshot().totals.outcomes["failed"] == 25


async def test_what_is_judged_survives_other_limits(make_policy, dependency, calls):
    """A lower error rate judges the results that are there."""
    policy = make_policy(calls_min=4, error_rate_max=0.9)
    dependency.script = [None, None, ConnectionError, ConnectionError]
    await calls(policy, 4)
    policy.reconfigure(settings(calls_min=4, error_rate_max=0.5))
    dependency.fails_with = ConnectionError
    await calls(policy, 1)
    assert policy.snapshot().state is CircuitState.OPEN


def test_a_document_is_taken_whole(clock):
    """The edges whose settings changed are told."""
    registry = PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {}, "files": {}}}, clock=clock)
    changed = registry.reload({"edges": {"leads": {"probes": 7}, "files": {}}})
    assert changed == ("leads",)
    assert registry["leads"].settings.probes == 7


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        (
            {"edges": {"leads": {"probes": 0}, "files": {"probs": 1}}},
            ["gateway -> leads.probes: must be above 0", "gateway -> files.probs: unknown setting"],
        ),
        (
            {"edges": {"leads": {"probes": 7}, "health": {}}},
            ["gateway -> files: is missing, it is in use", "gateway -> health: is new, restart to have it"],
        ),
    ],
)
def test_a_bad_document_changes_nothing(clock, document, errors):
    """Every error is told, and every edge keeps the settings it had."""
    registry = PolicyRegistry.from_mapping("gateway", {"edges": {"leads": {}, "files": {}}}, clock=clock)
    before = [policy.settings for policy in registry]
    with pytest.raises(InvalidPolicyError) as refused:
        registry.reload(document)
    assert list(refused.value.errors) == errors
    assert [policy.settings for policy in registry] == before


def test_the_settings_of_another_edge_are_refused(make_policy):
    """A policy stays with its edge."""
    with pytest.raises(ValueError, match="another edge"):
        make_policy().reconfigure(PolicySettings(caller="gateway", dependency="files"))
