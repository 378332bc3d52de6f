"""Seeded schedules of many callers and several processes: what must hold after every step, whatever comes between.

A failing schedule is replayed by its seed: `python -m tests.simulation SEED`. The long run is `make proof-simulation`.
"""

import asyncio

import pytest

from tests.simulation.bugs import PLANTED
from tests.simulation.replica import STATES
from tests.simulation.scene import CALLERS_MIN, EVENTS, EVENTS_MIN
from tests.simulation.schedule import Schedule
from tests.simulation.tally import Tally, first_violation, run_schedules

SCHEDULES = 1000
"""What CI runs of the million that `make proof-simulation` runs."""


@pytest.fixture(scope="module")
def tally() -> Tally:
    return run_schedules(range(SCHEDULES))


def test_no_schedule_breaks_a_rule(tally):
    """Probes, slots, queue, budget, deadlines, generations, overrides and recovery hold in every seeded schedule."""
    assert tally.violated == []


def test_every_schedule_has_its_callers_and_events(tally):
    """No schedule is shorter or emptier than the proof says."""
    assert tally.schedules == SCHEDULES
    assert tally.callers_least >= CALLERS_MIN >= 8
    assert tally.events_least >= EVENTS_MIN >= 200


def test_the_schedules_reach_every_state_with_every_event(tally):
    """Otherwise rules that hold would say little."""
    reached = {pair for pair, count in tally.by_state().items() if count > 0}
    assert reached == {(str(state), event) for state in STATES for event in EVENTS}


def test_a_schedule_is_its_seed():
    """The same seed brings the same events in the same order at the same times, and another one others."""

    def events(seed: int) -> list[str]:
        lines: list[str] = []
        Schedule(seed, trace=lines.append).run()
        return lines

    assert events(7) == events(7)
    assert events(7) != events(8)


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug):
    """The simulation can fail: each bug breaks a rule within the schedules that CI runs."""
    with PLANTED[bug]():
        assert first_violation(range(SCHEDULES)) is not None


def test_a_plant_leaves_nothing_behind():
    """After a planted bug the policies are themselves again."""
    before = run_schedules(range(5)).counts
    for plant in PLANTED.values():
        with plant():
            pass
    assert run_schedules(range(5)).counts == before


def test_the_loop_of_the_schedules_keeps_to_itself():
    """No loop is left running behind a schedule."""
    Schedule(1).run()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
