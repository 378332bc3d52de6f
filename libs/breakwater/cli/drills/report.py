"""What a drill showed: figures by load and phase, and whether the steady state held. Pure but for the printing."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click

from breakwater.cli.drills.faults import Check
from breakwater.cli.drills.load import DEADLINE_S, EXPORTS, Answer, Sample
from breakwater.cli.drills.plans import Degraded
from breakwater.cli.drills.run import Seen
from breakwater.cli.output import print_table

PHASES = ("before", "during", "after")
FILE_S_MAX = 5.0
"""From asking for an export to a file, whole or degraded."""
HONEST = frozenset(
    {
        "unavailable",
        "circuit_open",
        "deadline_exceeded",
        "dependency_auth",
        "overloaded",
        "pool_exhausted",
        "not_ready",
        "rate_limited",
    }
)
"""Codes that say "later": any other error of a drill is a defect."""


def phase_of(sample: Sample, seen: Seen) -> str:
    """By its beginning; a call that the fault overtook belongs to it."""
    if sample.began_s + sample.took_s < seen.began_s:
        return "before"
    return "during" if sample.began_s < seen.ended_s else "after"


def checks(seen: Seen) -> list[Check]:
    """Every part of the steady state, held or not."""
    plan = seen.plan
    affected = {load.name for load in plan.affected}
    before = [sample for sample in seen.samples if phase_of(sample, seen) == "before"]
    later = [sample for sample in seen.samples if phase_of(sample, seen) != "before"]
    control = [sample for sample in later if sample.load not in affected]
    own = [sample for sample in later if sample.load in affected]
    during = [sample for sample in own if phase_of(sample, seen) == "during"]
    # How slow the machine is, the fault apart, is told by the control group: it is allowed to everybody else, and to it
    # what it took before the fault.
    ordinary_s = _longest_s(sample for sample in before if sample.load not in affected)
    allowed_s = seen.slack_s + _longest_s(control)
    late = [
        sample
        for sample in seen.samples
        if sample.took_s > _limit_s(sample) + (allowed_s if sample.load in affected else seen.slack_s + ordinary_s)
    ]
    failed = [sample for sample in own if sample.answer is Answer.ERROR]
    may_fail = {load.name for load in plan.may_fail}
    wrong = [sample for sample in failed if not (sample.load in may_fail and sample.code in HONEST)]
    codes = Counter(f"{sample.load} {sample.code}" for sample in failed)
    degraded = sum(sample.answer is Answer.DEGRADED for sample in during)
    longest_s = _longest_s(seen.samples)
    called = {(sample.load, phase_of(sample, seen)) for sample in seen.samples}
    wanted = [(load.name, phase) for load in (*plan.affected, *plan.control) for phase in PHASES]
    missed = [f"{name} {phase}" for name, phase in wanted if (name, phase) not in called]
    return [
        *seen.shown,
        Check("called", not missed, f"{len(seen.samples)} times; missed: {', '.join(missed) or 'none'}"),
        Check(
            "before the fault",
            all(sample.answer is Answer.WHOLE for sample in before),
            f"{_ill(before)} of {len(before)} calls were not answered whole",
        ),
        Check(
            "control group", bool(control) and not _ill(control), f"{_ill(control)} of {len(control)} calls were ill"
        ),
        Check("waits", not late, f"{len(late)} calls waited too long; the longest took {longest_s:.2f} s"),
        Check("errors", not wrong, f"{len(failed)} of {len(own)} calls failed: {dict(codes) or 'none'}"),
        Check(
            "degraded answers",
            (degraded > 0) == (plan.degraded is Degraded.EXPECTED),
            f"{degraded} during the fault",
        ),
        *_files(seen),
        _detection(seen, allowed_s, harmed=bool(failed)),
        *_alarm(seen),
        Check(
            "recovered",
            seen.recovered_s is not None and seen.recovered_s <= plan.recover_s_max + allowed_s,
            "not in time" if seen.recovered_s is None else f"{seen.recovered_s:.1f} s after the fault",
        ),
    ]


def _files(seen: Seen) -> list[Check]:
    if not seen.exports_asked:
        return []
    said = f"{seen.exports_whole} of {seen.exports_asked} exports ended with their full file, read and compared"
    return [Check("full files", seen.exports_whole == seen.exports_asked, said)]


def _alarm(seen: Seen) -> list[Check]:
    if not seen.plan.alarm:
        return []
    if seen.alarm_s is None:
        return [Check("alarm", held=False, said="no incident was opened")]
    return [
        Check("alarm", held=True, said=f"after {seen.alarm_s:.1f} s ops opened an incident: {seen.plan.dependency}")
    ]


def _detection(seen: Seen, allowed_s: float, *, harmed: bool) -> Check:
    if seen.detected_s is None:
        # A restart may be over before anything was asked of it: nobody saw it because nobody felt it.
        return Check("detected", seen.plan.brief and not harmed, "never")
    said = f"after {seen.detected_s:.1f} s: {seen.detected_as}"
    return Check("detected", seen.detected_s <= seen.plan.detect_s_max + allowed_s, said)


def document(seen: Seen) -> dict[str, Any]:
    """For `--json`."""
    found = checks(seen)
    return {
        "drill": seen.plan.name,
        "says": seen.plan.says,
        "held": all(check.held for check in found),
        "fault_s": round(seen.ended_s - seen.began_s, 3),
        "time_to_detect_s": _rounded(seen.detected_s),
        "detected_as": seen.detected_as,
        "time_to_alarm_s": _rounded(seen.alarm_s),
        "time_to_recover_s": _rounded(seen.recovered_s),
        "loads": _loads(seen),
        "left_out": seen.left_out,
        "exports": {"asked": seen.exports_asked, "whole": seen.exports_whole},
        "checks": [asdict(check) for check in found],
    }


def print_report(told: dict[str, Any]) -> None:
    """A table of what callers saw, and one line for each part of the steady state."""
    print_table(
        ("LOAD", "GROUP", "PHASE", "REQUESTS", "ERRORS", "DEGRADED", "MEDIAN", "LONGEST"),
        [
            (
                each["load"],
                each["group"],
                each["phase"],
                each["requests"],
                each["errors"],
                each["degraded"],
                f"{each['median_s']:.2f} s",
                f"{each['longest_wait_s']:.2f} s",
            )
            for each in told["loads"]
        ],
    )
    click.echo("")
    for check in told["checks"]:
        took = "" if check["took_s"] is None else f" ({check['took_s']:.1f} s)"
        click.echo(f"{'held' if check['held'] else 'BROKEN'}  {check['name']}{took}: {check['said']}")
    click.echo(f"\n{told['drill']}: the steady state {'held' if told['held'] else 'did not hold'}.")


def _loads(seen: Seen) -> list[dict[str, Any]]:
    rows = []
    for group, loads in (("affected", seen.plan.affected), ("control", seen.plan.control)):
        for load in loads:
            for phase in PHASES:
                own = [each for each in seen.samples if each.load == load.name and phase_of(each, seen) == phase]
                waits = sorted(each.took_s for each in own) or [0.0]
                codes = Counter(each.code for each in own if each.answer is Answer.ERROR)
                rows.append(
                    {
                        "load": load.name,
                        "group": group,
                        "phase": phase,
                        "requests": len(own),
                        "errors": sum(codes.values()),
                        "codes": dict(codes),
                        "degraded": sum(each.answer is Answer.DEGRADED for each in own),
                        "median_s": round(waits[len(waits) // 2], 3),
                        "longest_wait_s": round(waits[-1], 3),
                    }
                )
    return rows


def _limit_s(sample: Sample) -> float:
    return FILE_S_MAX if sample.load == EXPORTS.name else DEADLINE_S


def _longest_s(samples: Iterable[Sample]) -> float:
    return max((sample.took_s for sample in samples), default=0.0)


def _ill(samples: list[Sample]) -> int:
    return sum(sample.answer is not Answer.WHOLE for sample in samples)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
