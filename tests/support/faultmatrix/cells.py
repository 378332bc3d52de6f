"""Runs one cell of the matrix: an edge under a fault, before, during and after."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from breakwater.chassis.errors import BreakwaterError
from breakwater.resilience import CircuitState, Deadline, Override, OverrideMode, current_deadline
from breakwater.resilience.faults import Fault
from tests.support.faultmatrix.clients import Client
from tests.support.faultmatrix.edges import Edge
from tests.support.faultmatrix.steady import SLACK_S, Callers, Circuit, Steady, allowed, injected_fault, proxy_fault
from tests.support.faultmatrix.world import World
from tests.support.faultproxy import FaultProxy

AT_ONCE_S = 0.1
"""A refusal by an open circuit takes no longer than this, the loop's own delays left out."""
LAG_S_MAX = 0.15
"""A cell during which this process itself stood still for longer says nothing about the edge."""
TRIES_MAX = 4
_POLL_S = 0.05
_CALM = 4
"""Calls at a time where everything is expected to be answered: waiting for each other must not look like slowness."""


@dataclass
class Observed:
    """What was seen in one cell. Times in seconds."""

    before: Counter[str | None] = field(default_factory=Counter)
    during: Counter[str | None] = field(default_factory=Counter)
    """Calls by the code of their error; None is an answer. Up to the moment the circuit opened."""
    longest_wait_s: float = 0.0
    opened: bool = False
    refused_in_s: float | None = None
    refused_with: str | None = None
    told_when: bool = False
    recovered_s: float | None = None
    acknowledged: set[str] = field(default_factory=set)
    effects: Counter[str] = field(default_factory=Counter)
    lag_s: float = 0.0
    unnamed: list[str] = field(default_factory=list)
    """Errors that do not name the dependency."""


@dataclass
class Cell:
    """One edge under one fault."""

    edge: Edge
    fault: str
    steady: Steady

    @property
    def name(self) -> str:
        return f"{self.edge.name} / {self.fault}"

    @property
    def deadline_s(self) -> float:
        """What callers give while the fault holds."""
        return self.edge.patience_s if self.steady.callers is Callers.ANSWERS else self.edge.deadline_s

    def problems(self, seen: Observed) -> list[str]:
        """Where what was seen is not what is stated; empty where it holds."""
        edge, found = self.edge, []

        def expect(held: object, said: str) -> None:
            if not held:
                found.append(said)

        opens = self.steady.circuit is Circuit.OPENS
        expect(set(seen.before) == {None}, f"healthy calls failed: {dict(seen.before)}")
        expect(seen.during, "nothing was called")
        wrong = set(seen.during) - allowed(self.steady.callers)
        expect(not wrong, f"callers got {wrong}, not {self.steady.callers}")
        expect(
            seen.longest_wait_s <= self.deadline_s + SLACK_S + seen.lag_s,
            f"a caller waited {seen.longest_wait_s:.2f} s, its deadline was {self.deadline_s:g} s",
        )
        expect(not seen.unnamed, f"errors without the dependency: {seen.unnamed[:3]}")
        expect(seen.opened == opens, f"the circuit {'opened' if seen.opened else 'stayed closed'}")
        if seen.opened:
            expect((seen.refused_in_s or 9) <= AT_ONCE_S + seen.lag_s, f"refused only after {seen.refused_in_s} s")
            expect(seen.refused_with == "circuit_open", f"an open circuit said {seen.refused_with}")
            expect(seen.told_when, "an open circuit did not say when to come again")
        within_s = edge.recovery_s + seen.lag_s
        expect(
            seen.recovered_s is not None and seen.recovered_s <= within_s,
            f"closed again after {seen.recovered_s} s, stated are {within_s:.1f} s",
        )
        lost = seen.acknowledged - set(seen.effects)
        expect(not lost, f"acknowledged and lost: {sorted(lost)[:3]}")
        twice = [id_ for id_, count in seen.effects.items() if count > 1]
        expect(not twice, f"happened twice: {twice[:3]}")
        return found


