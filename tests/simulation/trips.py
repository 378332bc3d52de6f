"""How soon a circuit opens when it must, and whether it ever opens when it must not: hours of virtual time in seconds."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from breakwater.chassis.policies import PolicyFile
from breakwater.resilience import CircuitState, Policy, PolicyError, PolicySettings
from breakwater.resilience.snapshots import Transition
from tests.simulation.loop import START, LoopClock, SimulationLoop

ROOT: Final = Path(__file__).parents[2]
DAY_H: Final = 24.0
LOW_RATES_PER_S: Final = (0.05, 0.1, 0.15, 0.3)
"""Where a window holds only about as many results as are enough to judge, a few errors weigh most."""
FAULTS: Final[dict[str, dict[str, float]]] = {
    "half of the calls fail": {"error_share": 0.5},
    "ten times the latency": {"latency_times": 10},
}


class DropError(ConnectionError):
    """What the dependency does to the unlucky."""


def edges() -> Iterator[PolicySettings]:
    """The settings of every edge of every process, as its policies.yaml has them."""
    for path in sorted((ROOT / "services").rglob("policies.yaml")):
        caller = path.parent.name
        for policy in PolicyFile(caller, path, clock=LoopClock(SimulationLoop()), classifiers={}).registry:
            yield policy.settings


def judgements() -> dict[str, PolicySettings]:
    """One edge for each way of judging that a policies.yaml declares."""
    found: dict[object, PolicySettings] = {}
    for edge in edges():
        judged_by = (edge.window_s, edge.calls_min, edge.calls_enough, edge.error_rate_max, edge.probes)
        found.setdefault(judged_by, edge)
    return {f"{edge.caller}->{edge.dependency}": edge for edge in found.values()}


class SerialClock:
    """Time moves only where the one caller waits; nothing else is under way."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    async def sleep(self, duration_s: float, /) -> None:
        self.now_s += duration_s


@dataclass(frozen=True, slots=True)
class Quiet:
    """A long time with few errors."""

    calls: int
    failed: int
    trips: tuple[str, ...]
    """The reason of each trip; every one of them is false."""


def long_run(settings: PolicySettings, *, rate_per_s: float, hours: float, error_share: float, seed: int) -> Quiet:
    """Calls come at random moments, `rate_per_s` on average; each attempt fails with `error_share`, none is slow.

    One call at a time and no loop, for speed: whether the circuit opens depends on results and their times alone.
    """
    rng, clock, trips = random.Random(seed), SerialClock(), []
    draw = rng.random

    def heard(transition: Transition) -> None:
        if transition.new is CircuitState.OPEN:
            trips.append(f"{transition.reason} at {transition.at:%H:%M:%S}")

    policy = Policy(replace(settings, attempt_timer=False), clock=clock, listener=heard, rng=rng)
    calls = failed = 0

    async def attempt(timeout_s: float) -> None:
        nonlocal failed
        clock.now_s += 0.002
        if draw() < error_share:
            failed += 1
            raise DropError

    end_s = hours * 3600
    while clock.now_s < end_s:
        clock.now_s += rng.expovariate(rate_per_s)
        calls += 1
        # The coroutine never waits for anything: its first step is its last.
        with suppress(StopIteration, DropError, PolicyError):
            policy.call(attempt, retryable=True).send(None)
    return Quiet(calls, failed, tuple(trips))


def seconds_to_trip(
    settings: PolicySettings,
    *,
    rate_per_s: float,
    healthy_s: float,
    latency_s: float,
    fault: dict[str, float],
    seed: int,
) -> float | None:
    """Seconds from the fault until the circuit is open; None where it is not within 10 s.

    `fault` is `{"error_share": 0.5}` or `{"latency_times": 10}`; before it the dependency answers after `latency_s`.
    """
    loop, rng = SimulationLoop(), random.Random(seed)
    clock = LoopClock(loop)
    opened: list[float] = []

    def heard(transition: Transition) -> None:
        if transition.new is CircuitState.OPEN:
            opened.append(loop.now_s)

    policy = Policy(settings, clock=clock, listener=heard, rng=rng)

    async def attempt(timeout_s: float) -> None:
        faulty = loop.now_s >= healthy_s
        await clock.sleep(latency_s * (fault.get("latency_times", 1) if faulty else 1))
        if faulty and rng.random() < fault.get("error_share", 0.0):
            raise DropError

    async def call() -> None:
        with suppress(DropError, PolicyError):
            await policy.call(attempt)

    with loop.running():
        while not opened and loop.now_s < healthy_s + 10:
            loop.advance(rng.expovariate(rate_per_s))
            asyncio.Task(call(), loop=loop)
            loop.run_ready()
        loop.advance(60)
    return opened[0] - healthy_s if opened else None
