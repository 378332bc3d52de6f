"""Overrides: a reason, an end, two ways to arrive, and on the record."""

import asyncio

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge, Fault, Forced
from services.gateway.ops.overrides.usecases import Delivery, Overrides

RESET = Fault("reset", 0.5, 0.0, None, None, 30.0, "")

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)


class Carrier:
    """Remembers what it was given; reaches whom it is told to reach."""

    def __init__(self, delivery):
        self.delivery = delivery
        self.given = []
        self.keeps = True
        self.kept = []

    async def deliver(self, what):
        self.given.append(what)
        return self.delivery

    async def keep(self, what):
        self.kept.append(what)
        return self.keeps


class Memory:
    """Remembers what it was given, or is out."""

    def __init__(self):
        self.orders = []
        self.out = False

    async def load(self):
        if self.out:
            raise UnavailableError("out", dependency="postgres")
        return tuple(self.orders)

    async def save(self, orders):
        if self.out:
            raise UnavailableError("out", dependency="postgres")
        self.orders.extend(orders)


class Graph:
    """Two callers of files, and the edges as they were reported."""

    def __init__(self):
        self.reported = ()

    def edges(self):
        return self.reported

    def callers_of(self, dependency):
        return frozenset({"gateway", "leads"}) if dependency == "files" else frozenset()


class Record:
    """The audit."""

    def __init__(self):
        self.lines = []

    def override_set(self, what):
        self.lines.append(("set", what))

    def override_lifted(self, what):
        self.lines.append(("lifted", what))

    def override_kept(self, what):
        self.lines.append(("kept", what))


@pytest.fixture
def carrier():
    """Reaches the gateway and the bucket."""
    return Carrier(Delivery({"gateway": 1}, (), in_bucket=True))


@pytest.fixture
def record():
    """An empty audit."""
    return Record()


@pytest.fixture
def graph():
    """What is reported."""
    return Graph()


@pytest.fixture
def clock():
    """Turned by hand."""
    return VirtualClock()


@pytest.fixture
def memory():
    """Empty."""
    return Memory()


@pytest.fixture
def overrides(carrier, memory, record, graph, clock):
    """The verbs."""
    return Overrides(carrier, memory, graph, record, clock, "ops", chaos_allowed=True)


def lay(overrides, **changes):
    """Lays an override that is right unless changed."""
    given = {"dependency": "files", "caller": None, "mode": "fallback", "reason": "files hangs", "ttl_s": 900}
    return overrides.lay(ANNA, **(given | changes))


async def test_an_override_names_its_actor_and_ends(overrides, carrier, record):
    """What is delivered carries actor, reason and end, and is on the record."""
    what, _ = await lay(overrides)
    assert carrier.given == [what]
    assert (what.actor, what.reason) == ("anna", "files hangs")
    assert (what.expires_at - what.set_at).total_seconds() == 900
    assert record.lines == [("set", what)]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mode": "off"}, "mode"), ({"reason": " "}, "reason"), ({"ttl_s": 0}, "ttl_s"), ({"ttl_s": 1e9}, "ttl_s")],
)
async def test_an_override_without_reason_or_end_is_refused(overrides, carrier, change, field):
    """The field is named and nothing is delivered."""
    with pytest.raises(InvalidRequestError) as refused:
        await lay(overrides, **change)
    assert [error.field for error in refused.value.errors] == [field]
    assert carrier.given == []


async def test_an_edge_nobody_has_cannot_be_overridden(overrides):
    """An unknown dependency or caller is not found."""
    with pytest.raises(NotFoundError):
        await lay(overrides, dependency="fils")
    with pytest.raises(NotFoundError):
        await lay(overrides, caller="nobody")


async def test_an_override_that_reached_nobody_is_an_error_and_not_on_the_record(overrides, carrier, record):
    """Neither gRPC nor NATS: the operator must know."""
    carrier.delivery = Delivery({}, ("gateway", "leads"), in_bucket=False)
    with pytest.raises(UnavailableError):
        await lay(overrides)
    assert record.lines == []


async def test_lifting_without_a_caller_lifts_wide_and_narrow(overrides, carrier):
    """Every override on the dependency is gone."""
    await lay(overrides)
    await lay(overrides, caller="gateway")
    assert overrides.is_wide("files", "leads")
    assert not overrides.is_wide("files", "gateway")
    carrier.given.clear()
    await overrides.lift(ANNA, dependency="files", caller=None)
    assert {(what.caller, what.mode) for what in carrier.given} == {(None, None), ("gateway", None)}
    assert not overrides.is_wide("files", "leads")


async def test_chaos_carries_its_fault(overrides, carrier):
    """To every process, with actor, reason and end as any override."""
    what, _ = await lay(overrides, mode="chaos", fault=RESET)
    assert carrier.given == [what]
    assert (what.mode, what.fault, what.actor) == ("chaos", RESET, "anna")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mode": "chaos"}, "fault"), ({"mode": "shadow", "fault": RESET}, "fault")],
)
async def test_a_fault_belongs_to_chaos_only(overrides, carrier, change, field):
    """Neither without the other."""
    with pytest.raises(InvalidRequestError) as refused:
        await lay(overrides, **change)
    assert [error.field for error in refused.value.errors] == [field]
    assert carrier.given == []


