"""Many schedules, and what they came to."""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from tests.simulation.replica import MODES, STATES
from tests.simulation.scene import EVENTS
from tests.simulation.schedule import Schedule

_COLLECTED_EACH: Final = 100
_VIOLATIONS_SHOWN_MAX: Final = 20


@dataclass
class Tally:
    """Sums over schedules; tallies of several processes add up."""

    schedules: int = 0
    events: int = 0
    calls: int = 0
    callers_least: int = 1_000_000
    events_least: int = 1_000_000
    counts: list[int] = field(default_factory=lambda: [0] * (len(STATES) * len(MODES) * len(EVENTS)))
    violations: int = 0
    violated: list[tuple[int, str]] = field(default_factory=list)
    """(seed, rule) of the first violations; `python -m tests.simulation SEED` replays one."""

    def take(self, schedule: Schedule) -> None:
        self.schedules += 1
        self.events += schedule.events
        self.calls += schedule.started
        self.callers_least = min(self.callers_least, len(schedule.callers))
        if schedule.violation is None:
            self.events_least = min(self.events_least, schedule.events)
        else:
            self.violations += 1
            self.violated.append((schedule.seed, schedule.violation))
        self.counts = [ours + its for ours, its in zip(self.counts, schedule.counts, strict=True)]

    def add(self, other: Self) -> None:
        for name in ("schedules", "events", "calls", "violations"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.callers_least = min(self.callers_least, other.callers_least)
        self.events_least = min(self.events_least, other.events_least)
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.violated = sorted(self.violated + other.violated)[:_VIOLATIONS_SHOWN_MAX]

    def matrix(self) -> Iterator[tuple[str, str, int]]:
        """(state of the circuit with the override in force, event, how often it came in that state)."""
        names = [f"{state} {mode or 'auto'}" for state in STATES for mode in MODES]
        for index, count in enumerate(self.counts):
            state, event = divmod(index, len(EVENTS))
            yield names[state], EVENTS[event], count

    def by_state(self) -> dict[tuple[str, str], int]:
        """How often each event came in each state of the circuit, whatever override was in force."""
        sums: dict[tuple[str, str], int] = {}
        for state, event, count in self.matrix():
            key = (state.split()[0], event)
            sums[key] = sums.get(key, 0) + count
        return sums


def run_schedules(seeds: Iterable[int]) -> Tally:
    """Runs one schedule of each seed. Garbage is collected between schedules and never within one: it is faster."""
    tally = Tally()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number, seed in enumerate(seeds, start=1):
            tally.take(Schedule(seed).run())
            if number % _COLLECTED_EACH == 0:
                gc.collect()
    finally:
        if collecting:
            gc.enable()
    return tally


def first_violation(seeds: Iterable[int]) -> tuple[int, str] | None:
    """(seed, rule) of the first schedule that broke a rule."""
    for seed in seeds:
        violation = Schedule(seed).run().violation
        if violation is not None:
            return seed, violation
    return None
