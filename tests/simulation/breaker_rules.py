"""What a breaker must keep, whoever wrote it: rules about generations, probes, cancellation and clocks.

Each rule drives a breaker through one seeded situation and looks only at which calls get through.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tests.simulation.loop import LoopClock, SimulationLoop
from tests.simulation.peers import FAILURES, LEASE_S, OPEN_S, Breaker, moving_clocks

SEEDS: Final = 100


class Flight:
    """One call: `reached` says whether the breaker let it through to the dependency."""

    def __init__(self, stage: "Stage") -> None:
        self.reached = False
        self._answer: asyncio.Future[str] = stage.loop.create_future()
        self._stage = stage
        self.task = stage.loop.create_task(self._run())
        stage.loop.run_ready()

    async def _run(self) -> None:
        # Refusals are the library's own errors; whether the call got through is all that counts.
        with suppress(Exception):
            await self._stage.guard(self._work)

    async def _work(self) -> str:
        self.reached = True
        return await self._answer

    def answers(self) -> None:
        if not self._answer.done():
            self._answer.set_result("answer")
        self._stage.loop.run_ready()

    def fails(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError())
        self._stage.loop.run_ready()

    def cancelled(self) -> None:
        self.task.cancel()
        self._stage.loop.run_ready()


class Stage:
    """One breaker, fresh, on a loop of its own."""

    def __init__(self, breaker: Breaker, seed: int) -> None:
        self.loop = SimulationLoop()
        self.clock = LoopClock(self.loop)
        self.rng = random.Random(seed)
        self.probes = breaker.probes
        self.guard: Callable[..., Any] = breaker.guard(self.clock)
        self.flights: list[Flight] = []

    def call(self) -> Flight:
        flight = Flight(self)
        self.flights.append(flight)
        return flight

    def open(self) -> None:
        for _ in range(FAILURES):
            self.call().fails()

    def wait_out(self) -> None:
        """Longer than the circuit stays open, jitter and rounding to whole seconds included."""
        self.loop.advance(2 * OPEN_S + self.rng.random())

    def recover(self) -> None:
        for _ in range(self.probes):
            self.call().answers()

    def admits(self) -> bool:
        return self.call().reached

    def close(self) -> None:
        for flight in self.flights:
            flight.cancelled()


Rule = Callable[[Stage], "str | None"]
"""None where it is kept, else what happened instead."""


def exactly_n_callers_probe(stage: Stage) -> str | None:
    """Of a crowd that meets a half-open circuit exactly N get through."""
    stage.open()
    stage.wait_out()
    crowd = [stage.call() for _ in range(stage.rng.randint(20, 200))]
    through = sum(flight.reached for flight in crowd)
    return None if through == stage.probes else f"{through} of {len(crowd)} callers got through, not {stage.probes}"


def a_stale_failure_leaves_a_probing_circuit_alone(stage: Stage) -> str | None:
    """A call from before the circuit opened fails while it probes: the probes decide, not it."""
    old = stage.call()
    stage.open()
    stage.wait_out()
    first = stage.call()
    old.fails()
    first.answers()
    for _ in range(stage.probes - 1):
        stage.call().answers()
    return None if stage.admits() else "it opened again although every probe answered"


def stale_failures_leave_a_recovered_circuit_closed(stage: Stage) -> str | None:
    """Calls from before the outage fail after the recovery: that says nothing about now."""
    old = [stage.call() for _ in range(FAILURES + stage.rng.randint(0, 5))]
    stage.open()
    stage.wait_out()
    stage.recover()
    for flight in old:
        flight.fails()
    return None if stage.admits() else "it opened again"


def a_stale_success_leaves_an_open_circuit_open(stage: Stage) -> str | None:
    """A call from before the circuit opened answers late: the circuit stays open for its time."""
    old = stage.call()
    stage.open()
    old.answers()
    return "it closed at once" if stage.admits() else None


def a_stale_success_closes_no_probing_circuit(stage: Stage) -> str | None:
    """A call from before answers while the circuit probes, and the probe fails: the circuit is open."""
    old = [stage.call() for _ in range(3)]
    stage.open()
    stage.wait_out()
    probes = [stage.call() for _ in range(stage.probes)]
    for flight in old:
        flight.answers()
    for probe in probes:
        probe.fails()
    return "it is closed although every probe failed" if stage.admits() else None


def cancellation_opens_nothing(stage: Stage) -> str | None:
    """Callers that go away say nothing about the dependency."""
    for _ in range(FAILURES + stage.rng.randint(0, 5)):
        stage.call().cancelled()
    return None if stage.admits() else "it opened"


def cancellation_forgives_nothing(stage: Stage) -> str | None:
    """A caller that goes away does not make failures unhappen."""
    for _ in range(FAILURES - 1):
        stage.call().fails()
    stage.call().cancelled()
    stage.call().fails()
    return "it took the cancellation for an answer and stayed closed" if stage.admits() else None


def a_cancelled_probe_gives_its_permit_back(stage: Stage) -> str | None:
    """The next caller probes, at once."""
    stage.open()
    stage.wait_out()
    for _ in range(stage.probes):
        stage.call().cancelled()
    return None if stage.admits() else "nobody may probe"


def a_cancelled_probe_is_no_verdict(stage: Stage) -> str | None:
    """After a cancelled probe a failing one still opens the circuit."""
    stage.open()
    stage.wait_out()
    stage.call().cancelled()
    probes = [stage.call() for _ in range(stage.probes)]
    if not all(probe.reached for probe in probes):
        return "nobody may probe"
    for probe in probes:
        probe.fails()
    return "it had closed for a caller that went away" if stage.admits() else None


def a_hanging_probe_blocks_nobody_for_ever(stage: Stage) -> str | None:
    """A probe that never ends loses its permit in time. Who lets everybody probe keeps this without trying."""
    stage.open()
    stage.wait_out()
    for _ in range(stage.probes):
        stage.call()
    stage.loop.advance(2 * LEASE_S)
    return None if stage.admits() else "nobody may probe"


def the_wall_clock_decides_nothing(stage: Stage) -> str | None:
    """The clock is set back by an hour while the circuit is open: it probes in its time all the same."""
    stage.open()
    stage.clock.wall_offset_s = -3600.0
    stage.wait_out()
    return None if stage.admits() else "it stays open for an hour"


RULES: Final[tuple[Rule, ...]] = (
    exactly_n_callers_probe,
    a_cancelled_probe_gives_its_permit_back,
    a_cancelled_probe_is_no_verdict,
    a_hanging_probe_blocks_nobody_for_ever,
    a_stale_failure_leaves_a_probing_circuit_alone,
    stale_failures_leave_a_recovered_circuit_closed,
    a_stale_success_leaves_an_open_circuit_open,
    a_stale_success_closes_no_probing_circuit,
    cancellation_opens_nothing,
    cancellation_forgives_nothing,
    the_wall_clock_decides_nothing,
)


def violations(breaker: Breaker, rule: Rule, seeds: range) -> tuple[int, str | None]:
    """(seeds in which the rule was broken, what happened in the first of them)."""
    broken, first = 0, None
    for seed in seeds:
        stage = Stage(breaker, seed)
        with stage.loop.running(), moving_clocks(stage.clock):
            instead = rule(stage)
            stage.close()
        broken += instead is not None
        first = first or instead
    return broken, first
