"""Ten thousand rotations of a signing key, left to themselves and held to the overlap rule."""

import asyncio
import logging
import time
from typing import Final

import structlog

from tests.proofs.register import Effort, Findings, Progress
from tests.simulation.rotation import RULE, at_the_limits, at_worst, by_chance, drawn, run

SCHEDULES: Final = 10_000
REPORT_EVERY: Final = 500


def prove(effort: Effort, progress: Progress) -> Findings:
    # Each refused rotation is an error line of its own.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(_prove(effort, progress))


async def _prove(effort: Effort, progress: Progress) -> Findings:
    wanted = effort.schedules or SCHEDULES
    ends_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    figures = {
        "overlap_s": RULE.overlap_s,
        "schedules": 0,
        "flagged": 0,
        "valid_tokens_judged": 0,
        "refused_when_left_alone": 0,
        "refused_when_left_alone_and_not_flagged": 0,
        "refused_when_held_to_the_rule": 0,
        "worst_cases": 0,
        "worst_cases_where_rule_and_harm_differ": 0,
    }
    found = Findings(figures=figures, complete=False)
    for rotation in at_the_limits():
        outcome = await run(rotation, at_worst(rotation), guarded=False)
        held = await run(rotation, at_worst(rotation), guarded=True)
        figures["worst_cases"] += 1
        if held.refused:
            found.violations.append(f"worst case of {rotation}, held to the rule: {held.refused[0]}")
        if bool(outcome.refused) != bool(outcome.problems):
            figures["worst_cases_where_rule_and_harm_differ"] += 1
            found.violations.append(f"worst case of {rotation}: {outcome.problems} but {outcome.refused}")
    for seed in range(effort.seed, effort.seed + wanted):
        if time.monotonic() > ends_s:
            break
        rotation = drawn(seed)
        alone = await run(rotation, by_chance(seed, rotation), guarded=False)
        held = await run(rotation, by_chance(seed, rotation), guarded=True)
        figures["schedules"] += 1
        figures["flagged"] += bool(alone.problems)
        figures["valid_tokens_judged"] += alone.used + held.used
        figures["refused_when_left_alone"] += bool(alone.refused)
        figures["refused_when_held_to_the_rule"] += bool(held.refused)
        if alone.refused and not alone.problems:
            figures["refused_when_left_alone_and_not_flagged"] += 1
            found.violations.append(f"seed {seed}, not flagged: {alone.refused[0]}")
        if held.refused:
            found.violations.append(f"seed {seed}, held to the rule: {held.refused[0]}")
        if figures["schedules"] % REPORT_EVERY == 0:
            progress(found)
    found.complete = figures["schedules"] >= SCHEDULES
    return found