async def test_chaos_is_refused_in_production(carrier, memory, graph, record, clock):
    """Unless a setting allows it."""
    overrides = Overrides(carrier, memory, graph, record, clock, "ops")
    with pytest.raises(InvalidRequestError) as refused:
        await lay(overrides, mode="chaos", fault=RESET)
    assert [error.field for error in refused.value.errors] == ["mode"]
    assert "BREAKWATER_CHAOS_IN_PRODUCTION" in refused.value.errors[0].reason
    assert carrier.given == []


def edge(clock, what=None, *, caller="gateway", stale=False):
    """An edge to files as it is reported now: with that override in force, or without one."""
    forced = Forced(what.mode, what.actor, what.reason, what.expires_at) if what else None
    return Edge(
        caller=caller,
        dependency="files",
        instance="host-1",
        state=Circuit.CLOSED,
        override=forced,
        availability=None,
        error_rate=None,
        errors={},
        rate_per_s=0.0,
        p50_ms=None,
        p90_ms=None,
        p99_ms=None,
        retries=0,
        retry_budget_tokens=1.0,
        bulkhead=Bulkhead(0, 1, 0),
        next_probe_s=None,
        fallbacks=0,
        injected=0,
        as_of=clock.now(),
        stale=stale,
    )


async def test_a_process_that_started_since_is_told(overrides, carrier, graph, clock):
    """Its edge shows no override though one is in force: it is delivered again, and only then."""
    what, _ = await lay(overrides)
    carrier.given.clear()
    await clock.advance(1)
    graph.reported = (edge(clock, what),)
    await overrides.settle()
    assert carrier.given == []
    graph.reported = (edge(clock),)
    await overrides.settle()
    assert carrier.given == [what]


async def test_who_is_silent_or_was_heard_before_is_not_told(overrides, carrier, graph, clock):
    """A report from before the override says nothing about it, and a stale one nothing at all."""
    before = edge(clock)
    await lay(overrides)
    carrier.given.clear()
    graph.reported = (before,)
    await overrides.settle()
    await clock.advance(1)
    graph.reported = (edge(clock, stale=True),)
    await overrides.settle()
    assert carrier.given == []


async def test_nothing_is_told_after_its_end(overrides, carrier, graph, clock):
    """An override that has ended by itself stays ended."""
    await lay(overrides, ttl_s=60)
    carrier.given.clear()
    await clock.advance(60)
    graph.reported = (edge(clock),)
    await overrides.settle()
    assert carrier.given == []
    assert not overrides.is_wide("files", "gateway")


async def test_the_narrower_override_is_told_and_the_wider_not(overrides, carrier, graph, clock):
    """The narrower governs the edge of its caller, the wider one every other's but our own."""
    wide, _ = await lay(overrides, mode="shadow", ttl_s=600)
    narrow, _ = await lay(overrides, caller="gateway", ttl_s=300)
    carrier.given.clear()
    await clock.advance(1)
    graph.reported = (edge(clock, narrow), edge(clock, caller="ops"))
    await overrides.settle()
    assert carrier.given == []
    graph.reported = (edge(clock, wide), edge(clock, caller="leads"))
    await overrides.settle()
    assert {(what.caller, what.mode) for what in carrier.given} == {("gateway", "fallback"), (None, "shadow")}


async def test_a_lifting_that_missed_a_process_is_told_again(overrides, carrier, graph, clock):
    """Its edge still shows what was lifted."""
    what, _ = await lay(overrides, caller="gateway")
    await overrides.lift(ANNA, dependency="files", caller="gateway")
    carrier.given.clear()
    await clock.advance(1)
    graph.reported = (edge(clock, what),)
    await overrides.settle()
    assert [(told.caller, told.mode) for told in carrier.given] == [("gateway", None)]
    carrier.given.clear()
    graph.reported = (edge(clock),)
    await overrides.settle()
    assert carrier.given == []


async def test_nats_is_given_what_it_could_not_take_once_and_on_the_record(overrides, carrier, record):
    """As often as it takes, and no more when it has it."""
    carrier.delivery, carrier.keeps = Delivery({"gateway": 1}, (), in_bucket=False), False
    what, _ = await lay(overrides)
    await overrides.settle()
    carrier.keeps = True
    await overrides.settle()
    await overrides.settle()
    assert carrier.kept == [what, what]
    assert record.lines == [("set", what), ("kept", what)]


async def test_nats_is_not_given_what_has_ended(overrides, carrier, clock):
    """An outage longer than the override leaves nothing to tell."""
    carrier.delivery = Delivery({"gateway": 1}, (), in_bucket=False)
    await lay(overrides, ttl_s=60)
    await clock.advance(60)
    await overrides.settle()
    assert carrier.kept == []


async def test_what_the_memory_cannot_take_is_saved_when_it_can(overrides, memory, clock):
    """Neither a memory that is out at the start nor one that goes later loses what was given."""
    memory.out = True
    remembering = asyncio.create_task(overrides.remember())
    what, _ = await lay(overrides)
    await clock.advance(5)
    memory.out = False
    await clock.advance(1)
    assert memory.orders == [what]
    await clock.advance(5)
    assert memory.orders == [what]
    remembering.cancel()
    await asyncio.wait([remembering])
