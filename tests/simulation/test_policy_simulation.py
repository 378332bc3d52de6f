"""Seeded schedules of many callers against one policy: what must hold after every step, whatever happens in between.

A failing schedule is replayed by its seed: `Schedule(seed, overridden=...).run()`.
"""

import asyncio
import random
from datetime import timedelta

import pytest

from breakwater.resilience import (
    CircuitState,
    Deadline,
    Outcome,
    Override,
    OverrideMode,
    Policy,
    PolicyError,
    PolicySettings,
    Transition,
)
from breakwater.resilience._breaker import Breaker, Ticket
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._timer import Alarm
from breakwater.resilience.testing import VirtualClock, settle

SCHEDULES = 100
STEPS = 60
RUSH = 12
EVENTS = ["arrive", "cancel", "time", "weather", "look", "rush", "override"]


class NotFoundError(Exception):
    outcome = Outcome.CALLER_FAULT


class CredentialRefusedError(Exception):
    outcome = Outcome.AUTH_REJECTED


class PushedBackError(Exception):
    outcome = Outcome.OVERLOAD
    retry_after_s = 0.3


class Attempt:
    """One attempt in flight, and the state of the circuit that admitted it."""

    def __init__(self, generation: int, *, leased_until_s: float) -> None:
        self.generation = generation
        self.leased_until_s = leased_until_s


