"""The figures of an edge: true, complete, and read without touching anything."""

import copy
from collections import Counter, deque
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.resilience import CircuitState, Outcome
from breakwater.resilience._window import CELLS, Window, cell_bounds_s, cell_of, cumulative, percentile_ms
from breakwater.resilience.errors import OverloadedError


class CredentialRefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


async def test_an_idle_edge_is_unknown_not_healthy(make_policy):
    """Without traffic there is no availability, error rate or latency to show."""
    snapshot = make_policy().snapshot()
    assert (snapshot.availability, snapshot.error_rate, snapshot.p99_ms) == (None, None, None)
    assert (snapshot.calls, snapshot.rate_per_s) == (0, 0)
    assert snapshot.at.tzinfo is UTC


async def test_errors_are_split_by_kind(make_policy, dependency, calls):
    """Timeout, rejected, failed, short-circuited, auth, overload and deadline, each with its count."""
    policy = make_policy(calls_min=100, attempts_max=1)
    dependency.script = [
        None,
        ConnectionError,
        TimeoutError,
        TimeoutError,
        CredentialRefusedError,
        lambda: OverloadedError("gateway", "leads", "busy"),
    ]
    await calls(policy, 6)
    snapshot = policy.snapshot()
    assert snapshot.errors == {
        "failed": 1,
        "timeout": 2,
        "auth": 1,
        "overload": 1,
        "rejected": 0,
        "short_circuited": 0,
        "deadline": 0,
    }
    assert snapshot.error_rate == pytest.approx(4 / 6)
    assert snapshot.availability == pytest.approx(1 / 6)


async def test_the_rate_is_of_calls_over_the_window(make_policy, dependency, calls, clock):
    """Fifty calls a second for ten seconds are 50/s, and fade as the window moves on."""
    policy = make_policy(window_s=20)
    for _ in range(100):
        await calls(policy, 5)
        await clock.advance(0.1)
    assert policy.snapshot().rate_per_s == pytest.approx(50, rel=0.06)
    await clock.advance(15)
    assert policy.snapshot().rate_per_s == pytest.approx(12.5, rel=0.1)
    await clock.advance(20)
    assert policy.snapshot().rate_per_s == 0


async def test_totals_only_grow(make_policy, dependency, calls, clock):
    """What leaves the window stays in the totals, for counters and histograms of a scraper."""
    policy = make_policy(window_s=5)
    dependency.script = [ConnectionError] * 3
    for _ in range(10):
        await calls(policy, 1)
        await clock.advance(30)
    snapshot = policy.snapshot()
    assert snapshot.calls == 0
    assert snapshot.totals.outcomes["success"] == 7
    assert snapshot.totals.outcomes["failed"] == 3
    assert snapshot.totals.latency_counts[-1] == (float("inf"), 10)
    counts = [count for _, count in snapshot.totals.latency_counts]
    assert counts == sorted(counts)


async def test_time_to_the_next_probe(opened, calls, clock):
    """Counts down while open, is zero when a probe may go, and nothing while closed."""
    policy = await opened(open_s=2, probes=1)
    assert 2 <= policy.snapshot().next_probe_s <= 2.2
    await clock.advance(1)
    assert 1 <= policy.snapshot().next_probe_s <= 1.2
    await clock.advance(5)
    assert policy.snapshot().next_probe_s == 0
    await calls(policy, 1)
    assert policy.snapshot().next_probe_s is None


def plain(value: object, seen: frozenset[int] = frozenset()) -> object:
    """Everything an object holds, as plain data, to compare it before and after."""
    if id(value) in seen or isinstance(value, type) or callable(value):
        return "seen"
    seen |= {id(value)}
    if isinstance(value, dict):
        return sorted((str(key), plain(each, seen)) for key, each in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [plain(each, seen) for each in value]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots if hasattr(value, name)}}
    return plain(held, seen) if held else copy.copy(repr(value))


