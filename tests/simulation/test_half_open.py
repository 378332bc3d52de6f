"""Ten thousand callers at the moment a circuit probes: exactly N get through, and every permit comes back."""

import asyncio
import random

import pytest

from breakwater.resilience import CircuitState, Deadline, Outcome, Policy, PolicySettings
from breakwater.resilience.errors import CircuitOpenError
from tests.simulation.loop import LoopClock, SimulationLoop

CROWD = 10_000
PROBES = 5
ATTEMPT_S = 2.0
LEASE_S = 3.0


class CrashError(BaseException):
    """What no handler knows."""


class Dependency:
    """Remembers who reached it; answers when told to."""

    def __init__(self, loop: SimulationLoop) -> None:
        self.loop = loop
        self.waiting: list[asyncio.Future] = []
        self.reached = 0
        self.failing = False

    async def attempt(self, timeout_s: float) -> str:
        self.reached += 1
        if self.failing:
            raise ConnectionError
        answer = self.loop.create_future()
        self.waiting.append(answer)
        return await answer

    def answer_all(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            if not each.done():
                each.set_result("answer")
        self.loop.run_ready()


@pytest.fixture
def loop():
    """A loop of virtual time."""
    with SimulationLoop().running() as running:
        yield running


@pytest.fixture
def dependency(loop):
    return Dependency(loop)


@pytest.fixture
def policy(loop, dependency):
    """A policy whose circuit may probe now, with room in its bulkhead for the whole crowd."""
    settings = PolicySettings(
        caller="gateway",
        dependency="leads",
        attempt_timeout_s=ATTEMPT_S,
        slow_call_s=2.0,
        concurrency_max=CROWD,
        calls_min=5,
        probes=PROBES,
        probe_lease_s=LEASE_S,
        open_s=1.0,
    )
    policy = Policy(settings, clock=LoopClock(loop), rng=random.Random(3))
    dependency.failing = True
    for _ in range(5):
        loop.create_task(policy.call(dependency.attempt)).add_done_callback(lambda task: task.exception())
    loop.run_ready()
    assert policy.snapshot().state is CircuitState.OPEN
    dependency.failing, dependency.reached = False, 0
    loop.advance(1.2)
    return policy


@pytest.fixture
def crowd(loop, policy, dependency):
    """`tasks = crowd()`: ten thousand calls at once; gives those that are under way and those that were refused."""

    def come(**options) -> tuple[list[asyncio.Task], list[BaseException]]:
        tasks = [loop.create_task(policy.call(dependency.attempt, **options)) for _ in range(CROWD)]
        loop.run_ready()
        return [task for task in tasks if not task.done()], [task.exception() for task in tasks if task.done()]

    return come


def test_exactly_n_of_ten_thousand_probe(crowd, dependency, policy):
    """N reach the dependency, the rest are refused at once, and N answers close the circuit (resilience engine, 2)."""
    probes, refused = crowd()
    assert (len(probes), dependency.reached) == (PROBES, PROBES)
    assert {type(each) for each in refused} == {CircuitOpenError}
    assert len(refused) == CROWD - PROBES
    assert policy.snapshot().bulkhead.in_use == PROBES
    dependency.answer_all()
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().bulkhead.in_use == 0


def cancel(loop, dependency, probes):
    for probe in probes:
        probe.cancel()


def crash(loop, dependency, probes):
    for answer in dependency.waiting:
        answer.set_exception(CrashError())


def push_back(loop, dependency, probes):
    for answer in dependency.waiting:
        error = ConnectionError()
        error.outcome = Outcome.OVERLOAD
        answer.set_exception(error)


def hurry(loop, dependency, probes):
    """Their callers' deadlines pass while a slow call would not be over."""
    loop.advance(0.6)


@pytest.mark.parametrize("end", [cancel, crash, push_back, hurry])
def test_every_permit_comes_back_and_none_twice(crowd, loop, dependency, policy, end):
    """However probes end without a verdict, the next crowd gets N again, exactly, and again after that."""
    for turn in range(1, 4):
        probes, refused = crowd(deadline=Deadline.after(0.5, policy._clock) if end is hurry else None)
        assert (len(probes), len(refused)) == (PROBES, CROWD - PROBES)
        assert dependency.reached == turn * PROBES
        end(loop, dependency, probes)
        loop.run_ready()
        assert all(probe.done() for probe in probes)
        dependency.waiting.clear()
        assert policy.snapshot().state is CircuitState.HALF_OPEN
        assert policy.snapshot().bulkhead.in_use == 0
    probes, _ = crowd()
    dependency.answer_all()
    assert policy.snapshot().state is CircuitState.CLOSED


def test_probes_that_time_out_are_a_verdict(crowd, loop, dependency, policy):
    """A dependency that hangs opens the circuit again; the next round has N permits, not N more."""
    for turn in range(1, 3):
        probes, _ = crowd()
        assert dependency.reached == turn * PROBES
        loop.advance(ATTEMPT_S)
        assert all(probe.done() for probe in probes)
        assert policy.snapshot().state is CircuitState.OPEN
        loop.advance(5.0)
    assert policy.snapshot().bulkhead.in_use == 0


def test_a_lease_whose_holder_goes_on_and_on_is_lent_again(loop, dependency, policy, crowd):
    """A stream may outlive its lease: the permit is free then, and the late end of the stream changes nothing."""

    async def stream() -> None:
        async with policy.admit():
            await dependency.attempt(60.0)

    streams = [loop.create_task(stream()) for _ in range(PROBES)]
    loop.run_ready()
    assert len(crowd()[0]) == 0
    loop.advance(LEASE_S)
    late, dependency.waiting = dependency.waiting, []
    probes, _ = crowd()
    assert len(probes) == PROBES
    for answer in late:
        answer.set_exception(ConnectionError())
    loop.run_ready()
    assert all(isinstance(each.exception(), ConnectionError) for each in streams)
    assert policy.snapshot().state is CircuitState.HALF_OPEN
    assert policy.snapshot().totals.stale == PROBES
    dependency.answer_all()
    assert policy.snapshot().state is CircuitState.CLOSED


def test_half_of_the_probes_cancelled_frees_exactly_half(crowd, dependency, policy, loop):
    """Permits are counted one by one: two come back, two are lent, while three are still out."""
    probes, _ = crowd()
    for probe in probes[:2]:
        probe.cancel()
    loop.run_ready()
    more, _ = crowd()
    assert len(more) == 2
    assert dependency.reached == PROBES + 2
