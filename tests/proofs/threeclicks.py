"""Every class of fault on a platform of its own: the page's first offer mitigates it in three clicks and three minutes."""

import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from tests.proofs.register import Effort, Findings, Progress
from tests.support.platform import running
from tests.threeclicks.drills import AUTOMATIC_S_MAX, CLICKS_MAX, DRILLS, MITIGATED_S_MAX, drill_of, run_alone

PLANTED: Final = "slow"


def prove(effort: Effort, progress: Progress) -> Findings:
    until_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    found: dict[str, dict[str, Any]] = {}
    limits = {"seconds": MITIGATED_S_MAX, "clicks": CLICKS_MAX, "automatic_s": AUTOMATIC_S_MAX}
    findings = Findings(figures={"faults": found, "limits": limits}, complete=False)
    with tempfile.TemporaryDirectory() as folder:
        for drill in DRILLS[: effort.sample]:
            if time.monotonic() > until_s:
                break
            try:
                found[drill.fault] = asdict(run_alone(drill, Path(folder)))
            except AssertionError as error:
                findings.violations.append(f"{drill.fault}: {error}")
            print(f"  {drill.fault}: {found.get(drill.fault) or findings.violations[-1]}", flush=True)
            progress(findings)
        findings.figures["planted"] = _planted(Path(folder))
        if findings.figures["planted"] != "found":
            findings.violations.append("a fault that nothing mitigates passes")
    findings.complete = found.keys() == {drill.fault for drill in DRILLS}
    return findings


def _planted(folder: Path) -> str:
    """A drill whose fault is mitigated by nothing in the time of an automatic playbook must not pass."""
    never = replace(drill_of(PLANTED), fault="planted", helps=lambda _: False, within_s=2 * AUTOMATIC_S_MAX)
    try:
        with running(folder / "planted") as platform:
            never.run(platform)
    except AssertionError as error:
        return "found" if "planted: what helps" in str(error) else f"not found: {error}"
    return "not found"
