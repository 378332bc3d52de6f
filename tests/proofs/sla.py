"""A million due times beside a count of every minute, and planted mistakes that the comparison must find."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from tests.businesstime.bugs import BUGS
from tests.businesstime.cases import CASES_A_CALENDAR, Compared, compare, rules_of
from tests.proofs.register import Effort, Findings, Progress

CASES: Final = 1_000_000
"""Compared; what is due past the oracle's window does not count."""
BUG_CALENDARS: Final = range(128)
"""The same whatever the seed: some mistakes show in one night a year only."""
_BATCH: Final = 10


def prove(effort: Effort, progress: Progress) -> Findings:
    """`SCHEDULES=` is the number of cases."""
    wanted = effort.schedules or CASES
    ends_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    found = Findings(complete=False)
    figures = found.figures = {"cases": 0, "with_pauses": 0, "stepped_by_the_second": 0, "calendars": 0, "beyond": 0}
    zones: set[str] = set()
    differences = 0
    with ProcessPoolExecutor(max_workers=effort.workers) as pool:
        for first in range(effort.seed, effort.seed + 100 * wanted, _BATCH * effort.workers):
            seeds = range(first, first + _BATCH * effort.workers)
            for seed, compared in zip(seeds, pool.map(compare, seeds, chunksize=_BATCH), strict=True):
                figures["cases"] += compared.cases
                figures["with_pauses"] += compared.with_pauses
                figures["stepped_by_the_second"] += compared.stepped
                figures["beyond"] += compared.beyond
                figures["calendars"] += 1
                zones.add(rules_of(seed)[0].zone)
                differences += compared.differences
                if compared.differences:
                    found.violations.append(f"{compared.differences} differences: {compared.first_difference}")
            progress(found)
            if figures["cases"] >= wanted or time.monotonic() > ends_s:
                break
    found.figures |= {"differences": differences, "zones": sorted(zones)}
    planted = found.figures["planted mistakes"] = {}
    for bug in BUGS:
        seen = next(_first_difference(bug), None)
        planted[bug.__name__] = "found" if seen is not None else "not found"
        if seen is None:
            found.violations.append(f"the planted mistake {bug.__name__} was not found")
    found.complete = figures["cases"] >= CASES
    return found


def _first_difference(bug: type) -> Iterator[Compared]:
    of_bug = partial(compare, count=CASES_A_CALENDAR // 4, calendar_type=bug)
    for each in BUG_CALENDARS:
        compared = of_bug(each)
        if compared.differences:
            yield compared
