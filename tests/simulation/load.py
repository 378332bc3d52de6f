"""What retries do to load: how often a dependency is called for each call, and whether an overload ends with its cause."""

import asyncio
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from breakwater.resilience import Policy, PolicyError, PolicySettings
from breakwater.resilience._budget import RetryBudget
from tests.simulation.loop import LoopClock, SimulationLoop

DEFAULTS: Final = PolicySettings(caller="gateway", dependency="leads")
NO_BREAKER: Final = {"calls_min": 10**9, "calls_enough": 10**9}
"""So few results are never enough: what remains is the budget."""


WELL_S: Final = 120.0


class DropError(ConnectionError):
    """The dependency fails."""


class EndlessBudget(RetryBudget):
    """What most clients have: every failure is tried again, up to the number of attempts."""

    __slots__ = ()

    def holds_one(self, now_s: float) -> bool:
        return True

    def spend(self, now_s: float) -> bool:
        return True


def policy_of(loop: SimulationLoop, seed: int, *, budget: bool, **changes: Any) -> Policy:
    policy = Policy(replace(DEFAULTS, **changes), clock=LoopClock(loop), rng=random.Random(seed))
    if not budget:
        endless = EndlessBudget(ratio=0.0, floor_per_s=0.0, tokens_max=1.0, now_s=0.0)
        policy._budget = policy._retrier._budget = endless
    return policy


# ---- amplification --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of the first caller, and how often the last dependency was called for them."""

    calls: int
    reached: int

    @property
    def amplification(self) -> float:
        return self.reached / self.calls


def load_at_total_failure(
    *, hops: int, breaker: bool, budget: bool, seed: int, rate_per_s: float = 100.0, measured_s: float = 60.0
) -> Load:
    """What reaches a dependency that always fails, behind `hops` edges of which every one retries.

    Before it fails it was well for two minutes, in which the edges have saved up what they can.
    """
    loop, rng = SimulationLoop(), random.Random(seed)
    policies = [policy_of(loop, seed + hop, budget=budget, **({} if breaker else NO_BREAKER)) for hop in range(hops)]
    reached = 0

    async def hop(number: int) -> None:
        nonlocal reached
        if number == hops:
            reached += 1
            if loop.now_s >= WELL_S:
                raise DropError
            return

        async def attempt(timeout_s: float) -> None:
            await hop(number + 1)

        await policies[number].call(attempt, retryable=True)

    async def call() -> None:
        with suppress(DropError, PolicyError):
            await hop(0)

    def run_until(end_s: float) -> int:
        calls = 0
        while loop.now_s < end_s:
            loop.advance(rng.expovariate(rate_per_s))
            asyncio.Task(call(), loop=loop)
            loop.run_ready()
            calls += 1
        return calls

    with loop.running():
        run_until(WELL_S)
        reached = 0
        calls = run_until(WELL_S + measured_s)
        loop.advance(60.0)
    return Load(calls, reached)


# ---- an overload that outlives its cause -------------------------------------------------------------------------------


class Server:
    """Serves one request after the other, in order, those as well that nobody waits for any more."""

    def __init__(self, loop: SimulationLoop, *, rate_per_s: float, queue_max: int) -> None:
        self.rate_per_s = rate_per_s
        self._loop = loop
        self._queue_max = queue_max
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy = False
        self.requests = 0

    async def attempt(self, timeout_s: float) -> None:
        self.requests += 1
        if len(self._queue) >= self._queue_max:
            raise DropError
        answer: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(answer)
        if not self._busy:
            self._serve()
        await answer

    def _serve(self) -> None:
        self._busy = bool(self._queue)
        if self._busy:
            self._loop.call_later(1 / self.rate_per_s, self._served)

    def _served(self) -> None:
        answer = self._queue.popleft()
        if not answer.done():
            answer.set_result(None)
        self._serve()


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts the overload: from `from_s` to `to_s` the server or the load is multiplied."""

    from_s: float = 20.0
    to_s: float = 40.0
    capacity_times: float = 1.0
    load_times: float = 1.0


TRIGGERS: Final = {
    "the server is slow for 20 s": Trigger(capacity_times=0.2),
    "three times the load for 20 s": Trigger(load_times=3.0),
}
CAPACITY_PER_S: Final = 100.0
LOAD_PER_S: Final = 70.0
REPLICAS: Final = 10
QUEUE_MAX: Final = 200
"""Twice as many as the server answers within the attempt timeout."""
ATTEMPT_TIMEOUT_S: Final = 1.0
RECOVERY_S_MAX: Final = 30.0
WELL: Final = 0.99


def seconds_to_recover(
    trigger: Trigger, *, breaker: bool, budget: bool, seed: int, watched_s: float = 60.0
) -> float | None:
    """Seconds from the end of the trigger until 99 % of the calls of each second succeed and go on so for ten seconds.

    None where that does not happen within `watched_s`. Ten processes call; each retryable, none knows of the others.
    """
    loop, rng = SimulationLoop(), random.Random(seed)
    changes = {} if breaker else NO_BREAKER
    server = Server(loop, rate_per_s=CAPACITY_PER_S, queue_max=QUEUE_MAX)
    policies = [
        policy_of(loop, seed + number, budget=budget, attempt_timeout_s=ATTEMPT_TIMEOUT_S, **changes)
        for number in range(REPLICAS)
    ]
    calls: dict[int, int] = {}
    answered: dict[int, int] = {}

    async def call(policy: Policy, second: int) -> None:
        with suppress(DropError, PolicyError):
            await policy.call(server.attempt, retryable=True)
            answered[second] = answered.get(second, 0) + 1

    end_s = trigger.to_s + watched_s
    with loop.running():
        while loop.now_s < end_s:
            on = trigger.from_s <= loop.now_s < trigger.to_s
            server.rate_per_s = CAPACITY_PER_S * (trigger.capacity_times if on else 1.0)
            loop.advance(rng.expovariate(LOAD_PER_S * (trigger.load_times if on else 1.0)))
            second = int(loop.now_s)
            calls[second] = calls.get(second, 0) + 1
            asyncio.Task(call(policies[rng.randrange(REPLICAS)], second), loop=loop)
            loop.run_ready()
        loop.advance(60.0)
    well = [answered.get(second, 0) >= WELL * calls.get(second, 0) for second in range(int(end_s))]
    before = well[5 : int(trigger.from_s) - 1]
    assert all(before), "the server must be well before the trigger"
    for second in range(int(trigger.to_s), len(well) - 10):
        if all(well[second : second + 10]):
            return second - trigger.to_s
    return None
