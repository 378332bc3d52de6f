"""A circuit opens within two seconds of a fault, and at one error in a hundred it stays closed all day."""

from dataclasses import replace

import pytest

from breakwater.resilience import PolicySettings
from tests.simulation.trips import DAY_H, FAULTS, LOW_RATES_PER_S, judgements, long_run, seconds_to_trip

DEFAULTS = PolicySettings(caller="gateway", dependency="leads")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_hundred_calls_a_second_trips_within_two_seconds(fault, seed):
    """50 % errors, or ten times the 60 ms that calls took for a minute before (resilience engine, 5)."""
    took_s = seconds_to_trip(DEFAULTS, rate_per_s=100, healthy_s=60, latency_s=0.06, fault=FAULTS[fault], seed=seed)
    assert took_s is not None
    assert took_s <= 2.0


@pytest.mark.parametrize("rate_per_s", LOW_RATES_PER_S)
@pytest.mark.parametrize("edge", judgements())
def test_one_error_in_a_hundred_never_trips_in_a_day(edge, rate_per_s):
    """24 hours at 1 % errors, at the low rates at which few results must be enough (resilience engine, 5)."""
    day = long_run(judgements()[edge], rate_per_s=rate_per_s, hours=DAY_H, error_share=0.01, seed=1)
    assert day.failed > 0
    assert day.trips == ()


def test_settings_that_judge_by_too_few_do_trip_on_a_healthy_dependency():
    """The test above can fail: two failures of three open a circuit falsely within some days."""
    hasty = replace(DEFAULTS, calls_min=3, error_rate_max=0.5)
    assert any(long_run(hasty, rate_per_s=0.1, hours=DAY_H, error_share=0.01, seed=seed).trips for seed in range(5))
