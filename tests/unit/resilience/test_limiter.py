"""The limiter by itself: slots, who is refused first, and what moves the limit. Under load: tests/simulation."""

import random

import pytest

from breakwater.resilience.shedding import Limiter, Priority
from breakwater.resilience.testing import VirtualClock

READ, WRITE, SLOW = "read", "write", "slow"


@pytest.fixture
def make_limiter(clock):
    def make(**limits):
        return Limiter(**{"ceiling": 10, "adaptive": False, "clock": clock, "rng": random.Random(1)} | limits)

    return make


def fill(limiter, count, priority=Priority.INTERACTIVE):
    """Enters until so many are in flight."""
    while limiter.in_flight < count:
        limiter.enter(priority)


def share_refused(limiter, priority, tries=4000):
    """The share refused at the present use, which stays as it is."""
    refused = 0
    for _ in range(tries):
        if limiter.enter(priority) is None:
            limiter.leave(priority, READ, 0.0, answered=True)
        else:
            refused += 1
    return refused / tries


async def window(limiter, clock, kinds, *, crowd=1, answered=True):
    """Rounds of work, `crowd` at a time, until the limit had the time to move.

    `kinds` gives each its seconds, or tells them by the number in flight.
    """
    began_s = clock.monotonic()
    while clock.monotonic() - began_s < 2.0:
        for kind, seconds in kinds.items():
            started_s = clock.monotonic()
            entered = sum(limiter.enter(Priority.INTERACTIVE) is None for _ in range(crowd))
            await clock.advance(seconds(entered) if callable(seconds) else seconds)
            for _ in range(entered):
                limiter.leave(Priority.INTERACTIVE, kind, started_s, answered=answered)


def test_the_ceiling_holds_and_a_free_slot_is_taken_again(make_limiter):
    """Refused at once, with a time to come again; let in as soon as somebody left."""
    limiter = make_limiter(ceiling=2, floor=1)
    assert [limiter.enter(Priority.INTERACTIVE) for _ in range(2)] == [None, None]
    assert 0.25 <= limiter.enter(Priority.INTERACTIVE) <= 0.75
    limiter.leave(Priority.INTERACTIVE, READ, 0.0, answered=True)
    assert limiter.enter(Priority.INTERACTIVE) is None
    assert limiter.shed[Priority.INTERACTIVE] == 1


def test_batch_is_refused_before_interactive_and_interactive_before_ops(make_limiter):
    """As the server fills up, the less urgent goes first, and ops never goes for load."""
    limiter = make_limiter(ceiling=100)
    seen = {}
    for used in (40, 70, 88, 95, 99):
        fill(limiter, used)
        seen[used] = [share_refused(limiter, priority) for priority in Priority]
    assert seen[40] == [0, 0, 0]
    ops, interactive, batch = seen[70]
    assert (ops, interactive) == (0, 0)
    assert 0.3 < batch < 0.7
    ops, interactive, batch = seen[88]
    assert (ops, interactive) == (0, 0)
    assert batch > 0.85
    ops, interactive, batch = seen[95]
    assert ops == 0
    assert 0.3 < interactive < 0.7
    assert batch < 1
    assert seen[99][0] == 0
    assert max(seen[99]) < 1


def test_no_class_is_refused_altogether_above_the_adaptive_limit(make_limiter):
    """Some of each finds out whether it got better, until the ceiling."""
    limiter = make_limiter(ceiling=100, adaptive=True, start=10)
    fill(limiter, 20)
    for priority in (Priority.INTERACTIVE, Priority.BATCH):
        assert 0.95 < share_refused(limiter, priority) < 1
    fill(limiter, 100)
    assert share_refused(limiter, Priority.INTERACTIVE) == 1


def test_ops_has_slots_of_its_own_and_they_are_bounded(make_limiter):
    """A full server lets ops in; ops that never ends is refused in the end."""
    limiter = make_limiter(ceiling=2, floor=1, ops_max=3)
    fill(limiter, 2)
    assert [limiter.enter(Priority.OPS) for _ in range(3)] == [None] * 3
    assert limiter.enter(Priority.OPS) > 0
    limiter.leave(Priority.OPS, READ, 0.0, answered=True)
    assert limiter.enter(Priority.OPS) is None
    assert limiter.in_flight == 2


def test_streams_have_slots_of_their_own_and_are_shed_by_the_same_crowd(make_limiter):
    """A hundred open downloads leave the slots of quick requests alone; a new one in a crowd is refused by priority."""
    limiter = make_limiter(ceiling=100, streams_max=3)
    assert [limiter.enter_stream(Priority.BATCH) for _ in range(3)] == [None] * 3
    assert limiter.enter_stream(Priority.BATCH) > 0
    assert limiter.in_flight == 0
    limiter.leave_stream(Priority.BATCH)
    fill(limiter, 88)
    refused = 0
    for _ in range(1000):
        if limiter.enter_stream(Priority.BATCH) is None:
            limiter.leave_stream(Priority.BATCH)
        else:
            refused += 1
    assert 850 < refused < 1000
    assert limiter.enter_stream(Priority.INTERACTIVE) is None
    limiter.leave_stream(Priority.INTERACTIVE)
    assert limiter.enter_stream(Priority.OPS) is None
    limiter.leave_stream(Priority.OPS)
    assert (limiter.streams_in_flight, limiter.ops_in_flight) == (2, 0)


