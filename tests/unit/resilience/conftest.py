"""A policy on a virtual clock before a dependency whose answers the test decides."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from breakwater.resilience import Policy, PolicySettings
from breakwater.resilience.snapshots import Transition
from breakwater.resilience.testing import VirtualClock, settle


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@dataclass
class Dependency:
    """Answers after `takes_s`, with a fresh `fails_with()` where that is set; `script` is used up first."""

    clock: VirtualClock
    takes_s: float = 0.0
    fails_with: Callable[[], BaseException] | None = None
    script: list[Callable[[], BaseException] | None] = field(default_factory=list)
    attempts: int = 0
    in_flight: int = 0
    timeouts_s: list[float] = field(default_factory=list)

    async def __call__(self, timeout_s: float) -> str:
        self.attempts += 1
        self.in_flight += 1
        self.timeouts_s.append(timeout_s)
        fails_with = self.script.pop(0) if self.script else self.fails_with
        try:
            if self.takes_s > 0:
                await self.clock.sleep(self.takes_s)
            if fails_with is not None:
                raise fails_with()
            return "answer"
        finally:
            self.in_flight -= 1


@pytest.fixture
def dependency(clock: VirtualClock) -> Dependency:
    return Dependency(clock)


@pytest.fixture
def transitions() -> list[Transition]:
    return []


@pytest.fixture
def make_policy(clock: VirtualClock, transitions: list[Transition]) -> Callable[..., Policy]:
    def make(*, classify=None, **settings) -> Policy:
        extra = {} if classify is None else {"classify": classify}
        return Policy(
            PolicySettings(caller="gateway", dependency="leads", **settings),
            clock=clock,
            listener=transitions.append,
            rng=random.Random(7),
            **extra,
        )

    return make


@pytest.fixture
def calls(dependency: Dependency) -> Callable:
    """Calls the dependency so many times, one after the other, and gives what each call brought or raised."""

    async def call(policy: Policy, count: int = 1, **options) -> list:
        results = []
        for _ in range(count):
            try:
                results.append(await policy.call(dependency, **options))
            except Exception as error:  # noqa: BLE001 - the test looks at it
                results.append(error)
        return results

    return call


@pytest.fixture
def opened(dependency: Dependency, make_policy, calls) -> Callable:
    """A policy whose circuit has just opened."""

    async def open_one(**settings) -> Policy:
        policy = make_policy(**{"calls_min": 4, "calls_enough": 8, **settings})
        dependency.fails_with = ConnectionError
        await calls(policy, 4)
        dependency.fails_with = None
        dependency.attempts = 0
        return policy

    return open_one


@pytest.fixture
async def start() -> Iterator[Callable]:
    """Starts coroutines as tasks, lets them run until they wait, and leaves none behind."""
    tasks = []

    async def start_and_settle(*coroutines) -> list[asyncio.Task]:
        started = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        tasks.extend(started)
        await settle()
        return started

    yield start_and_settle
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