@pytest.mark.parametrize("later_s", [0.0, 1.0, 2.3, 50.0])
async def test_observing_changes_nothing(opened, clock, later_s):
    """A dashboard that looks ten times consumes no permit, rotates no bucket, ends no override."""
    policy = await opened(probes=1)
    await clock.advance(later_s)
    before = plain(policy)
    for _ in range(10):
        policy.snapshot()
    assert plain(policy) == before
    assert policy.snapshot().state is CircuitState.OPEN


async def test_a_permit_is_still_there_after_a_thousand_looks(opened, calls, clock):
    """Whoever asks whether the circuit is open does not use up the probe."""
    policy = await opened(probes=1)
    await clock.advance(3)
    for _ in range(1000):
        policy.snapshot()
    assert await calls(policy) == ["answer"]


@given(latency_s=st.floats(0, 1000))
def test_every_latency_lies_in_its_cell(latency_s):
    """A cell holds what lies between its bounds; at most 12.5 % apart."""
    start_s, end_s = cell_bounds_s(cell_of(latency_s))
    assert start_s <= latency_s <= end_s
    assert end_s == float("inf") or start_s == 0 or end_s <= start_s * 1.1251


@given(latencies_s=st.lists(st.floats(0.0001, 100), min_size=1, max_size=200), share=st.sampled_from([0.5, 0.9, 0.99]))
def test_percentiles_are_within_a_cell_of_the_truth(latencies_s, share):
    """The histogram's percentile and the exact one differ by less than one cell."""
    cells = Counter(cell_of(latency_s) for latency_s in latencies_s)
    ordered = sorted(latencies_s)
    exact_s = next(each for at, each in enumerate(ordered, start=1) if at >= share * len(ordered))
    start_s, end_s = cell_bounds_s(cell_of(exact_s))
    assert start_s <= percentile_ms(cells, share) / 1000 <= end_s * 1.0001


def test_the_cumulative_histogram_counts_everything():
    """Bounds ascend, counts too, and infinity holds all."""
    bounds = list(cumulative(dict.fromkeys(range(CELLS), 1)))
    assert bounds == sorted(bounds)
    assert bounds[0][0] == pytest.approx(0.00048828125)
    assert bounds[-1] == (float("inf"), CELLS)


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["good", "bad", "slow"])), max_size=200),
    idle_s=st.floats(0, 30),
)
def test_the_window_counts_what_a_list_would_count(steps, idle_s):
    """Buckets agree with a plain list of events: nothing younger than the window less one slice is lost, and nothing
    older than the window is kept.
    """
    window, now_s, events = Window(10.0, 0.0), 0.0, []
    for gap_s, kind in steps:
        now_s += gap_s
        bucket = window.bucket(now_s)
        bucket.judged += 1
        bucket.failed += kind == "bad"
        bucket.slow += kind == "slow"
        bucket.count(Outcome.SUCCESS)
        events.append((now_s, kind))
    now_s += idle_s
    judged, failed, slow = window.recent(now_s, enough=10**6)

    def younger_than(age_s: float, kinds: set[str]) -> int:
        return sum(now_s - at_s < age_s and kind in kinds for at_s, kind in events)

    every = {"good", "bad", "slow"}
    slice_s = 10.0 / 40 + 1e-6
    for counted, kinds in ((judged, every), (failed, {"bad"}), (slow, {"slow"})):
        assert younger_than(10.0 - slice_s, kinds) <= counted <= younger_than(10.0 + 1e-6, kinds)
    assert window.rolling(now_s).how_many([Outcome.SUCCESS]) == judged
    assert window.all_time().how_many([Outcome.SUCCESS]) == len(events)


def test_a_high_rate_is_judged_by_its_newest_results():
    """Enough results in the newest slices make the older ones irrelevant."""
    window = Window(20.0, 0.0)
    window.bucket(0.0).judged = 10_000
    newest = window.bucket(1.0)
    newest.judged, newest.failed = 100, 50
    assert window.recent(1.0, enough=100) == (100, 50, 0)
    assert window.recent(1.0, enough=101) == (10_100, 50, 0)