def test_the_refused_do_not_return_together_and_batch_later(make_limiter):
    """The times to wait are spread."""
    limiter = make_limiter(ceiling=1, floor=1)
    fill(limiter, 1)
    waits = {
        priority: [limiter.enter(priority) for _ in range(50)] for priority in (Priority.INTERACTIVE, Priority.BATCH)
    }
    assert len(set(waits[Priority.INTERACTIVE])) == 50
    assert max(waits[Priority.INTERACTIVE]) < min(waits[Priority.BATCH])


async def test_the_limit_grows_while_a_crowd_is_served_as_quickly(make_limiter, clock):
    """More at a time and no longer: there is room for more still."""
    limiter = make_limiter(ceiling=200, adaptive=True)
    await window(limiter, clock, {READ: 0.02}, crowd=30)
    assert limiter.limit > 32


async def test_the_limit_falls_when_a_crowd_takes_longer_and_grows_when_it_no_longer_does(make_limiter, clock):
    """Latency that grows with the number in flight is a queue."""
    limiter = make_limiter(ceiling=200, adaptive=True)
    await window(limiter, clock, {READ: 0.02}, crowd=10)
    # Each of the crowd waits for all the others.
    await window(limiter, clock, {READ: lambda entered: 0.004 * entered}, crowd=40)
    low = limiter.limit
    assert low <= 10
    await window(limiter, clock, {READ: 0.02}, crowd=40)
    assert limiter.limit > 1.5 * low


async def test_neither_ops_nor_streams_move_the_limit(make_limiter, clock):
    """Neither says by its length how crowded the server is."""
    limiter = make_limiter(ceiling=200, adaptive=True)
    await window(limiter, clock, {READ: 0.02}, crowd=20)
    before = limiter.limit
    for _ in range(100):
        started_s = clock.monotonic()
        limiter.enter(Priority.OPS)
        limiter.enter_stream(Priority.BATCH)
        await clock.advance(1.0)
        limiter.leave(Priority.OPS, READ, started_s, answered=True)
        limiter.leave_stream(Priority.BATCH)
    assert limiter.limit == before


async def test_another_mix_is_not_taken_for_a_crowd(make_limiter, clock):
    """Each kind of work is held against itself: more writes make the mean longer, and nothing slower."""
    limiter = make_limiter(ceiling=40, adaptive=True)
    await window(limiter, clock, {READ: 0.01, WRITE: 0.1}, crowd=30)
    before = limiter.limit
    for _ in range(5):
        await window(limiter, clock, {WRITE: 0.1}, crowd=int(limiter.limit))
    assert limiter.limit >= before


async def test_one_kind_that_got_slow_does_not_speak_for_all(make_limiter, clock):
    """A report whose own dependency hangs does not cost the others their room."""
    limiter = make_limiter(ceiling=40, adaptive=True)
    await window(limiter, clock, {READ: 0.01, WRITE: 0.02, SLOW: 0.02}, crowd=20)
    before = limiter.limit
    for _ in range(5):
        started_s = clock.monotonic()
        slow = sum(limiter.enter(Priority.INTERACTIVE) is None for _ in range(10))
        await window(limiter, clock, {READ: 0.01, WRITE: 0.02}, crowd=20)
        for _ in range(slow):
            limiter.leave(Priority.INTERACTIVE, SLOW, started_s, answered=True)
    assert limiter.limit >= before


async def test_a_timeout_counts_and_a_quick_failure_says_nothing(make_limiter, clock):
    """What fails at once must not make a dead dependency look like a quick one, nor a healthy latency a crowd."""
    limiter = make_limiter(ceiling=40, adaptive=True)
    await window(limiter, clock, {READ: 0.05}, crowd=20)
    before = limiter.limit
    for _ in range(3):
        await window(limiter, clock, {READ: 0.001}, crowd=20, answered=False)
    assert limiter.limit == before
    for _ in range(2):
        await window(limiter, clock, {READ: lambda entered: 0.02 * entered}, crowd=40, answered=False)
    assert limiter.limit < before


@pytest.mark.parametrize(
    "limits",
    [{"floor": 11}, {"floor": 0}, {"ops_max": 0}, {"streams_max": 0}, {"ratio_max": 0.9}],
)
def test_limits_that_contradict_each_other_are_refused(make_limiter, limits):
    """A server that could serve nobody does not start."""
    with pytest.raises(ValueError, match="must hold"):
        make_limiter(**limits)


async def test_replicas_measure_at_different_moments():
    """Under a lasting crowd the limit is lowered to measure, but not on all replicas together."""
    moments = []
    for seed in range(8):
        clock = VirtualClock()
        limiter = Limiter(ceiling=64, floor=4, start=16, clock=clock, rng=random.Random(seed))
        lowered_s = None
        while lowered_s is None and clock.monotonic() < 60:
            before, started_s = limiter.limit, clock.monotonic()
            entered = sum(limiter.enter(Priority.INTERACTIVE) is None for _ in range(80))
            await clock.advance(0.002 * max(entered, 10))
            for _ in range(entered):
                limiter.leave(Priority.INTERACTIVE, READ, started_s, answered=True)
            if started_s > 5 and limiter.limit < 0.6 * before:
                lowered_s = clock.monotonic()
        moments.append(lowered_s)
    assert None not in moments
    assert max(moments) - min(moments) > 5
