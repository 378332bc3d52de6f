"""Two seconds to open a circuit that must open, and days at one error in a hundred in which none does."""

from typing import Final

from breakwater.resilience import PolicySettings
from tests.proofs.register import Effort, Findings, Progress
from tests.simulation.trips import DAY_H, FAULTS, LOW_RATES_PER_S, judgements, long_run, seconds_to_trip

RATE_PER_S: Final = 100.0
DAYS_AT_LOW_RATES: Final = 30
ONSETS: Final = 100
TRIP_S_MAX: Final = 2.0


def prove(effort: Effort, progress: Progress) -> Findings:
    found = Findings(complete=False)
    defaults = PolicySettings(caller="gateway", dependency="leads")
    for name, fault in FAULTS.items():
        took = [
            seconds_to_trip(defaults, rate_per_s=RATE_PER_S, healthy_s=60, latency_s=0.06, fault=fault, seed=seed)
            for seed in range(effort.seed, effort.seed + ONSETS)
        ]
        worst = max(10.0 if each is None else each for each in took)
        found.figures[name] = {"rate_per_s": RATE_PER_S, "onsets": ONSETS, "trips_within_s": round(worst, 2)}
        if worst > TRIP_S_MAX:
            found.violations.append(f"{name}: {worst:.2f} s until the circuit is open")
    progress(found)
    quiet = found.figures["no false trip at 1 % errors"] = []
    for name, edge in judgements().items():
        # At a high rate every window holds results in plenty; only edges that have such rates are shown there.
        busy = edge.calls_min >= defaults.calls_min
        for rate_per_s in (*LOW_RATES_PER_S, RATE_PER_S) if busy else LOW_RATES_PER_S:
            days = DAYS_AT_LOW_RATES if rate_per_s < RATE_PER_S else 1
            runs = [
                long_run(edge, rate_per_s=rate_per_s, hours=DAY_H, error_share=0.01, seed=effort.seed + day)
                for day in range(days)
            ]
            trips = [trip for run in runs for trip in run.trips]
            quiet.append(
                {
                    "judged_as": name,
                    "rate_per_s": rate_per_s,
                    "days": days,
                    "calls": sum(run.calls for run in runs),
                    "failed": sum(run.failed for run in runs),
                    "false_trips": len(trips),
                }
            )
            found.violations += [f"{name} at {rate_per_s:g}/s: {trip}" for trip in trips]
            progress(found)
    found.complete = True
    return found
