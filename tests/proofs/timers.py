"""A million timers due while replicas are killed: none lost, none doubled, and how late they are."""

import asyncio
import os
from dataclasses import asdict
from typing import Any, Final

from tests.proofs.register import Effort, Findings, Progress
from tests.timers.place import place
from tests.timers.trial import Outcome, Plan, run

TIMERS: Final = 1_000_000
RATE_PER_S: Final = 2_500
"""How many come due in a second."""
ERROR_P99_S_MAX: Final = 1.0
KILL_EVERY_S: Final = 10.0
REPLICAS: Final = 3


def prove(effort: Effort, progress: Progress) -> Findings:
    """`SCHEDULES=` is the number of timers; `SAMPLE=` how many come due in a second."""
    return asyncio.run(_prove(effort))


async def _prove(effort: Effort) -> Findings:
    rate_per_s = effort.sample or RATE_PER_S
    timers = effort.schedules or TIMERS
    if effort.minutes:
        timers = min(timers, int(rate_per_s * 60 * effort.minutes))
    window_s = timers / rate_per_s
    plan = Plan(timers, window_s, replicas=REPLICAS, kills=max(int(window_s / KILL_EVERY_S), 2), seed=effort.seed)
    async with place() as (url, password_file, admin_dsn):
        outcome: Outcome = await run(plan, url, password_file, admin_dsn)
    figures: dict[str, Any] = {**asdict(plan), **asdict(outcome), "rate_per_s": rate_per_s, "cores": os.cpu_count()}
    found = Findings(figures=figures, violations=figures.pop("problems"), complete=timers >= TIMERS)
    if outcome.error_p99_s > ERROR_P99_S_MAX:
        found.violations.append(f"one in a hundred timers was told {outcome.error_p99_s:.2f} s late or more")
    return found
