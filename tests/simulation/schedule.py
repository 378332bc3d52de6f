"""One seed: a shared dependency, replicas that guard it, callers, an operator, and whatever may happen to them."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from breakwater.resilience import Outcome, Override, OverrideMode, PolicySettings
from tests.simulation.calls import DEADLINES_S, FAULTS, STYLES, Call, Caller, watch_faults
from tests.simulation.loop import START, SimulationLoop, Timer
from tests.simulation.replica import CLOSED, MODES, OPEN, STATES, Replica
from tests.simulation.scene import (
    ARRIVE,
    ATTEMPT_TIMEOUT_S,
    BACKOFF,
    CALLERS_MIN,
    CANCEL,
    CHAOS,
    CLOCK,
    CRASH,
    CROWD,
    EVENTS,
    EVENTS_MIN,
    FAILURE,
    LOOK,
    OVERRIDE,
    RELOAD,
    RUSH,
    TIME,
    TIMER,
    WEATHER,
    settings_of,
)

_MODES: Final = len(MODES)
_EVENTS: Final = len(EVENTS)
_MODE_INDEX: Final = {mode: index for index, mode in enumerate(MODES)}
_MOMENTS: Final = 0.52
"""Share of steps that let time jump to the next timer; the others are drawn from `_DRAWN`."""
_SLOW_S: Final = (0.7, 1.0, 1.5, 5.0)
_QUICK_S: Final = (0.0, 0.01, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3)


class Schedule:
    """Runs `EVENTS_MIN` events or more; `violation` tells the first rule that did not hold, with its moment."""

    def __init__(self, seed: int, *, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.draw = self.rng.random
        self.trace = trace
        self.loop = SimulationLoop()
        self.violation: str | None = None
        self.counts = [0] * (len(STATES) * _MODES * _EVENTS)
        self.events = 0
        self.failing = 0.1
        self.slow = 0.1
        self.current: Override | None = None
        self.calls: list[Call] = []
        self.started = 0
        """Calls, those of crashed processes too."""
        self.buried: list[asyncio.Task[None]] = []
        """Tasks of crashed processes; kept, so that none is reported as lost."""
        self.settings = self.drawn_settings()
        self.replicas = [self.process(number) for number in range(2 + (self.draw() < 0.3))]
        self.callers = [
            Caller(number % len(self.replicas), STYLES[self.below(8)], DEADLINES_S[self.below(8)])
            for number in range(CALLERS_MIN + self.below(9))
        ]

    def below(self, limit: int) -> int:
        return int(self.draw() * limit)

    def drawn_settings(self) -> PolicySettings:
        below = self.below
        return settings_of(
            1 + below(4), 1 + below(6), below(5), calls_min := 2 + below(5), calls_min + 4 * below(3), 1 + below(4)
        )

    def process(self, number: int) -> Replica:
        """A process that has just started; its monotonic clock counts from a moment of its own."""
        replica = Replica(
            number,
            self.loop,
            self.settings,
            self.rng,
            self.fail,
            origin_s=float(1024 * self.below(8)),
            labels=(TIMER, BACKOFF, FAILURE),
        )
        watch_faults(replica.policy.chaos)
        if self.current is not None:
            replica.override(self.current)
        return replica

    def fail(self, rule: str) -> None:
        if self.violation is None:
            self.violation = f"{rule}; {self.loop.now_s:.3f} s, event {self.events}"

    def count(self, replica: Replica, event: int) -> None:
        mode = 0
        if replica.forced is not None:
            mode = _MODE_INDEX[replica.mode(replica.clock.monotonic())]
        self.counts[(replica.state_index * _MODES + mode) * _EVENTS + event] += 1
        self.events += 1
        if self.trace is not None:
            self.trace(
                f"{self.loop.now_s:8.3f} s  #{replica.number} {replica.state:9} {MODES[mode] or '':13} "
                f"{EVENTS[event]:9} running {replica.running} queued {replica.bulkhead.queued}"
            )

    # ---- what may happen --------------------------------------------------------------------------------------------

    def arrive(self, caller: Caller, replica: Replica) -> None:
        self.started += 1
        call = Call(self, caller, replica)
        replica.live[call] = None
        self.calls.append(call)
        if self.draw() < 0.2:
            # These are also the moments at which answers, slots and timeouts arrive: the cancellation meets them.
            delay_s = (0.01, 0.1, 0.3, 0.7, 1.0)[self.below(5)]
            turns = self.below(4)
            self.loop.call_later(delay_s, lambda: self.cancel(call, turns), CANCEL, replica)

    def rush(self, caller: Caller, replica: Replica) -> None:
        for _ in range(CROWD):
            self.count(replica, ARRIVE)
            self.arrive(caller, replica)

    def give_up(self, _: Caller, replica: Replica) -> None:
        if replica.live:
            self.cancel(tuple(replica.live)[self.below(len(replica.live))])

    def cancel(self, call: Call, turns: int = 0) -> None:
        """Cancels the call after so many turns of the loop."""
        if turns:
            self.loop.call_soon(self.cancel, call, turns - 1)
        elif call.task.cancel():
            call.cancelled = True

    def time(self, _: Caller, __: Replica) -> None:
        self.pass_time((0.01, 0.1, 0.5, 1.2)[self.below(4)])

    def weather(self, _: Caller, __: Replica) -> None:
        self.failing = (0.0, 0.1, 0.5, 1.0)[self.below(4)]
        self.slow = (0.0, 0.1, 0.1, 0.8)[self.below(4)]

    def fate(self) -> tuple[float, type[BaseException] | None]:
        """(seconds, fault) of one attempt in the present weather."""
        draw = self.draw
        takes_s = _SLOW_S[int(draw() * 4)] if draw() < self.slow else _QUICK_S[int(draw() * 8)]
        return takes_s, FAULTS[int(draw() * len(FAULTS))] if draw() < self.failing else None

    def look(self, _: Caller, replica: Replica) -> None:
        replica.look()

    def operate(self, _: Caller, __: Replica) -> None:
        """An override or its end goes out to every replica, to each in its own time within 2 s."""
        override = None
        if self.draw() < 0.7:
            ttl_s = (0.2, 0.5, 1.0, 4.0)[self.below(4)]
            mode = MODES[1 + self.below(_MODES - 1)]
            fault = CHAOS[self.below(len(CHAOS))] if mode is OverrideMode.CHAOS else None
            override = Override(mode, "sim", "schedule", START + timedelta(seconds=self.loop.now_s + ttl_s), fault)
        self.current = override
        for replica in self.replicas:
            delay_s = (0.0, 0.05, 0.5, 1.5)[self.below(4)]
            self.loop.call_later(delay_s, lambda replica=replica: replica.override(override), OVERRIDE, replica)

    def set_clock(self, _: Caller, replica: Replica) -> None:
        replica.clock.wall_offset_s = (-3600.0, -5.0, 0.0, 5.0, 3600.0)[self.below(5)]

    def reload(self, _: Caller, replica: Replica) -> None:
        replica.reload(self.drawn_settings())

    def crash(self, _: Caller, replica: Replica) -> None:
        """The process is gone with everything in it, and another takes its place."""
        self.bury(replica)
        self.calls = [call for call in self.calls if call.replica is not replica]
        self.replicas[replica.number] = self.process(replica.number)

    def bury(self, replica: Replica) -> None:
        replica.alive = False
        self.buried += [call.vanish() for call in replica.live]

    # ---- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> "Schedule":
        with self.loop.running():
            while self.events < EVENTS_MIN and self.violation is None:
                self.step()
            if self.violation is None:
                self.drain()
            if self.violation is not None:
                for replica in self.replicas:
                    self.bury(replica)
        if self.violation is None and self.loop.errors:
            self.fail(f"unexpected: {self.loop.errors[0]}")
        return self

    def step(self) -> None:
        if self.draw() < _MOMENTS and self.moment(self.loop.now_s + 1.0):
            return
        event, act = _DRAWN[int(self.draw() * len(_DRAWN))]
        caller = self.callers[int(self.draw() * len(self.callers))]
        replica = self.replicas[caller.replica]
        self.count(replica, event)
        act(self, caller, replica)
        self.loop.run_ready()
        if replica.alive:
            replica.check()

    def moment(self, until_s: float) -> bool:
        """Time jumps to the next timers; what is due in one moment runs together. False where none is due so soon."""
        due = self.loop.next_moment(until_s)
        touched: list[Replica] = []
        for timer in due:
            self.fire(timer, touched)
        self.loop.run_ready()
        for replica in touched:
            if replica.alive:
                replica.check()
        return bool(due)

    def fire(self, timer: Timer, touched: list[Replica]) -> None:
        replica = timer.owner
        assert isinstance(replica, Replica)
        if timer.callback is None or not replica.alive:
            return
        self.count(replica, timer.label)
        timer.callback()
        if replica not in touched:
            touched.append(replica)

    def pass_time(self, duration_s: float) -> None:
        until_s = self.loop.now_s + duration_s
        while self.violation is None and self.moment(until_s):
            pass

    def drain(self) -> None:
        """Every call ends, everything comes back, and a dependency that is well again is used again."""
        for call in self.calls:
            if self.draw() < 0.3 and not call.task.done():
                self.cancel(call)
        self.loop.run_ready()
        self.pass_time(30.0)
        for call in self.calls:
            self.check_end(call)
        for replica in self.replicas:
            replica.override(None)
            if (replica.bulkhead.in_use, replica.bulkhead.queued, replica.running) != (0, 0, 0):
                self.fail("every slot comes back")
            self.recover(replica)
        if self.draw() < 0.2:
            self.replicas[0].look()

    def check_end(self, call: Call) -> None:
        task = call.task
        if not task.done():
            self.fail("every call ends")
        elif task.cancelled() is not call.cancelled:
            self.fail("who was cancelled, and nobody else, ends as cancelled")
        elif not task.cancelled() and task.exception() is not None:
            self.fail(f"unexpected {task.exception()!r}")

    def recover(self, replica: Replica) -> None:
        """The dependency is well: the circuit closes by calls alone."""

        async def well(timeout_s: float) -> None:
            replica.ends(replica.starts(timeout_s, ATTEMPT_TIMEOUT_S, None, waited=False), Outcome.SUCCESS)

        for _ in range(40):
            if replica.state is CLOSED or self.violation is not None:
                return
            self.loop.advance(0.25)
            task = asyncio.Task(replica.policy.call(well), loop=self.loop)
            replica.admitted()
            self.loop.run_ready()
            if task.exception() is not None and replica.state is not OPEN:
                self.fail(f"a circuit that probes lets a caller through: {task.exception()}")
        self.fail("a recovered dependency closes its circuit")


_Act = Callable[[Schedule, Caller, Replica], object]
_WEIGHTS: Final[dict[tuple[int, _Act], int]] = {
    (ARRIVE, Schedule.arrive): 136,
    (RUSH, Schedule.rush): 8,
    (CANCEL, Schedule.give_up): 14,
    (TIME, Schedule.time): 20,
    (WEATHER, Schedule.weather): 10,
    (LOOK, Schedule.look): 2,
    (OVERRIDE, Schedule.operate): 5,
    (CLOCK, Schedule.set_clock): 2,
    (CRASH, Schedule.crash): 3,
    (RELOAD, Schedule.reload): 3,
}
_DRAWN: Final = tuple(drawn for drawn, weight in _WEIGHTS.items() for _ in range(weight))
