"""A million schedules of the policy layer, every planted bug, and how often each event came in each state."""

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any, Final

from tests.proofs.record import hash_of_code, read
from tests.proofs.register import Effort, Findings, Progress, proof_of
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
    """Goes on where a part of the same seed and the same code stopped."""
    wanted = effort.schedules or SCHEDULES
    bugs = find_planted_bugs()
    tally, earlier_s = _earlier_part(effort)
    began_s = recorded_s = time.monotonic()
    until_s = began_s + 60 * effort.minutes if effort.minutes else float("inf")
    try:
        for part in _tallies(effort, range(tally.schedules, wanted), until_s):
            tally.add(part)
            now_s = time.monotonic()
            if now_s - recorded_s >= _RECORDED_EACH_S:
                recorded_s = now_s
                findings = _findings(tally, bugs, earlier_s + now_s - began_s)
                findings.complete = False
                progress(findings)
                print(f"  {tally.schedules:,} of {wanted:,} schedules, {tally.violations} violations", flush=True)
    except KeyboardInterrupt:
        print("  interrupted: recorded as a part", flush=True)
    return _findings(tally, bugs, earlier_s + time.monotonic() - began_s)


def _earlier_part(effort: Effort) -> tuple[Tally, float]:
    """What a part has run already, and the seconds it took."""
    proof = proof_of("simulation")
    record = read(proof)
    if record is None or record["complete"] or (record["code"], record["seed"]) != (hash_of_code(proof), effort.seed):
        return Tally(), 0.0
    figures = record["figures"]
    tally = Tally(
        **{name: figures[name] for name in _SUMS},
        counts=[count for row in figures["events_by_state"].values() for count in row],
        violated=[(each["seed"], each["rule"]) for each in figures["violated"]],
    )
    print(f"  goes on after {tally.schedules:,} schedules", flush=True)
    return tally, figures["schedules_took_s"]


def find_planted_bugs() -> dict[str, dict[str, Any] | None]:
    """For each planted bug the seed that finds it and the rule it breaks; None for one that is not found."""
    found: dict[str, dict[str, Any] | None] = {}
    for name, plant in PLANTED.items():
        with plant():
            violation = first_violation(range(_PLANTED_SCHEDULES))
        found[name] = violation and {"seed": violation[0], "breaks": violation[1]}
    return found


def _tallies(effort: Effort, wanted: range, until_s: float) -> Iterator[Tally]:
    """Chunks of seeds in processes of their own, each handed out when one is done."""
    chunks = (
        range(effort.seed + start, effort.seed + min(start + _CHUNK, wanted.stop))
        for start in range(wanted.start, wanted.stop, _CHUNK)
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
    rows: dict[str, list[int]] = {}
    for state, _, count in tally.matrix():
        rows.setdefault(state, []).append(count)
    least = min(tally.by_state().values())
    complete = tally.schedules >= SCHEDULES
    violations = [f"seed {seed}: {rule}" for seed, rule in tally.violated]
    violations += [f"planted bug not found: {name}" for name, seed in bugs.items() if seed is None]
    if complete and least < PAIR_MIN:
        violations.append(f"a pair of state and event was reached only {least} times")
    if tally.schedules and (tally.callers_least < CALLERS_MIN or tally.events_least < EVENTS_MIN):
        violations.append("a schedule had too few callers or events")
    return Findings(
        figures={
            **{name: getattr(tally, name) for name in _SUMS},
            "schedules_took_s": round(took_s, 1),
            "schedules_per_s": round(tally.schedules / took_s, 1) if took_s > 0 else None,
            "state_event_pairs": len(tally.by_state()),
            "state_event_pair_least": least,
            "state_override_event_triples": len(tally.counts),
            "state_override_event_triples_below_100": sum(count < PAIR_MIN for count in tally.counts),
            "planted_bugs": len(bugs),
            "planted_bugs_found": sum(found is not None for found in bugs.values()),
            "found_by": bugs,
            "violated": [{"seed": seed, "rule": rule} for seed, rule in tally.violated],
            "events_in_order": list(EVENTS),
            "events_by_state": rows,
        },
        violations=violations,
        complete=complete,
    )


_SUMS: Final = ("schedules", "events", "calls", "callers_least", "events_least", "violations")
