"""Runbooks, as on-call reads them: the fault is made, the alert fires, what they say to press cures it, and they say when.

Not every page is executed yet; those that are stand at the end.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.calling import business, calling
from tests.support.platform import ROOT, environment, eventually

pytestmark = [pytest.mark.capability(37, 38), pytest.mark.timeout(400)]

RUNBOOKS = ROOT / "docs/runbooks"
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass
class Runbook:
    """The commands of a page."""

    name: str
    rehearse: str
    press: str
    over: str

    @classmethod
    def read(cls, name):
        """Every fenced block, by the part of the page it stands in."""
        parts = re.split(r"^## (.+)$", (RUNBOOKS / f"{name}.md").read_text(), flags=re.MULTILINE)
        blocks = {title: "\n".join(BLOCK.findall(text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
        return cls(name, *(blocks[title] for title in ("Rehearse", "Press", "Over when")))

    @property
    def named(self):
        """The lines that name caller and dependency."""
        return "\n".join(line for line in self.rehearse.splitlines() if line.startswith("export "))

    @property
    def dependency(self):
        """What the alert must be about, where the page names it."""
        found = re.search(r"DEPENDENCY=(\S+)", self.named)
        return found[1] if found else None


class OnCall:
    """Pastes commands into a terminal."""

    def __init__(self, platform, watchers):
        self.platform = platform
        self.watchers = watchers

    def paste(self, runbook, commands):
        """Runs the commands, which must succeed."""
        done = self.run(runbook, commands)
        assert done.returncode == 0, f"{runbook.name}\n{commands}\n{done.stdout}\n{done.stderr}"

    def run(self, runbook, commands):
        """What the commands come to, in the project's tree."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        script = f"set -e\n{runbook.named}\n{commands}"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            env=environment(self.platform.state) | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    def fires(self, runbook):
        """Whether Prometheus fires the runbook's alert about what the page names."""
        found = self.watchers.firing(runbook.name)
        return any(runbook.dependency in {None, labels.get("dependency")} for labels in found)

    def rehearse(self, *names):
        """Makes the faults, waits for the alerts, presses what the pages say, and waits until they say it is over."""
        runbooks = [Runbook.read(name) for name in names]
        for commands in dict.fromkeys(runbook.rehearse for runbook in runbooks):
            self.paste(next(each for each in runbooks if each.rehearse == commands), commands)
        for runbook in runbooks:
            eventually(f"{runbook.name} fires", lambda each=runbook: self.fires(each), within_s=90)
        for runbook in runbooks:
            self.paste(runbook, runbook.press)
        for runbook in runbooks:
            eventually(f"{runbook.name} ends", lambda each=runbook: not self.fires(each), within_s=150)
            eventually(f"{runbook.name} says so", lambda each=runbook: self.well(each), within_s=90, every_s=1)

    def well(self, runbook):
        """Whether what the page has one look at says that it is over; an incident stays open for a while, by design."""
        done = self.run(runbook, runbook.over)
        if "breakwater check" not in runbook.over:
            return done.returncode == 0
        findings = done.stdout.partition(" - ")[2].split("; ")
        return not [each for each in findings if runbook.dependency in each and not each.startswith("incident ")]


@pytest.fixture
def oncall(breakable, watchers):
    """Leaves the platform as it was, whatever was pressed."""
    with calling(*business(breakable)):
        yield OnCall(breakable, watchers)
        breakable.cli("service", "start", "postgres", check=False)
        breakable.cli("override", "clear", "leads", check=False)


def test_what_all_stand_on_is_started(oncall):
    """PostgreSQL is out for several callers at once."""
    oncall.rehearse("BreakwaterSharedDependencyDown")


def test_what_fails_now_and_then_is_cured(oncall):
    """A tenth of the calls: too few for a circuit, enough for the alert."""
    oncall.rehearse("BreakwaterDependencyGray")
