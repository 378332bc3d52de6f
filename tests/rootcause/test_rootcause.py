"""A seeded sample of `make proof-rootcause`: the cause is named first, on one page, and quiet times have none."""

import logging
import random

import pytest
import structlog

from tests.rootcause import bugs, cases, faults, trial

pytestmark = [pytest.mark.capability(38), pytest.mark.timeout(600)]

SEED = 11


@pytest.fixture(autouse=True)
def _quiet_log():
    """Each change of a circuit is a line of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def test_every_edge_of_the_graph_is_under_every_class_of_fault():
    """The cases come from the services' own policies: a new edge is in them without a word."""
    world = trial.world_with_ops(SEED)[0]
    drawn = {(troubles[0].caller, troubles[0].dependency, case.kind) for case, troubles in _troubles(world)}
    for pair in world.pairs:
        kinds = {kind for caller, dependency, kind in drawn if (caller, dependency) == pair} - {"pair"}
        assert kinds >= set(faults.CLASSES) - (set() if faults.has_several(pair, world) else {"replica"})
    assert {"postgres", "nats"} <= {dependency for _, dependency, kind in drawn if kind == "shared"}
    assert len(cases.every_case(SEED)) >= 200


@pytest.mark.parametrize("kind", ["down", "credential", "replica", "shared"])
def test_the_cause_is_named_first_and_on_one_page(kind):
    """The first of its class in the order of the seed; both replicas name it alike, and it ends when it is cured."""
    case = next(case for case in cases.every_case(SEED) if case.kind == kind)
    verdict = trial.run(case.seed, case.make)
    assert verdict.well, verdict


def test_one_error_in_a_hundred_pages_nobody():
    """A quarter of an hour of it, at every edge; the proof runs a day."""
    found = trial.quiet(SEED, 0.25)
    assert (found["pages"], found["errors"] > 0) == ([], True)


def test_a_fault_right_after_another_is_paged_within_a_minute():
    """Though the other one dragged along the very edge: what failed then is told from what fails now."""
    assert bugs.soon_after_an_outage() == ""


def test_a_planted_bug_is_found():
    """The trials can fail: an engine that explains nothing pages for the symptoms too."""
    assert bugs.PLANTED["every failing edge is a cause"]()


def _troubles(world):
    rng = random.Random(SEED)
    return [(case, [make(world, rng) for make in case.make]) for case in cases.every_case(SEED)]
