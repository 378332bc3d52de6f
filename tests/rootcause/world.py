"""The platform under the virtual clock: every process with its real policies, answering and failing as it would.

The graph is that of the services' own policies.yaml, with the providers of contracts/external; a new edge is in it at once. Calls
go through `Policy` unmodified, figures through `EdgeReporter` and the ops process's own translation.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from breakwater.chassis.edges import EdgeReporter
from breakwater.chassis.overrides import Overrides
from breakwater.chassis.policies import PolicyFile
from breakwater.resilience import Deadline, Outcome, Policy, PolicyError, PolicySettings
from breakwater.resilience.errors import BulkheadFullError, OverloadedError
from services.files import finance
from services.gateway.ops.edges.domain import Report
from services.gateway.ops.translation import report_from_wire
from services.notify.probes import QUESTIONS
from tests.simulation.loop import LoopClock, SimulationLoop

ROOT: Final = Path(__file__).parents[2]
Pair = tuple[str, str]

PROVIDERS: Final = {"notify": tuple(sorted(QUESTIONS)), "files": (finance.DEPENDENCY,)}
"""Edges that a deployment adds by BREAKWATER_HTTP_BASES."""
REPLICAS: Final = {"leads": 3, "ops": 1}
"""Of every other process two."""
ASKS: Final[dict[Pair, tuple[str, ...]]] = {
    ("gateway", "leads"): ("postgres",),
    ("gateway", "health"): ("postgres",),
    ("gateway", "notify"): ("postgres",),
    ("gateway", "files"): ("postgres",),
    ("files", "leads"): ("postgres",),
}
"""What a request of the pair makes its receiver call before it answers. What ops asks needs nothing; what happens after
the answer (events, jobs) is traffic of its own."""
RATES_PER_S: Final[dict[Pair, float]] = {
    ("gateway", "leads"): 8.0,
    ("gateway", "health"): 3.0,
    ("gateway", "notify"): 3.0,
    ("files", "leads"): 1.0,
}
RATE_PER_S: Final = 2.0
"""Of every other edge, over all instances."""
LATENCY_MS: Final = {"postgres": 3.0, "nats": 2.0, "objects": 40.0, "finance": 120.0}
ROBOT_MS: Final = 80.0
HOP_MS: Final = 2.0
REQUEST_S_MAX: Final = 10.0
CALL_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of latencies."""
REPORT_S: Final = 2.0
"""Half as often as processes report: what is found so is found sooner in earnest, and a day costs half the time."""


class FailedError(ConnectionError):
    outcome = Outcome.FAILURE


class RefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


class TooLateError(TimeoutError):
    outcome = Outcome.TIMEOUT


@dataclass(slots=True)
class Treatment:
    """What happens to one attempt."""

    error: Exception | None = None
    extra_s: float = 0.0
    hangs: bool = False


Weather = Callable[["World", str, int, str, int], Treatment | None]
"""Caller, its replica, dependency, its replica: what a fault does to the attempt; None leaves it alone."""


@dataclass(slots=True)
class Process:
    """One replica."""

    name: str
    number: int
    policies: PolicyFile
    reporter: EdgeReporter
    alive: bool = True

    @property
    def instance(self) -> str:
        return f"{self.name}-{self.number}"


