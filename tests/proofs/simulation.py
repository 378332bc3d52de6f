"""A million schedules of the policy layer, every planted bug, and how often each event came in each state."""

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any, Final

from tests.proofs.register import Effort, Findings, Progress
from tests.simulation.bugs import PLANTED
from tests.simulation.scene import CALLERS_MIN, EVENTS, EVENTS_MIN
from tests.simulation.tally import Tally, first_violation, run_schedules

SCHEDULES: Final = 1_000_000
PAIR_MIN: Final = 100
_CHUNK: Final = 500
_RECORDED_EACH_S: Final = 60.0
_PLANTED_SCHEDULES: Final = 1000
"""A planted bug must be found within so many schedules: those that CI runs."""


def prove(effort: Effort, progress: Progress) -> Findings:
    wanted = effort.schedules or SCHEDULES
    bugs = find_planted_bugs()
    tally, began_s, recorded_s = Tally(), time.monotonic(), time.monotonic()
    until_s = began_s + 60 * effort.minutes if effort.minutes else float("inf")
    try:
        for part in _tallies(effort, wanted, until_s):
            tally.add(part)
            now_s = time.monotonic()
            if now_s - recorded_s >= _RECORDED_EACH_S:
                recorded_s = now_s
                findings = _findings(tally, bugs, now_s - began_s)
                findings.complete = False
                progress(findings)
                print(f"  {tally.schedules:,} of {wanted:,} schedules, {tally.violations} violations", flush=True)
    except KeyboardInterrupt:
        print("  interrupted: recorded as a part", flush=True)
    return _findings(tally, bugs, time.monotonic() - began_s)


def find_planted_bugs() -> dict[str, dict[str, Any] | None]:
    """For each planted bug the seed that finds it and the rule it breaks; None for one that is not found."""
    found: dict[str, dict[str, Any] | None] = {}
    for name, plant in PLANTED.items():
        with plant():
            violation = first_violation(range(_PLANTED_SCHEDULES))
        found[name] = violation and {"seed": violation[0], "breaks": violation[1]}
    return found


def _tallies(effort: Effort, wanted: int, until_s: float) -> Iterator[Tally]:
    """Chunks of seeds in processes of their own, each handed out when one is done."""
    chunks = (
        range(effort.seed + start, effort.seed + min(start + _CHUNK, wanted)) for start in range(0, wanted, _CHUNK)
    )
    if effort.workers == 1:
        yield from map(run_schedules, itertools.takewhile(lambda _: time.monotonic() < until_s, chunks))
        return
    with multiprocessing.get_context("spawn").Pool(effort.workers) as pool:
        running = [pool.apply_async(run_schedules, (chunk,)) for chunk in itertools.islice(chunks, 2 * effort.workers)]
        while running:
            yield running.pop(0).get()
            if time.monotonic() < until_s and (chunk := next(chunks, None)) is not None:
                running.append(pool.apply_async(run_schedules, (chunk,)))


def _findings(tally: Tally, bugs: dict[str, dict[str, Any] | None], took_s: float) -> Findings:
    rows: dict[str, dict[str, int]] = {}
    for state, event, count in tally.matrix():
        rows.setdefault(state, {})[event] = count
    least = min(tally.counts)
    violations = [f"seed {seed}: {rule}" for seed, rule in tally.violated]
    violations += [f"planted bug not found: {name}" for name, seed in bugs.items() if seed is None]
    if tally.schedules >= SCHEDULES and least < PAIR_MIN:
        violations.append(f"a pair of state and event was reached only {least} times")
    if tally.schedules and (tally.callers_least < CALLERS_MIN or tally.events_least < EVENTS_MIN):
        violations.append("a schedule had too few callers or events")
    return Findings(
        figures={
            "schedules": tally.schedules,
            "events": tally.events,
            "calls": tally.calls,
            "callers_least": tally.callers_least,
            "events_least": tally.events_least,
            "violations": tally.violations,
            "schedules_per_s": round(tally.schedules / took_s, 1) if took_s > 0 else None,
            "pairs": len(tally.counts),
            "pair_least": least,
            "pairs_below_100": sum(count < PAIR_MIN for count in tally.counts),
            "pairs_of_circuit_state": len(tally.by_state()),
            "pair_of_circuit_state_least": min(tally.by_state().values()),
            "planted_bugs": len(bugs),
            "planted_bugs_found": sum(found is not None for found in bugs.values()),
            "found_by": bugs,
            "events_by_state": {state: [row[event] for event in EVENTS] for state, row in rows.items()},
            "events_in_order": list(EVENTS),
        },
        violations=violations,
        complete=tally.schedules >= SCHEDULES,
    )
