"""Every edge of the graph under every class of fault: the cause named first, one page for each, and none in a quiet day."""

import itertools
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import structlog

from tests.proofs.register import Effort, Findings, Progress
from tests.rootcause.bugs import PLANTED
from tests.rootcause.cases import every_case
from tests.rootcause.trial import Verdict, quiet, run

FAULTS_MIN: Final = 200
RIGHT_SHARE_MIN: Final = 0.95
QUIET_H: Final = 24
QUIET_STRETCHES: Final = 8
"""The quiet day is run in so many parts, each by a worker from a seed of its own."""
RECORDED_EVERY: Final = 5


def prove(effort: Effort, progress: Progress) -> Findings:
    _be_quiet()
    cases = every_case(effort.seed)[: effort.sample]
    until_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    hours = QUIET_H / QUIET_STRETCHES if effort.sample is None else 0.1
    jobs: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]] = itertools.chain(
        ((_bug, (name,)) for name in PLANTED),
        ((_case, (effort.seed, index)) for index in range(len(cases))),
        ((_quiet, (effort.seed + number, hours)) for number in range(QUIET_STRETCHES)),
    )
    done: list[Any] = []
    try:
        for number, result in enumerate(_results(jobs, effort.workers, until_s)):
            done.append(result)
            if number % RECORDED_EVERY == 0:
                findings = _findings(done, len(cases))
                findings.complete = False
                progress(findings)
    except KeyboardInterrupt:
        print("  interrupted: recorded as a part", flush=True)
    return _findings(done, len(cases))


def _results(jobs: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]], workers: int, until_s: float) -> Iterator[Any]:
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_be_quiet) as pool:
        running = [pool.apply_async(*job) for job in itertools.islice(jobs, 2 * workers)]
        while running:
            yield running.pop(0).get()
            if time.monotonic() < until_s and (job := next(jobs, None)) is not None:
                running.append(pool.apply_async(*job))


def _be_quiet() -> None:
    # Each change of a circuit is a line of its own.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _case(seed: int, index: int) -> tuple[str, str, Verdict]:
    case = every_case(seed)[index]
    return "case", case.kind, run(case.seed, case.make)


def _quiet(seed: int, hours: float) -> tuple[str, float, dict[str, Any]]:
    return "quiet", hours, quiet(seed, hours)


def _bug(name: str) -> tuple[str, str, str]:
    return "bug", name, PLANTED[name]()


def _findings(done: list[Any], wanted: int) -> Findings:
    cases = [(kind, verdict) for what, kind, verdict in done if what == "case"]
    stretches = [(hours, found) for what, hours, found in done if what == "quiet"]
    bugs = {name: how for what, name, how in done if what == "bug"}
    faults = sum(len(verdict.faults) for _, verdict in cases)
    right = sum(verdict.first_right for _, verdict in cases)
    violations = [f"planted bug not found: {name}" for name, how in bugs.items() if not how]
    violations += [f"a page in a quiet hour: {page}" for _, found in stretches for page in found["pages"]]
    share = right / len(cases) if cases else 0.0
    if len(cases) == wanted and share < RIGHT_SHARE_MIN:
        violations.append(f"the right cause is named first in {share:.1%} only")
    hours = sum(hours for hours, _ in stretches)
    missed = [(kind, verdict) for kind, verdict in cases if not verdict.well]
    pages_wrong = [verdict for _, verdict in cases if not verdict.one_page_each]
    if len(cases) == wanted and len(pages_wrong) > (1 - RIGHT_SHARE_MIN) * len(cases):
        violations.append(f"{len(pages_wrong)} of {len(cases)} trials had more or fewer pages than faults")
    return Findings(
        figures={
            "trials": len(cases),
            "trials_wanted": wanted,
            "faults": faults,
            "right_cause_first": right,
            "right_cause_first_share": round(share, 4),
            "one_page_each": len(cases) - len(pages_wrong),
            "named_while_all_lasted": sum(verdict.at_once for _, verdict in cases),
            "same_ids_from_both_replicas": sum(verdict.same_ids for _, verdict in cases),
            "resolved_after_the_cure": sum(verdict.resolved for _, verdict in cases),
            "by_class": {kind: _of_class([v for k, v in cases if k == kind]) for kind in sorted({k for k, _ in cases})},
            "quiet_hours": round(hours, 2),
            "quiet_calls": sum(found["calls"] for _, found in stretches),
            "quiet_errors": sum(found["errors"] for _, found in stretches),
            "quiet_pages": sum(len(found["pages"]) for _, found in stretches),
            "planted_bugs": len(bugs),
            "planted_bugs_found": sum(bool(how) for how in bugs.values()),
            "found_by": bugs,
            "not_as_wanted": [_told(kind, verdict) for kind, verdict in missed],
        },
        violations=violations,
        complete=len(cases) == wanted and faults >= FAULTS_MIN and hours >= QUIET_H and len(bugs) == len(PLANTED),
    )


def _of_class(verdicts: list[Verdict]) -> dict[str, Any]:
    noticed = sorted(verdict.noticed_s for verdict in verdicts if verdict.noticed_s is not None)
    return {
        "trials": len(verdicts),
        "right_cause_first": sum(verdict.first_right for verdict in verdicts),
        "one_page_each": sum(verdict.one_page_each for verdict in verdicts),
        "noticed_s_median": noticed[len(noticed) // 2] if noticed else None,
        "noticed_s_max": noticed[-1] if noticed else None,
    }


def _told(kind: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": kind,
        "seed": verdict.seed,
        "faults": list(verdict.faults),
        "pages": verdict.named,
        "right_cause_first": verdict.first_right,
        "same_ids": verdict.same_ids,
        "resolved": verdict.resolved,
    }
