"""Runs a drill: before, during and after the fault, which ends whatever happens."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from breakwater.cli.client import Api
from breakwater.cli.drills.faults import Check, Fault, terminable, uninterrupted
from breakwater.cli.drills.load import Answer, Callers, Sample, calling
from breakwater.cli.drills.plans import Plan
from breakwater.cli.drills.watch import Watch, edges, processes, watching
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.local.state import State

BEFORE_S = 5.0
"""The control group in time: the same calls before the fault."""
CALM_S = 2.0
"""Calls go on this long after all is well again."""
BRIEF_S_MIN = 2.0
"""A fault that is over sooner is called over for so long, or a quick restart would be asked nothing at all."""
AFTER_S_MAX = 60.0
FILES_S_MAX = 60.0
"""How long full files may take to be there after all is well."""
_POLL_S = 0.2
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a drill. Times on the monotonic clock, in seconds."""

    plan: Plan
    samples: list[Sample]
    began_s: float
    ended_s: float
    detected_s: float | None
    """After the beginning of the fault."""
    detected_as: str
    recovered_s: float | None
    """After the end of the fault."""
    alarm_s: float | None
    """After the beginning of the fault, until ops had an incident of the dependency open."""
    left_out: int
    exports_asked: int
    exports_whole: int
    """Those that ended with their full file, read to its end and compared with its hash."""
    shown: tuple[Check, ...]
    """By the fault itself."""
    slack_s: float
    """On top of every limit."""


def run(options: Options, plan: Plan, root: Path, *, seconds: int, rate: float, slack_s: float) -> Seen:
    """Rehearses `plan`; `root` is the checked-out tree. Raises `CommandError` on a remote platform, or one that is not well."""
    _require_local(options)
    _require_well(options, plan)
    with terminable(), plan.fault(options, root) as fault:
        return _rehearse(options, plan, fault, seconds=seconds, rate=rate, slack_s=slack_s)


def _rehearse(options: Options, plan: Plan, fault: Fault, *, seconds: int, rate: float, slack_s: float) -> Seen:
    loads = (*plan.affected, *plan.control)
    with calling(options, loads, rate) as callers, watching(options, plan) as watch:
        options.say(f"{plan.name}: {plan.says}.\nCalling for {BEFORE_S:.0f} s before the fault.")
        _wait(BEFORE_S)
        options.say("The fault begins." if plan.brief else f"The fault begins; it lasts {seconds} s.")
        began_s = watch.since_s = time.monotonic()
        with _ended(fault):
            fault.begin(seconds)
            _wait(max(0.0, began_s + BRIEF_S_MIN - time.monotonic()) if plan.brief else seconds)
        ended_s = time.monotonic()
        options.say("The fault has ended; calling until all is well.")
        recovered_s = _recovery(plan, callers, watch, ended_s)
        _wait(CALM_S)
    return Seen(
        plan,
        callers.samples,
        began_s,
        ended_s,
        detected_s=None if watch.seen_at_s is None else watch.seen_at_s - began_s,
        detected_as=watch.seen_as,
        recovered_s=recovered_s,
        alarm_s=None if watch.alarm_at_s is None else watch.alarm_at_s - began_s,
        left_out=callers.left_out,
        exports_asked=len(callers.asked),
        exports_whole=_whole(options, callers.asked),
        shown=tuple(fault.shown),
        slack_s=slack_s,
    )


def _require_local(options: Options) -> None:
    if options.gateway is not None:
        raise CommandError("A drill breaks things: it runs on the local platform only, by --state.")
    try:
        platform = json.loads(State.at(options.state).platform_file.read_bytes())
    except (OSError, ValueError):
        return  # not running: told by whoever asks it first
    for place in (platform["gateway"], platform["ops"]):
        if urlsplit(place).hostname not in _LOOPBACK:
            raise CommandError(f"A drill breaks things: it runs on loopback only, not at {place}.")


def _require_well(options: Options, plan: Plan) -> None:
    """A drill on a platform that is ill already would show its illness, and could end somebody's override."""
    ill = [f"{name} is {own['state']}" for name, own in processes(options).items() if own["state"] != "ready"]
    shown = [edge for edge in edges(options) if edge["dependency"] == plan.dependency]
    ill += [f"{edge['caller']} -> {plan.dependency} is forced: {edge['forced']}" for edge in shown if edge["forced"]]
    ill += [f"{edge['caller']} -> {plan.dependency} is {edge['state']}" for edge in shown if edge["state"] != "closed"]
    if ill:
        raise CommandError(f"The platform is not well, so a drill would show nothing: {', '.join(ill)}.")


@contextmanager
def _ended(fault: Fault) -> Iterator[None]:
    """Ends the fault whatever happens."""
    try:
        yield
    finally:
        with uninterrupted():
            fault.end()


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _recovery(plan: Plan, callers: Callers, watch: Watch, ended_s: float) -> float | None:
    """Seconds from the end of the fault until process, circuits and answers are as before; None where that takes too long.

    Answers are when the last one that was not whole is followed by a whole one of each affected load.
    """
    names = {load.name for load in plan.affected}
    while time.monotonic() - ended_s < AFTER_S_MAX:
        after = [sample for sample in callers.samples if sample.load in names and sample.began_s >= ended_s]
        bad_s = max((each.began_s for each in after if each.answer is not Answer.WHOLE), default=ended_s)
        whole = {
            name: min(
                (each.began_s + each.took_s for each in after if each.load == name and each.began_s > bad_s),
                default=None,
            )
            for name in names
        }
        ends_s = [moment for moment in whole.values() if moment is not None]
        if len(ends_s) == len(names) and watch.well_since_s is not None:
            return max(*ends_s, watch.well_since_s, ended_s) - ended_s
        _wait(_POLL_S)
    return None


def _whole(options: Options, asked: list[str]) -> int:
    """How many of the exports have their full file by now, or soon."""
    ends_s = time.monotonic() + FILES_S_MAX
    left = set(asked)
    with Api(options) as api:
        while left and time.monotonic() < ends_s:
            left -= {each for each in left if _is_whole(api, each)}
            if left:
                _wait(_POLL_S)
    return len(asked) - len(left)


def _is_whole(api: Api, export_id: str) -> bool:
    """Whether the export, or the one that supersedes it, is complete and its file is the one that was promised."""
    try:
        export = api.get(f"/v1/exports/{export_id}")
        if export.get("superseded_by"):
            export = api.get(f"/v1/exports/{export['superseded_by']}")
        if export["state"] != "completed" or export.get("degraded"):
            return False
        with api.stream(f"/v1/exports/{export['id']}/content") as answer:
            return hashlib.sha256(answer.read()).hexdigest() == str(export["sha256"])
    except CommandError:
        return False  # looked at again
