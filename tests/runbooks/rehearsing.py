"""At a terminal: the fault is made, the alert fires, what the page tells to press is pasted, and it says when it is over."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakwater.local.ports import free_port
from tests.runbooks.pages import Runbook
from tests.runbooks.register import Rehearsal
from tests.support.platform import ROOT, Platform, environment, eventually
from tests.support.watchers import Watchers

CALM_WITHIN_S = 300.0
"""What was burnt by the fault before is forgotten after 2 minutes, and a machine may be slow."""
FIRES_WITHIN_S = 150.0
ENDS_WITHIN_S = 300.0
SAYS_SO_WITHIN_S = 120.0
PASTED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Took:
    """Seconds: from the fault until the alert fired, and from the last command pressed until it had ended."""

    fires_s: float
    ends_s: float


class OnCall:
    """Pastes commands of runbooks into a terminal, in the project's tree."""

    def __init__(self, platform: Platform, watchers: Watchers) -> None:
        self._platform = platform
        self._watchers = watchers

    def rehearse(self, rehearsal: Rehearsal) -> dict[str, Took]:
        """What each runbook took. Raises `AssertionError` where one is not as it says."""
        with self._replica(rehearsal.replica_of):
            return self.follow([Runbook.read(name) for name in rehearsal.runbooks])

    def follow(self, runbooks: Sequence[Runbook], *, ends_within_s: float = ENDS_WITHIN_S) -> dict[str, Took]:
        """Makes the faults, waits for the alerts, presses what the pages say, and waits until they say it is over."""
        for each in runbooks:
            eventually(f"calm before {each.name}", lambda each=each: not self._fires(each), within_s=CALM_WITHIN_S)
        for fault in dict.fromkeys(each.fault for each in runbooks):
            self._paste(next(each for each in runbooks if each.fault == fault), fault)
        began_s = time.monotonic()
        fired = {}
        for each in runbooks:
            eventually(f"{each.name} fires", lambda each=each: self._fires(each), within_s=FIRES_WITHIN_S)
            fired[each.name] = time.monotonic() - began_s
        for each in runbooks:
            # What is refused by a platform that is ill is pressed again.
            eventually(f"{each.name}: {each.press}", lambda each=each: self._ran(each), within_s=PASTED_WITHIN_S)
        pressed_s = time.monotonic()
        took = {}
        for each in runbooks:
            eventually(f"{each.name} ends", lambda each=each: not self._fires(each), within_s=ends_within_s)
            took[each.name] = Took(round(fired[each.name], 1), round(time.monotonic() - pressed_s, 1))
        for each in runbooks:
            eventually(f"{each.name} says so", lambda each=each: self._over(each), within_s=SAYS_SO_WITHIN_S, every_s=1)
        return took

    def heal(self) -> None:
        """Leaves the platform as it was, whatever was broken and pressed."""
        away = self._platform.state / "keys/services.jwks.json.away"
        if away.exists():
            away.rename(away.with_suffix(""))
        status = self._platform.status()
        for name, process in {**status["services"], "nats": status["nats"], "postgres": status["postgres"]}.items():
            if process["state"] != "ready":
                self._platform.cli("service", "start", name, check=False)
        for dependency in {each["dependency"] for each in self._platform.status()["overrides"]}:
            self._platform.cli("override", "clear", dependency, check=False)

    def _paste(self, runbook: Runbook, commands: str) -> None:
        done = self._run(runbook, commands)
        assert done.returncode == 0, f"{runbook.name}\n{commands}\n{done.stdout}\n{done.stderr}"

    def _ran(self, runbook: Runbook) -> bool:
        assert runbook.press, f"{runbook.name} says nothing to press"
        return self._run(runbook, runbook.press).returncode == 0

    def _run(self, runbook: Runbook, commands: str) -> "subprocess.CompletedProcess[str]":
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -e\n{runbook.exports}\n{commands}"],
            cwd=ROOT,
            env=environment(self._platform.state) | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    def _fires(self, runbook: Runbook) -> bool:
        """Whether Prometheus fires the runbook's alert about what the page names."""
        found = self._watchers.firing(runbook.name)
        return any(all(labels.get(name, value) == value for name, value in runbook.labels.items()) for labels in found)

    def _over(self, runbook: Runbook) -> bool:
        """Whether what the page has one look at says that it is over; an incident stays open for a while, by design."""
        done = self._run(runbook, runbook.over)
        if "breakwater check" not in runbook.over:
            return done.returncode == 0
        findings = done.stdout.partition(" - ")[2].split("; ")
        dependency = runbook.labels.get("dependency", "edge ")
        return not [each for each in findings if dependency in each and not each.startswith("incident ")]

    @contextmanager
    def _replica(self, service: str) -> Iterator[None]:
        """A second process of a service, as its supervisor starts the first, and scraped beside it."""
        if not service:
            yield
            return
        with replica(self._platform, service) as told:
            target = f"127.0.0.1:{told['BREAKWATER_METRICS_PORT']}"
            with self._watchers.scraping(service, target):
                yield


@contextmanager
def replica(platform: Platform, service: str, told: dict[str, Any] | None = None) -> Iterator[dict[str, str]]:
    """One more process of a service for the time of a block; `told` is what it is told otherwise. Yields its environment."""
    process = Path(f"/proc/{platform.pid(service)}")
    variables = dict(pair.split("=", 1) for pair in (process / "environ").read_text().split("\0") if "=" in pair)
    taken: set[int] = set()
    for name in ("GRPC_PORT", "METRICS_PORT", "HTTP_PORT"):
        if f"BREAKWATER_{name}" in variables:
            port = free_port(taken)
            taken.add(port)
            variables[f"BREAKWATER_{name}"] = str(port)
    variables |= told or {}
    with (platform.state / f"logs/{service}-replica.log").open("wb") as log:
        command = (process / "cmdline").read_text().split("\0")[:-1]
        started = subprocess.Popen(command, env=variables, cwd=platform.state, stdout=log, stderr=log)
        try:
            yield variables
        finally:
            started.terminate()
            started.wait(timeout=30)
