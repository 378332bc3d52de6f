"""One process with its own policy, and beside it what must be true of that policy, computed from what was seen.

The model knows the dependency's side (which attempts run, when they began, how they ended) and the rules of README.md; it
looks into the policy only to compare.
"""

import random
from collections.abc import Callable
from math import ceil
from typing import Any, Final

from breakwater.resilience import CircuitState, Outcome, Override, OverrideMode, PolicyRegistry, PolicySettings
from breakwater.resilience.snapshots import Transition
from tests.simulation.loop import LoopClock, SimulationLoop, Timer

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
STATES: Final = (CLOSED, OPEN, HALF_OPEN)
MODES: Final = (None, *OverrideMode)

_NO_ATTEMPTS: Final = frozenset({OverrideMode.FORCED_OPEN, OverrideMode.FALLBACK})
_REFUSING: Final = frozenset({None, OverrideMode.CHAOS})
_NO_BULKHEAD: Final = frozenset({OverrideMode.SHADOW, OverrideMode.DISABLED})
_JUDGED: Final = frozenset(
    {Outcome.SUCCESS, Outcome.CALLER_FAULT, Outcome.FAILURE, Outcome.TIMEOUT, Outcome.AUTH_REJECTED, Outcome.OVERLOAD}
)
_FAILED: Final = frozenset({Outcome.FAILURE, Outcome.TIMEOUT, Outcome.AUTH_REJECTED})
_JITTER: Final = 1.1
_EPS: Final = 1e-6


class Attempt:
    """One attempt at the dependency, and what admitted it."""

    __slots__ = ("generation", "leased_until_s", "started_s", "ticketed", "timeout_s")

    def __init__(self, generation: int, started_s: float, timeout_s: float) -> None:
        self.generation = generation
        self.started_s = started_s
        self.timeout_s = timeout_s
        self.ticketed = True
        self.leased_until_s = 0.0


class ReplicaClock(LoopClock):
    """Labels its timers as those of the policy, and tells when a retry has been paid for: then tenacity waits."""

    def __init__(self, loop: SimulationLoop, replica: "Replica", *, origin_s: float, labels: tuple[int, int]) -> None:
        super().__init__(loop, origin_s=origin_s)
        self._replica = replica
        self._timer, self._backoff = labels

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        return self.loop.call_later(delay_s, callback, self._timer, self._replica)

    async def sleep(self, duration_s: float, /) -> None:
        self._replica.paid_retry()
        await self.wake_after(duration_s, self._backoff, self._replica)


class FaultClock(LoopClock):
    """What injected faults wait on: theirs are no back-offs."""

    def __init__(self, clock: ReplicaClock, replica: "Replica", label: int) -> None:
        super().__init__(clock.loop, origin_s=clock.origin_s)
        self._replica = replica
        self._label = label

    async def sleep(self, duration_s: float, /) -> None:
        await self.wake_after(duration_s, self._label, self._replica)


