"""What retries do to the load of a dependency that fails, and whether an overload ends with its cause."""

from typing import Final

from tests.proofs.register import Effort, Findings, Progress
from tests.simulation.load import RECOVERY_S_MAX, TRIGGERS, load_at_total_failure, seconds_to_recover

SEEDS: Final = 10
HOP_MAX: Final = 1.1
THREE_HOPS_MAX: Final = 1.35
METASTABLE_WATCHED_S: Final = 300.0


def prove(effort: Effort, progress: Progress) -> Findings:
    found = Findings(complete=False)
    seeds = range(effort.seed, effort.seed + SEEDS)
    for hops, most in ((1, HOP_MAX), (3, THREE_HOPS_MAX)):
        alone = [load_at_total_failure(hops=hops, breaker=False, budget=True, seed=seed) for seed in seeds]
        whole = [load_at_total_failure(hops=hops, breaker=True, budget=True, seed=seed) for seed in seeds]
        found.figures[f"amplification over {hops} hop{'s' * (hops > 1)} at 100 % failure"] = {
            "at_most": most,
            "budget_alone": round(max(load.amplification for load in alone), 4),
            "with_breaker": round(max(load.amplification for load in whole), 4),
            "calls_of_each_run": min(load.calls for load in alone),
        }
        found.violations += [
            f"{load.amplification:.4f} x over {hops} hops" for load in (*alone, *whole) if load.amplification > most
        ]
        progress(found)
    bare = load_at_total_failure(hops=1, breaker=False, budget=False, seed=effort.seed, measured_s=10)
    found.figures["amplification without budget and breaker, one hop"] = round(bare.amplification, 3)
    for name, trigger in TRIGGERS.items():
        row = found.figures[f"seconds to recover after {name}"] = {"at_most": RECOVERY_S_MAX}
        for kind, breaker, budget in (
            ("whole", True, True), ("budget_alone", False, True), ("breaker_alone", True, False),
        ):  # fmt: skip
            took = [seconds_to_recover(trigger, breaker=breaker, budget=budget, seed=seed) for seed in seeds]
            row[kind] = None if None in took else max(each for each in took if each is not None)
            if budget and (row[kind] is None or row[kind] > RECOVERY_S_MAX):
                found.violations.append(f"{name}, {kind}: recovered after {row[kind]} s")
            progress(found)
        without = seconds_to_recover(
            trigger, breaker=False, budget=False, seed=effort.seed, watched_s=METASTABLE_WATCHED_S
        )
        row["without_budget_and_breaker"] = without
        row["watched_s"] = METASTABLE_WATCHED_S
        if without is not None:
            found.violations.append(f"{name}: the metastable case recovers by itself, so it shows nothing")
    found.complete = True
    return found
