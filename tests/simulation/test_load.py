"""Retries add a tenth of load and no more, and an overload ends with its cause."""

import pytest

from tests.simulation.load import RECOVERY_S_MAX, TRIGGERS, load_at_total_failure, seconds_to_recover


@pytest.mark.parametrize("seed", range(3))
def test_the_budget_alone_keeps_a_failing_hop_at_a_tenth_more(seed):
    """In a minute of 100 % failure a dependency gets at most 1.1 x the calls, what was saved up before included."""
    load = load_at_total_failure(hops=1, breaker=False, budget=True, seed=seed)
    assert 1.05 < load.amplification <= 1.1


@pytest.mark.parametrize("seed", range(3))
def test_three_hops_that_all_retry_stay_below_a_third_more(seed):
    """Stacked retries multiply, but only tenths: at most 1.35 x (resilience engine, 4)."""
    load = load_at_total_failure(hops=3, breaker=False, budget=True, seed=seed)
    assert 1.2 < load.amplification <= 1.35


@pytest.mark.parametrize("hops", [1, 3])
def test_the_breaker_takes_the_load_off_a_dead_dependency(hops):
    """With the circuit open, probes are all that a dependency which always fails gets."""
    assert load_at_total_failure(hops=hops, breaker=True, budget=True, seed=1).amplification < 0.05


def test_without_the_budget_every_failure_is_tried_three_times():
    """The figures above are the budget's: without it the load is 3 x."""
    assert load_at_total_failure(hops=1, breaker=False, budget=False, seed=1, measured_s=10).amplification > 2.9


@pytest.mark.parametrize("breaker", [True, False], ids=["breaker", "budget alone"])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_overload_ends_soon_after_its_cause(trigger, breaker):
    """Ten processes at 70 % of a server's capacity: well within 30 s of the trigger's end, without a restart."""
    took_s = seconds_to_recover(TRIGGERS[trigger], breaker=breaker, budget=True, seed=1)
    assert took_s is not None
    assert took_s <= RECOVERY_S_MAX


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_without_the_budget_the_overload_stays_when_its_cause_is_gone(trigger):
    """The metastable failure: retries alone keep the server busy with requests that nobody waits for any more."""
    assert seconds_to_recover(TRIGGERS[trigger], breaker=False, budget=False, seed=1) is None