class Replica:
    """A process: alive until it crashes, and never afterwards."""

    def __init__(
        self,
        number: int,
        loop: SimulationLoop,
        settings: PolicySettings,
        rng: random.Random,
        fail: Callable[[str], None],
        *,
        origin_s: float,
        labels: tuple[int, int, int],
    ) -> None:
        self.number = number
        self.alive = True
        self.settings = settings
        self.clock = ReplicaClock(loop, self, origin_s=origin_s, labels=labels[:2])
        self.fail = fail
        self.registry = PolicyRegistry(settings.caller, [settings], clock=self.clock, rng=rng)
        self.registry.listen(self.heard)
        self.policy = self.registry[settings.dependency]
        self.policy.chaos._clock = FaultClock(self.clock, self, labels[2])
        self.bulkhead = self.policy._bulkhead
        self.breaker = self.policy._breaker
        self.budget = self.policy._budget
        self.live: dict[Any, None] = {}
        """Calls that have not ended, in the order they came."""
        now_s = self.clock.monotonic()
        # The circuit.
        self.state = CLOSED
        self.state_index = 0
        self.generation = 0
        self.since_s = now_s
        self.exact = True
        """False where two things met in one moment and the rules allow either order; until the next generation."""
        self.judged = self.failed = self.slow = 0
        self.probes: list[Attempt] = []
        self.round = settings.probes
        self.ending: Attempt | None = None
        self.expected: CircuitState | None = None
        self.exact_until_s = now_s + settings.window_s * 0.95
        # The bulkhead.
        self.running = 0
        self.unbounded = False
        """Whether more attempts may run than there are slots: an override or a reload let them in."""
        self.queue_most = settings.queue_max
        # Overrides.
        self.forced: OverrideMode | None = None
        self.forced_until_s = now_s
        self.forced_changed_s = -1e9
        # The budget, between two bounds: deposits of calls alone, and deposits of calls and of time.
        self.tokens_least = self.tokens_most = 1.0
        self.tokens_at_s = now_s
        self.looking = False

    # ---- what the schedule does to it -------------------------------------------------------------------------------

    def admitted(self) -> None:
        """A call came: its share of a retry is earned now and not when it ends."""
        ratio, most = self.settings.retry_budget_ratio, self.settings.retry_budget_tokens_max
        self.tokens_least = min(most, self.tokens_least + ratio)
        self._time_earns()
        self.tokens_most = min(most, self.tokens_most + ratio)

    def paid_retry(self) -> None:
        self._time_earns()
        if self.tokens_most < 1.0 - _EPS:
            self.fail("a retry is within the budget")
        self.tokens_most -= 1.0
        self.tokens_least = max(0.0, self.tokens_least - 1.0)

    def _time_earns(self) -> None:
        now_s = self.clock.monotonic()
        earned = self.settings.retry_budget_floor_per_s * (now_s - self.tokens_at_s)
        self.tokens_most = min(self.settings.retry_budget_tokens_max, self.tokens_most + earned)
        self.tokens_at_s = now_s

    def override(self, override: Override | None) -> None:
        now_s = self.clock.monotonic()
        left_s = (override.expires_at - self.clock.now()).total_seconds() if override is not None else 0.0
        self.forced = override.mode if override is not None and left_s > 0 else None
        self.forced_until_s = now_s + left_s
        self.forced_changed_s = now_s
        if self.forced in _NO_BULKHEAD:
            self.unbounded = True
        self.registry.apply(self.settings.dependency, override)

    def mode(self, now_s: float) -> OverrideMode | None:
        return self.forced if now_s < self.forced_until_s else None

    def reload(self, settings: PolicySettings) -> None:
        """Other settings for what is under way: nothing of it is lost, and the state stays."""
        state, probes = self.breaker.state, set(self.breaker._probes)
        self.policy.reconfigure(settings)
        if (self.breaker.state, self.breaker._probes) != (state, probes):
            self.fail("a reload keeps state and permits")
        self.settings = settings
        self.exact, self.unbounded = False, True
        self.queue_most = max(self.queue_most, settings.queue_max)

    def look(self) -> None:
        """Observing changes nothing, and tells the truth."""
        breaker, now_s = self.breaker, self.clock.monotonic()
        before = (set(breaker._probes), breaker.state, self.bulkhead.in_use, self.budget.tokens(now_s))
        self.looking = True
        shown = self.policy.snapshot()
        self.looking = False
        if (set(breaker._probes), breaker.state, self.bulkhead.in_use, self.budget.tokens(now_s)) != before:
            self.fail("observing changes nothing")
        if shown.state is not self.state:
            self.fail("the state shown is the one announced")
        if shown.forced is not self.mode(now_s):
            self.fail("the forced state shown is the one in force")
        if shown.bulkhead.in_use != self.running:
            self.fail("the slots shown are those in use")

    # ---- what the policy does ---------------------------------------------------------------------------------------

    def heard(self, transition: Transition) -> None:
        old, new = transition.old, transition.new
        if old is new:
            return
        now_s = self.clock.monotonic()
        if old is not self.state:
            self.fail("transitions form a chain")
        if self.looking:
            self.fail("observing changes nothing")
        if old is OPEN:
            # Only an admission moves an open circuit on, and never before its time.
            if now_s < self.since_s + self.settings.open_s - _EPS:
                self.fail("an open circuit stays open for its time")
        elif self.ending is None or self.ending.generation != self.generation:
            self.fail("a stale result changes nothing")
        elif self.exact and now_s < self.exact_until_s and self.expected is not new:
            self.fail(f"{old} becomes {new} on {self.judged} results, {self.failed} failed, {self.slow} slow")
        self.generation += 1
        self.state, self.state_index = new, STATES.index(new)
        self.since_s = now_s
        self.exact_until_s = now_s + self.settings.window_s * 0.95
        self.exact, self.expected = True, None
        self.judged = self.failed = self.slow = 0
        self.probes = []
        self.round = self.settings.probes

    def starts(self, timeout_s: float, limit_s: float, left_s: float | None, *, waited: bool) -> Attempt:
        """An attempt reached the dependency, or the fault that is injected in its place."""
        now_s = self.clock.monotonic()
        if not 0 < timeout_s <= limit_s:
            self.fail("an attempt's time is within its limit")
        if left_s is not None and timeout_s > left_s + _EPS:
            self.fail("no work is started past its deadline")
        self.running += 1
        self.ending = None
        attempt = Attempt(self.generation, now_s, timeout_s)
        if (waited or now_s == self.forced_changed_s) and self._override_just_changed(now_s):
            # It passed the gate before the override changed, and its slot came after.
            self.exact = False
        else:
            self._passes_gate(attempt, self.mode(now_s), now_s)
        return attempt

    def _passes_gate(self, attempt: Attempt, mode: OverrideMode | None, now_s: float) -> None:
        if mode in _NO_ATTEMPTS:
            self.fail(f"{mode} lets nobody through")
        if self.running > self.settings.concurrency_max and mode not in _NO_BULKHEAD and not self.unbounded:
            self.fail("slots are bounded")
        if mode is OverrideMode.DISABLED:
            attempt.ticketed = False
        elif self.state is OPEN:
            if mode in _REFUSING:
                self.fail("an open circuit admits nobody")
            attempt.ticketed = False
        elif self.state is HALF_OPEN:
            if self.permits(now_s) > 0:
                attempt.leased_until_s = now_s + self.settings.probe_lease_s
                self.probes.append(attempt)
            elif mode in _REFUSING:
                # What met an override in one moment may hold a permit or none: then the breaker's own books must balance.
                if self.exact or self._overbooked(now_s):
                    self.fail("no more probes than permits")
            else:
                attempt.ticketed = False

    def _override_just_changed(self, now_s: float) -> bool:
        wait_s = self.settings.queue_wait_s_max + _EPS
        return now_s - self.forced_changed_s <= wait_s or 0 <= now_s - self.forced_until_s <= wait_s

    def permits(self, now_s: float) -> int:
        """Permits that nobody holds now."""
        leased = 0
        for probe in self.probes:
            leased += probe.leased_until_s > now_s
        return self.round - leased - self.judged

    def _overbooked(self, now_s: float) -> bool:
        breaker = self.breaker
        leased = sum(ticket.expires_at_s > now_s for ticket in breaker._probes)
        return leased + breaker._probes_well + breaker._probes_failed > self.round

    def ends(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt left the dependency; what the circuit must do about it is known from here on."""
        self.running -= 1
        self.ending = attempt
        if not attempt.ticketed or attempt.generation != self.generation:
            return
        now_s = self.clock.monotonic()
        latency_s = now_s - attempt.started_s
        settings = self.settings
        if self.state is HALF_OPEN:
            if attempt not in self.probes:
                return
            self.probes.remove(attempt)
            if attempt.leased_until_s <= now_s or outcome is Outcome.OVERLOAD or outcome not in _JUDGED:
                return
            self._count(outcome, latency_s)
            if self.failed >= ceil(self.round * settings.error_rate_max) or self.slow >= ceil(
                self.round * settings.slow_rate_max
            ):
                self.expected = OPEN
            elif self.judged == self.round:
                self.expected = CLOSED
        elif outcome in _JUDGED:
            self._count(outcome, latency_s)
            if self.judged > settings.calls_enough:
                self.exact = False
            bad = outcome in _FAILED or latency_s > settings.slow_call_s
            if (
                bad
                and self.judged >= settings.calls_min
                and (
                    self.failed >= settings.error_rate_max * self.judged
                    or self.slow >= settings.slow_rate_max * self.judged
                )
            ):
                self.expected = OPEN

    def _count(self, outcome: Outcome, latency_s: float) -> None:
        self.judged += 1
        self.failed += outcome in _FAILED
        self.slow += latency_s > self.settings.slow_call_s

    def refused(self) -> None:
        """A call met a circuit that let nobody through: there must be a reason now."""
        now_s = self.clock.monotonic()
        if self.forced in _NO_ATTEMPTS and now_s < self.forced_until_s:
            return
        if self.state is CLOSED:
            self.fail("a closed circuit refuses nobody")
        elif self.state is OPEN:
            if now_s > self.since_s + self.settings.open_s_max * _JITTER + _EPS:
                self.fail("an open circuit probes when its time is over")
        elif self.exact and self.permits(now_s) > 0:
            self.fail("a free permit is lent")

    # ---- after every step -------------------------------------------------------------------------------------------

    def check(self) -> None:
        now_s = self.clock.loop.now_s + self.clock.origin_s
        settings, bulkhead = self.settings, self.bulkhead
        if bulkhead.in_use != self.running:
            self.fail("slots are held by attempts, one each")
        if len(bulkhead._queue) > self.queue_most:
            self.fail("the queue is bounded")
        self.queue_most = max(settings.queue_max, len(bulkhead._queue))
        if self.unbounded and self.running <= settings.concurrency_max and self.mode(now_s) not in _NO_BULKHEAD:
            self.unbounded = False
        if self.state is HALF_OPEN and self.exact:
            self._check_permits(now_s)
        if self.expected is not None:
            if self.exact and now_s < self.exact_until_s:
                self.fail(f"{self.state} becomes {self.expected} when the results say so")
            self.expected = None
        tokens = self.budget.tokens(now_s)
        if tokens < self.tokens_least - _EPS:
            self.fail("every call earns its share of a retry when it is admitted")
        most = self.tokens_most + settings.retry_budget_floor_per_s * (now_s - self.tokens_at_s)
        if tokens > min(settings.retry_budget_tokens_max, most) + _EPS:
            self.fail("the budget holds what was earned")

    def _check_permits(self, now_s: float) -> None:
        held = 0
        for ticket in self.breaker._probes:
            held += ticket.expires_at_s > now_s
        if held != self.round - self.judged - self.permits(now_s):
            self.fail("every permit has its probe")
