"""What the console shows of a dependency during a drill: when on-call would see the fault, and when it is gone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from breakwater.cli.client import Api
from breakwater.cli.drills.plans import Plan
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.local import control
from breakwater.local.errors import LocalPlatformError
from breakwater.local.state import State

EVERY_S = 0.2
EDGES_MAX = 1_000
"""Edges read at a time: all of them."""


def processes(options: Options) -> dict[str, Any]:
    """Every process of the local platform by name. Raises `LocalPlatformError`."""
    told = control.ask(State.at(options.state).control_socket, "status")
    return {**told["services"], "nats": told["nats"], "postgres": told["postgres"]}


def edges(options: Options) -> list[dict[str, Any]]:
    """Every edge as the console shows it. Raises `CommandError`."""
    found: list[dict[str, Any]] = _console(options)["edges"]
    return found


def _console(options: Options) -> dict[str, Any]:
    with Api(options) as api:
        return api.get("/v1/dependencies", ops=True, limit=EDGES_MAX)


class Watch:
    """Looks again and again. Times on the monotonic clock."""

    def __init__(self, options: Options, plan: Plan) -> None:
        self._options = options
        self._plan = plan
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._errors: dict[tuple[str, str], int] = {}
        self.since_s: float | None = None
        """When the fault began; looks before it make no finding."""
        self.seen_at_s: float | None = None
        self.seen_as = ""
        self.alarm_at_s: float | None = None
        """When ops had an incident of the dependency open, which is what pages."""
        self.well_since_s: float | None = None
        """Since when process and circuits have looked well."""

    def _keep(self) -> None:
        while not self._stop.wait(EVERY_S):
            problem, alarm, well = self._look()
            now_s = time.monotonic()
            if well and self.well_since_s is None:
                self.well_since_s = now_s
            elif not well:
                self.well_since_s = None
            if problem and self.since_s is not None and self.seen_at_s is None:
                self.seen_at_s, self.seen_as = now_s, problem
            if alarm and self.since_s is not None and self.alarm_at_s is None:
                self.alarm_at_s = now_s

    def _look(self) -> tuple[str, bool, bool]:
        """What the console shows to be wrong, "" for nothing; whether an incident is open; whether all is well again.

        That the launcher knows whom it stopped is no finding.
        """
        dependency = self._plan.dependency
        try:
            state = str(processes(self._options)[dependency]["state"])
            console = _console(self._options)
        except (CommandError, LocalPlatformError) as error:
            return f"console silent: {error}", False, False
        shown = [each for each in console["edges"] if each["dependency"] == dependency]
        alarm = any(each["dependency"] == dependency for each in console["incidents"])
        troubled, failed = [], []
        for edge in shown:
            name = f"{edge['caller']} -> {dependency}"
            if edge["caller"] in self._plan.callers and edge["state"] != "closed":
                troubled.append(f"{name} {edge['state']}")
            key, count = (edge["caller"], edge["instance"]), sum(edge["errors"].values())
            if count > self._errors.get(key, count):
                failed.append(f"{name} fails")
            self._errors[key] = count
        return ", ".join(troubled or failed), alarm, state == "ready" and not troubled

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._stop.set()
        self._thread.join()


@contextmanager
def watching(options: Options, plan: Plan) -> Iterator[Watch]:
    """Looks for the time of a block."""
    watch = Watch(options, plan)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()