@dataclass(slots=True)
class World:
    """Everything that runs. `hear` is given each report."""

    seed: int
    hear: Callable[[Report], None]
    error_share: float = 0.01
    """Of all attempts, those that fail for no reason."""
    rates_times: float = 1.0
    report_s: float = REPORT_S
    weather: list[Weather] = field(default_factory=list)
    loop: SimulationLoop = field(default_factory=SimulationLoop)
    calls: int = 0
    errors: int = 0
    rng: random.Random = field(init=False)
    clock: LoopClock = field(init=False)
    processes: dict[str, list[Process]] = field(init=False, default_factory=dict)
    pairs: list[Pair] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = LoopClock(self.loop)
        for path in policy_files():
            name = path.parent.name
            self.processes[name] = [self._started(name, number, path) for number in range(REPLICAS.get(name, 2))]
        self.pairs = [
            (name, policy.settings.dependency)
            for name, replicas in self.processes.items()
            for policy in replicas[0].policies.registry
        ]

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        with self.loop.running():
            self.loop.advance(seconds)

    def begin(self) -> None:
        """Starts traffic and reports."""
        for pair in self.pairs:
            self.loop.call_later(self._gap_s(pair), lambda pair=pair: self._arrive(pair))
        for replicas in self.processes.values():
            for each in replicas:
                self.loop.call_later(self.rng.uniform(0, self.report_s), lambda each=each: self._report(each))

    def settings_of(self, pair: Pair) -> PolicySettings:
        settings: PolicySettings = self.processes[pair[0]][0].policies.registry[pair[1]].settings
        return settings

    def replicas_of(self, name: str) -> int:
        return len(self.processes.get(name, ()))

    def _started(self, name: str, number: int, path: Path) -> Process:
        file = PolicyFile(name, path, clock=self.clock, classifiers={}, configured=PROVIDERS.get(name, ()))
        for policy in file.registry:
            policy._retrier._rng = policy._breaker._rng = self.rng
        reporter = EdgeReporter(
            name, f"{name}-{number}", file.registry, Overrides(file.registry, self.clock), self.clock
        )
        process = Process(name, number, file, reporter)
        # As `EdgeReporter.publish` does: a change of state is told at once.
        file.registry.listen(lambda moved: self.loop.call_soon(self._tell, process, moved))
        return process

    def _report(self, process: Process) -> None:
        self._tell(process)
        self.loop.call_later(self.report_s, lambda: self._report(process))

    def _tell(self, process: Process, *moved: Any) -> None:
        if process.alive:
            self.hear(report_from_wire(process.reporter.report(*moved)))

    def _gap_s(self, pair: Pair) -> float:
        return self.rng.expovariate(self.rates_times * RATES_PER_S.get(pair, RATE_PER_S))

    def _arrive(self, pair: Pair) -> None:
        self.loop.call_later(self._gap_s(pair), lambda: self._arrive(pair))
        caller = self.rng.choice(self.processes[pair[0]])
        if caller.alive:
            asyncio.Task(self._ask(caller, pair[1]), loop=self.loop)

    async def _ask(self, caller: Process, dependency: str) -> None:
        with suppress(FailedError, RefusedError, TooLateError, PolicyError):
            await self.call(caller, dependency, Deadline.after(REQUEST_S_MAX, self.clock))

    async def call(self, caller: Process, dependency: str, deadline: Deadline) -> None:
        """One call through the caller's policy."""
        policy: Policy = caller.policies.registry[dependency]
        self.calls += 1

        async def attempt(timeout_s: float) -> None:
            answer: asyncio.Future[None] = self.loop.create_future()
            late = self.loop.call_later(timeout_s, lambda: _settle(answer, TooLateError()))
            given_up = Deadline.after(timeout_s, self.clock)
            # The receiver works on by itself, whoever has gone away meanwhile.
            asyncio.Task(self._serve(caller, dependency, given_up, answer), loop=self.loop)
            try:
                await answer
            finally:
                late.cancel()

        await policy.call(attempt, deadline=deadline, retryable=dependency in self.processes)

    async def _serve(
        self, caller: Process, dependency: str, deadline: Deadline, answer: "asyncio.Future[None]"
    ) -> None:
        replicas = self.processes.get(dependency, ())
        number = self.rng.randrange(len(replicas)) if replicas else 0
        if replicas and not any(each.alive for each in replicas):
            _settle(answer, FailedError())
            return
        treatment = Treatment()
        for fault in self.weather:
            found = fault(self, caller.name, caller.number, dependency, number)
            if found is not None:
                treatment = found
        if treatment.hangs:
            return
        median_s = (HOP_MS if replicas else LATENCY_MS.get(dependency, ROBOT_MS)) / 1000
        await self.clock.sleep(median_s * self.rng.lognormvariate(0.0, CALL_SPREAD) + treatment.extra_s)
        if treatment.error is None and self.rng.random() < self.error_share:
            self.errors += 1
            treatment.error = FailedError()
        if treatment.error is not None:
            _settle(answer, treatment.error)
            return
        if replicas:
            receiver = next(each for each in (*replicas[number:], *replicas) if each.alive)
            for below in ASKS.get((caller.name, dependency), ()):
                try:
                    await self.call(receiver, below, deadline)
                except (FailedError, RefusedError, TooLateError, PolicyError) as error:
                    _settle(answer, _as_answered(dependency, caller.name, error))
                    return
        _settle(answer, None)


def policy_files() -> Iterator[Path]:
    """The policies of every process."""
    yield from sorted((ROOT / "services").rglob("policies.yaml"))


def _settle(answer: "asyncio.Future[None]", error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)


def _as_answered(dependency: str, caller: str, error: Exception) -> Exception:
    """What the receiver's failure is to its caller (chassis.policies, chassis.channels): never a refused credential."""
    outcome = getattr(error, "outcome", Outcome.FAILURE)
    if isinstance(error, BulkheadFullError) or outcome is Outcome.OVERLOAD:
        return OverloadedError(caller, dependency, "it pushed back", retry_after_s=0.3)
    if outcome in {Outcome.TIMEOUT, Outcome.DEADLINE_EXCEEDED}:
        return TooLateError()
    return FailedError()
