"""Every runbook that can be rehearsed, executed as it stands on a platform of its own, with Prometheus beside it."""

import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from tests.proofs.register import Effort, Findings, Progress
from tests.runbooks.pages import Runbook
from tests.runbooks.register import EXCEPTIONS, REHEARSALS
from tests.runbooks.rehearsing import OnCall
from tests.support.calling import business, calling
from tests.support.platform import running
from tests.support.watchers import watching

PLANTED: Final = "BreakwaterCredentialRefused"
PLANTED_S: Final = 40.0
"""Its alert looks back 12 s here: one that is cured has ended long before. One that is not may fall silent between two
probes of the open circuit, and then does not say that it is over."""


def prove(effort: Effort, progress: Progress) -> Findings:
    until_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    took: dict[str, dict[str, Any]] = {}
    findings = Findings(figures={"runbooks": took, "not_rehearsed": sorted(EXCEPTIONS)})
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "state") as platform:
        place = Path(folder) / "watchers"
        place.mkdir()
        with watching(platform, place) as watchers, calling(*business(platform)):
            oncall = OnCall(platform, watchers)
            findings.figures["planted"] = _planted(oncall)
            if findings.figures["planted"] != "found":
                findings.violations.append("a page that cures nothing passes")
            for rehearsal in REHEARSALS[: effort.sample]:
                if time.monotonic() > until_s:
                    break
                print(f"  {rehearsal.name}: {', '.join(rehearsal.runbooks)}", flush=True)
                try:
                    took |= {name: asdict(each) for name, each in oncall.rehearse(rehearsal).items()}
                except AssertionError as error:
                    findings.violations.append(f"{rehearsal.name}: {error}")
                    print(f"  {error}", flush=True)
                finally:
                    oncall.heal()
                findings.complete = False
                progress(findings)
    rehearsed = {name for each in REHEARSALS for name in each.runbooks}
    findings.complete = took.keys() == rehearsed
    return findings


def _planted(oncall: OnCall) -> str:
    """A page that tells to press what cures nothing must not pass."""
    useless = replace(Runbook.read(PLANTED), press="breakwater status")
    try:
        oncall.follow([useless], ends_within_s=PLANTED_S)
    except AssertionError as error:
        noticed = any(f"{PLANTED} {sign}" in str(error) for sign in ("ends", "says so"))
        return "found" if noticed else f"not found: {error}"
    finally:
        oncall.heal()
    return "not found"
