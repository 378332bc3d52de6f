"""Laws of the incident engine, whatever fails when: one page for a fault, resolutions that nothing holds back, one name."""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.gateway.ops.edges.domain import Circuit, Forced, Totals
from services.gateway.ops.incidents.causes import find_causes
from services.gateway.ops.incidents.evidence import CERTAIN, SUM_MAX, PairEvidence, Suspicion
from services.gateway.ops.incidents.usecases import Incidents
from tests.support.reporters import GRAPH, Notes, Platform
from tests.unit.ops.test_edges import NOW, edge

pytestmark = pytest.mark.capability(38)

# Without shrinking: each example is minutes of a platform, and a failing one says enough.
FEW = settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)

DRAGS = {
    ("leads", "postgres"): [("gateway", "leads"), ("files", "leads"), ("gateway", "files")],
    ("leads", "nats"): [("gateway", "leads"), ("files", "leads"), ("gateway", "files")],
    ("files", "postgres"): [("gateway", "files")],
    ("files", "leads"): [("gateway", "files")],
}
"""What each edge can drag along, one above the other."""


@st.composite
def faults(draw):
    """An edge that fails, how much of what stands above it fails too, and for how many seconds it is down and up in turn."""
    root = draw(st.sampled_from(GRAPH))
    above = DRAGS.get(root, [])
    dragged = above[: draw(st.integers(0, len(above)))]
    if root[0] == "leads":
        # Where files → leads is well, nothing explains gateway → files.
        dragged = [pair for pair in dragged if pair != ("gateway", "files") or ("files", "leads") in dragged]
    phases = draw(st.lists(st.tuples(st.integers(5, 40), st.integers(0, 25)), min_size=1, max_size=5))
    return root, dragged, phases


async def through(root, dragged, phases):
    """A platform that lived through the fault, and a second replica that judged at its own times."""
    platform = Platform()
    other = Incidents(Notes(), platform.clock)
    platform.others.append(other)
    await platform.run(40)
    for down_s, up_s in phases:
        for seconds, bad in ((down_s, [root, *dragged]), (up_s, [])):
            for second in range(seconds):
                await platform.run(1, bad)
                if second % 2:
                    other.judge()
    return platform, other


@FEW
@given(faults())
def test_one_fault_is_one_page_however_much_it_drags_along(fault):
    """Down and up again as often as it likes: one incident, one page, at the edge that failed."""

    async def law():
        root, dragged, phases = fault
        platform, _ = await through(root, dragged, phases)
        incidents = platform.incidents.all()
        assert len(incidents) == 1, [each.title for each in incidents]
        assert (incidents[0].cause.roots, incidents[0].pages) == ((root,), 1)

    asyncio.run(law())


@FEW
@given(faults())
def test_every_replica_gives_a_fault_the_same_id(fault):
    """Whenever each looks."""

    async def law():
        platform, other = await through(*fault)
        # Each waits a moment before it opens anything, from when it saw it first.
        for _ in range(3):
            await platform.run(4, [fault[0], *fault[1]])
            other.judge()
        assert {each.id for each in other.all()} == {each.id for each in platform.incidents.all()}

    asyncio.run(law())


@FEW
@given(faults(), st.sets(st.sampled_from(GRAPH), max_size=3))
def test_nothing_holds_back_a_resolution(fault, failing_on):
    """Whatever else goes on failing, an incident whose own root edges are answered again is over within its hold."""

    async def law():
        root, dragged, phases = fault
        platform, _ = await through(root, dragged, phases)
        still = failing_on - {root}
        await platform.run(240, still)
        for incident in platform.incidents.open():
            assert set(incident.cause.roots) & still, incident.title

    asyncio.run(law())


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60))
def test_the_sum_of_evidence_stays_within_its_bounds_and_good_results_clear_it(results):
    """Never below zero, never above its ceiling; so many good results end any suspicion."""
    suspicion = Suspicion()
    for bad, good in results:
        suspicion.take(bad, good)
        assert 0 <= suspicion.value <= SUM_MAX
    suspicion.take(0, 250)
    assert suspicion.value < CERTAIN
    suspicion.take(0, 2000)
    assert suspicion.value == 0


@FEW
@given(st.sets(st.sampled_from(GRAPH), min_size=1))
def test_every_certain_edge_is_a_root_or_a_symptom_and_no_root_is_two_causes(bad):
    """Nothing that fails is lost, and nothing is paged for twice."""

    async def law():
        platform = Platform()
        await platform.run(40)
        await platform.run(10, bad)
        causes = find_causes(platform.incidents.evidence)
        roots = [pair for cause in causes for pair in cause.roots]
        assert len(roots) == len(set(roots))
        assert bad <= {pair for cause in causes for pair in cause.pairs}

    asyncio.run(law())


NAMES = st.sampled_from(["g-1", "g-2", "g-3"])
FORCED = Forced("forced-open", "anna", "a drill", NOW)
WORDS = st.tuples(
    NAMES,
    st.sampled_from(Circuit),
    st.sampled_from([None, 0, 3.0]),
    st.sampled_from([None, 5.0, 80.0, 900.0]),
    st.integers(0, 9),
    st.booleans(),
)
HEARD = st.one_of(WORDS, st.tuples(st.sampled_from(["silence", "forget"]), NAMES))


@given(st.lists(HEARD, max_size=60))
def test_what_a_pair_comes_to_is_what_its_instances_are_now(heard):
    """Kept up word by word, whoever is silent, gone or made to try nothing: the same as looking at each anew."""
    pair, calls = PairEvidence(("gateway", "files")), dict.fromkeys(["g-1", "g-2", "g-3"], 0)
    for now_s, word in enumerate(heard, 1):
        if len(word) == 2:
            getattr(pair, word[0])(word[1])
        else:
            name, state, next_probe_s, p50_ms, new, forced = word
            calls[name] += new
            totals = Totals({"success": calls[name]}, 0, 0, ())
            how = {"next_probe_s": next_probe_s, "p50_ms": p50_ms, "override": FORCED if forced else None}
            pair.take(edge(instance=name, state=state, totals=totals, **how), float(now_s))
        each = pair.instances.values()
        assert pair.known == any(one.known for one in each)
        assert pair.open == any(one.open for one in each)
        assert pair.together.p50_ms_max == max((one.edge.p50_ms or 0.0 for one in each if one.known), default=0.0)