class _Run:
    """One try of a cell."""

    def __init__(self, world: World, cell: Cell, number: int) -> None:
        self.cell = cell
        self.edge = cell.edge
        self.policy = cell.edge.policy()
        self.client: Client = world.client(cell.edge, self.policy)
        self.world = world
        self.key = f"Cell{number}"
        self.seen = Observed()
        self._calls = 0
        self._loop = asyncio.get_running_loop()

    async def go(self) -> Observed:
        async with FaultProxy("127.0.0.1", self.world.port(self.edge.dependency)) as proxy, _lag_of(self._note_lag):
            await self.client.open(proxy.port)
            try:
                await self._warm_up()
                async with self._fault(proxy):
                    await self._during(proxy)
                await self._after()
            finally:
                await self.client.close()
        self.seen.effects.update(await self.world.effects(self.edge, self.key))
        return self.seen

    def _fault(self, proxy: FaultProxy) -> AbstractAsyncContextManager[None]:
        injected = injected_fault(self.cell.fault, self.edge.settings.slow_call_s)
        if injected is None:
            return proxy.fault(proxy_fault(self.cell.fault, self.edge.settings.slow_call_s))
        return self._overridden(injected)

    @asynccontextmanager
    async def _overridden(self, fault: Fault) -> AsyncIterator[None]:
        ends = datetime.now(UTC) + timedelta(minutes=10)
        self.policy.apply(Override(OverrideMode.CHAOS, "matrix", "a cell of the fault matrix", ends, fault))
        yield
        self.policy.apply(None)

    async def _warm_up(self) -> None:
        """The first call may meet a connection that is still being made: it is not judged."""
        for _ in range(40):
            if await self._call() is None:
                break
            await asyncio.sleep(_POLL_S)
        self.seen.before.update([await self._call(), await self._call()])

    async def _during(self, proxy: FaultProxy) -> None:
        settings, calm = self.edge.settings, self.cell.steady.circuit is Circuit.CLOSED
        at_a_time = _CALM if calm else min(settings.calls_min, settings.concurrency_max)
        for turn in range(-(-settings.calls_min // at_a_time) + 1 if calm else 3):
            if self.cell.fault == "slow close" and turn == 1:
                await self._reopen(proxy)
            self.seen.during.update(await asyncio.gather(*(self._call(judged=True) for _ in range(at_a_time))))
            if self.policy.snapshot().state is CircuitState.OPEN:
                self.seen.opened = True
                break
        self.seen.during.pop("circuit_open", None)
        if self.seen.opened:
            began_s = self._loop.time()
            self.seen.refused_with = await self._call(judged=True, refused=True)
            self.seen.refused_in_s = self._loop.time() - began_s

    async def _reopen(self, proxy: FaultProxy) -> None:
        began_s = self._loop.time()
        await self.client.close()
        await self.client.open(proxy.port)
        self.seen.longest_wait_s = max(self.seen.longest_wait_s, self._loop.time() - began_s)

    async def _after(self) -> None:
        ended_s = self._loop.time()
        while self._loop.time() - ended_s < 2 * self.edge.recovery_s:
            answered = await self._call() is None
            if answered and self.policy.snapshot().state is CircuitState.CLOSED:
                self.seen.recovered_s = self._loop.time() - ended_s
                return
            await asyncio.sleep(_POLL_S)

    async def _call(self, *, judged: bool = False, refused: bool = False) -> str | None:
        self._calls += 1
        id_ = f"{self.key}-{self._calls}"
        current_deadline.set(Deadline.after(self.cell.deadline_s if judged else self.edge.patience_s))
        began_s = self._loop.time()
        code = None
        try:
            await self.client.call(id_)
        except BreakwaterError as error:
            code = error.code
            if judged and error.dependency != self.edge.dependency:
                self.seen.unnamed.append(repr(error))
            if refused:
                self.seen.told_when = (error.retry_after_s or 0) > 0
        else:
            self.seen.acknowledged.add(id_)
        finally:
            current_deadline.set(None)
        if judged:
            self.seen.longest_wait_s = max(self.seen.longest_wait_s, self._loop.time() - began_s)
        return code

    def _note_lag(self, lag_s: float) -> None:
        self.seen.lag_s = max(self.seen.lag_s, lag_s)


async def run(world: World, cell: Cell, numbers: Callable[[], int]) -> tuple[Observed, list[str]]:
    """What was seen, and where it is not what is stated.

    A try during which the machine stood still is made again, if it did not hold, a few times at most.
    """
    for _ in range(TRIES_MAX - 1):
        seen = await _Run(world, cell, numbers()).go()
        problems = cell.problems(seen)
        if not problems or seen.lag_s <= LAG_S_MAX:
            return seen, problems
    seen = await _Run(world, cell, numbers()).go()
    return seen, cell.problems(seen)


@asynccontextmanager
async def _lag_of(note: Callable[[float], None]) -> AsyncIterator[None]:
    """Tells how late this loop wakes whom it should have woken."""
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        while True:
            due_s = loop.time() + 0.02
            await asyncio.sleep(0.02)
            note(loop.time() - due_s)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