class Schedule:
    """One seed: random settings, random callers, random weather at the dependency."""

    def __init__(self, seed: int, *, overridden: bool = False) -> None:
        self.overridden = overridden
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.settings = PolicySettings(
            caller="gateway",
            dependency="leads",
            attempt_timeout_s=1.0,
            slow_call_s=0.6,
            attempts_max=self.rng.randint(1, 4),
            concurrency_max=self.rng.randint(1, 6),
            queue_max=self.rng.randint(0, 4),
            queue_wait_s_max=0.7,
            window_s=5,
            calls_min=self.rng.randint(2, 6),
            calls_enough=self.rng.randint(6, 12),
            open_s=1.0,
            open_s_max=3.0,
            probes=self.rng.randint(1, 4),
            probe_lease_s=1.5,
        )
        self.policy = Policy(self.settings, clock=self.clock, listener=self.hear, rng=random.Random(seed))
        self.tasks: list[asyncio.Task] = []
        self.cancelled: set[asyncio.Task] = set()
        self.running: set[Attempt] = set()
        self.ending: Attempt | None = None
        self.generation = 0
        self.state = CircuitState.CLOSED
        self.forced: OverrideMode | None = None
        self.failing = 0.1
        self.calls = 0
        self.probes_started = 0
        self.reached: set[tuple[CircuitState, str]] = set()
        self.violations: list[str] = []

    def check(self, holds: bool, rule: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            self.violations.append(f"{rule} at {self.clock.monotonic():.3f} s")

    def hear(self, transition: Transition) -> None:
        self.forced = transition.forced
        if transition.old is transition.new:
            return
        self.check(transition.old is self.state, "transitions form a chain")
        # Only an admission moves an open circuit on; every other change is the verdict of the attempt just ending.
        if transition.old is not CircuitState.OPEN:
            fresh = self.ending is not None and self.ending.generation == self.generation
            self.check(fresh, "a stale result changes nothing")
        self.generation += 1
        self.state = transition.new
        self.probes_started = 0

    def admitted(self) -> Attempt:
        half_open = self.state is CircuitState.HALF_OPEN
        lease_s = self.settings.probe_lease_s if half_open else 0.0
        return Attempt(self.generation, leased_until_s=self.clock.monotonic() + lease_s)

    async def dependency(self, timeout_s: float) -> str:
        self.check(0 < timeout_s <= self.settings.attempt_timeout_s, "an attempt's time is within its limit")
        attempt = self.admitted()
        self.running.add(attempt)
        self.ending = None
        if self.forced is None:
            self.check(self.state is not CircuitState.OPEN, "an open circuit admits nobody")
        takes_s = self.rng.choice([0.0, 0.01, 0.1, 0.7, 5.0])
        error = self.weather()
        try:
            if takes_s:
                await self.clock.sleep(takes_s)
            else:
                await asyncio.sleep(0)
            if error is not None:
                raise error
            return "answer"
        finally:
            self.running.discard(attempt)
            self.ending = attempt

    def weather(self) -> Exception | None:
        if self.rng.random() >= self.failing:
            return None
        kinds = [ConnectionError, ConnectionError, NotFoundError, CredentialRefusedError, PushedBackError]
        return self.rng.choice(kinds)()

    async def caller(self) -> None:
        deadline = Deadline.after(self.rng.choice([0.05, 0.5, 2.0]), self.clock) if self.rng.random() < 0.4 else None
        started_s = self.clock.monotonic()
        try:
            if self.rng.random() < 0.2:
                async with self.policy.admit(deadline=deadline) as admission:
                    await self.dependency(min(admission.timeout_s, 1.0))
            else:
                retryable = self.rng.random() < 0.7
                self.calls += 1
                await self.policy.call(self.dependency, deadline=deadline, retryable=retryable)
                if deadline is not None:
                    self.check(deadline.remaining_s() >= -0.001, "no answer comes after its deadline")
        except (PolicyError, ConnectionError, NotFoundError, CredentialRefusedError, PushedBackError):
            longest_s = 4 * (self.settings.attempt_timeout_s + self.settings.queue_wait_s_max) + 5
            self.check(self.clock.monotonic() - started_s <= longest_s, "no call hangs")

    def arrive(self) -> None:
        task = asyncio.ensure_future(self.caller())
        self.tasks.append(task)
        if self.rng.random() < 0.25:
            # These are also the moments at which answers, slots and timeouts arrive: the cancellation meets them.
            turns = self.rng.randint(0, 4)
            self.clock.call_later(self.rng.choice([0.01, 0.1, 0.7, 1.0]), lambda: self.cancel(task, turns))

    def cancel(self, task: asyncio.Task, turns: int = 0) -> None:
        """Cancels `task` after so many turns of the loop."""
        if turns:
            asyncio.get_running_loop().call_soon(self.cancel, task, turns - 1)
        elif task.cancel():
            self.cancelled.add(task)

    async def step(self) -> None:
        event = self.rng.choices(EVENTS, [30, 8, 30, 5, 5, 3, 2 if self.overridden else 0])[0]
        self.reached.add((self.state, event))
        if event in {"arrive", "rush"}:
            for _ in range(1 if event == "arrive" else RUSH):
                self.arrive()
        elif event == "cancel":
            live = [task for task in self.tasks if not task.done()]
            if live:
                self.cancel(self.rng.choice(live))
        elif event == "time":
            await self.clock.advance(self.rng.choice([0.01, 0.1, 0.5, 1.2]))
        elif event == "weather":
            self.failing = self.rng.choice([0.0, 0.1, 0.5, 1.0])
        elif event == "override":
            ends = self.clock.now() + timedelta(seconds=self.rng.choice([0.5, 2.0]))
            modes = [None, *OverrideMode]
            mode = self.rng.choice(modes)
            self.policy.apply(None if mode is None else Override(mode, "sim", "schedule", ends))
        elif event == "look":
            self.policy.snapshot()
        await settle()

    def check_invariants(self) -> None:
        snapshot = self.policy.snapshot()
        self.check(snapshot.bulkhead.in_use >= len(self.running), "every attempt holds a slot")
        self.check(snapshot.bulkhead.queued <= self.settings.queue_max, "the queue is bounded")
        if not self.overridden:
            self.check(snapshot.bulkhead.in_use <= self.settings.concurrency_max, "slots are bounded")
            self.check(snapshot.bulkhead.in_use == len(self.running), "slots are held by attempts only")
            now_s = self.clock.monotonic()
            probing = sum(each.leased_until_s > now_s and each.generation == self.generation for each in self.running)
            self.check(probing <= self.settings.probes, "no more probes than permits")
            leased = sum(ticket.expires_at_s > now_s for ticket in self.policy._breaker._probes)
            self.check(leased == probing, "every permit has its probe")
        earned = 1 + 0.1 * (self.calls + len(self.tasks)) + 0.2 * self.clock.monotonic()
        self.check(snapshot.totals.retries <= earned + 1e-6, "retries stay within the budget")

    async def run(self) -> "Schedule":
        for _ in range(STEPS):
            await self.step()
            self.check_invariants()
        await self.drain()
        return self

    async def drain(self) -> None:
        for task in self.tasks:
            if self.rng.random() < 0.3:
                self.cancel(task)
        await self.clock.advance(60)
        self.check(all(task.done() for task in self.tasks), "every call ends")
        self.check(all(task.cancelled() for task in self.cancelled), "no cancellation is lost")
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.violations.append(f"unexpected {task.exception()!r}")
        bulkhead = self.policy.snapshot().bulkhead
        self.check((bulkhead.in_use, bulkhead.queued) == (0, 0), "every slot comes back")
        self.check(not self.running, "no attempt outlives its call")
        if self.violations:
            return
        # Whatever happened: a dependency that is well again is used again, without a restart.
        self.policy.apply(None)
        self.failing, recovered = 0.0, False
        for _ in range(100):
            try:
                await self.policy.call(self.well)
            except PolicyError:
                await self.clock.advance(0.5)
            recovered = recovered or self.policy.snapshot().state is CircuitState.CLOSED
        self.check(recovered, "a recovered dependency closes its circuit")

    async def well(self, timeout_s: float) -> str:
        self.ending = self.admitted()
        return "answer"


async def first_violation(schedules: int, *, overridden: bool) -> tuple[int, list[str]] | None:
    for seed in range(schedules):
        schedule = await Schedule(seed, overridden=overridden).run()
        if schedule.violations:
            return seed, schedule.violations
    return None


@pytest.mark.parametrize("overridden", [False, True])
async def test_no_schedule_breaks_an_invariant(overridden):
    """Probes, slots, queue, budget, deadlines, generations and recovery hold in every seeded schedule."""
    assert await first_violation(SCHEDULES, overridden=overridden) is None


def apply_stale_results(monkeypatch) -> None:
    """A result counts for whatever state the circuit is in when it arrives."""
    settle_truly = Breaker.settle

    def settle_any(self, ticket, outcome, *, slow, now_s):
        settle_truly(self, self.closed or next(iter(self._probes), ticket), outcome, slow=slow, now_s=now_s)

    monkeypatch.setattr(Breaker, "settle", settle_any)


def leak_permits_of_cancelled_probes(monkeypatch) -> None:
    settle_truly = Breaker.settle

    def settle_unless_cancelled(self, ticket, outcome, *, slow, now_s):
        if outcome is not Outcome.CANCELLED:
            settle_truly(self, ticket, outcome, slow=slow, now_s=now_s)

    monkeypatch.setattr(Breaker, "settle", settle_unless_cancelled)


def let_everyone_probe(monkeypatch) -> None:
    monkeypatch.setattr(Breaker, "_free_permits", lambda _: 1)


def admit_to_an_open_circuit(monkeypatch) -> None:
    admit_truly = Breaker.admit
    monkeypatch.setattr(Breaker, "admit", lambda self, now_s: admit_truly(self, now_s) or Ticket(now_s + 1))


def never_probe(monkeypatch) -> None:
    monkeypatch.setattr(Breaker, "admit", lambda self, _: self.closed)


def lose_the_slot_of_a_cancelled_waiter(monkeypatch) -> None:
    """The slot reaches a waiter in the turn that cancels it, and nobody gives it back."""

    async def wait(self, timeout_s: float) -> bool:
        if self.in_use < self.limit:
            self.in_use += 1
            return True
        if len(self._queue) >= self.queue_max:
            return False
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self._call_later(timeout_s, lambda: self._give_up(place))
        try:
            return await place
        finally:
            if place in self._queue:
                self._queue.remove(place)

    monkeypatch.setattr(Bulkhead, "wait", wait)


def take_every_cancellation_for_a_timeout(monkeypatch) -> None:
    monkeypatch.setattr(Alarm, "answered", lambda self: self._task.uncancel() >= 0)


def free_slots_that_were_passed_on(monkeypatch) -> None:
    release_truly = Bulkhead.release

    def release(self) -> None:
        queued = self.queued
        release_truly(self)
        self.in_use -= queued > self.queued

    monkeypatch.setattr(Bulkhead, "release", release)


def retry_without_a_budget(monkeypatch) -> None:
    monkeypatch.setattr(RetryBudget, "spend", lambda *_: True)
    monkeypatch.setattr(RetryBudget, "holds_one", lambda *_: True)


def start_work_past_its_deadline(monkeypatch) -> None:
    monkeypatch.setattr(Policy, "_left_s", lambda *_: 1.0)


def forget_the_alarm(monkeypatch) -> None:
    """An attempt that hangs is never told to stop."""
    monkeypatch.setattr(Alarm, "ring", lambda _: None)


@pytest.mark.parametrize(
    "plant",
    [
        apply_stale_results,
        leak_permits_of_cancelled_probes,
        let_everyone_probe,
        admit_to_an_open_circuit,
        never_probe,
        lose_the_slot_of_a_cancelled_waiter,
        take_every_cancellation_for_a_timeout,
        free_slots_that_were_passed_on,
        retry_without_a_budget,
        start_work_past_its_deadline,
        forget_the_alarm,
    ],
)
async def test_a_planted_bug_is_found(monkeypatch, plant):
    """The simulation can fail: each bug known from other libraries breaks an invariant within the same schedules."""
    plant(monkeypatch)
    assert await first_violation(SCHEDULES, overridden=False) is not None


async def test_the_schedules_reach_every_state_with_every_event():
    """Otherwise holding invariants would say little."""
    reached = set()
    for seed in range(SCHEDULES // 2):
        reached |= (await Schedule(seed, overridden=True).run()).reached
    assert reached == {(state, event) for state in CircuitState for event in EVENTS}
