"""Somebody who knows nothing: sees the first incident of the page, presses what stands first beside it, and counts the clicks."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, expect

from tests.runbooks.rehearsing import replica
from tests.support.browser import signed_in
from tests.support.calling import business, calling
from tests.support.platform import Platform, eventually, running

MITIGATED_S_MAX: Final = 180.0
AUTOMATIC_S_MAX: Final = 15.0
CLICKS_MAX: Final = 3
_SEEN_MS: Final = 150_000
_REHEARSAL: Final = ("--reason", "a drill of three clicks", "--ttl", "10m")


@dataclass(frozen=True)
class Found:
    """From when the fault was made until what helps was in force, and how many clicks that took."""

    seconds: float
    clicks: int
    pressed: str
    """What stood first: a playbook, a runbook, or nothing where it ran by itself."""


@dataclass(frozen=True)
class Drill:
    """One class of fault. `first` is what must stand first beside the incident; empty where a playbook starts by itself.

    A pattern where time decides what a fault looks like, and either is right.
    """

    fault: str
    inject: Callable[[Platform], Any]
    """A context manager: the fault lasts as long as its block."""
    first: str | re.Pattern[str]
    helps: Callable[[Platform], bool]
    within_s: float = MITIGATED_S_MAX
    readers: int = 4
    """Of customers, each once a second when it is answered at once: few would hardly ask what is slow."""
    by_hand: bool = False
    """What stood first was a page to read: what it tells to do ends the fault."""

    def run(self, platform: Platform) -> Found:
        """Raises `AssertionError` where the page leads elsewhere, or takes too long."""
        api = platform.api()
        exports = lambda: api.post("/v1/exports", json={"dataset": "leads", "format": "csv"})  # noqa: E731
        take_in, read, look = business(platform)
        with ExitStack() as stack:
            stack.enter_context(calling(take_in, look, exports, every_s=0.3))
            for _ in range(self.readers):
                stack.enter_context(calling(read, every_s=1.0))
            page = stack.enter_context(signed_in(platform))
            eventually("a calm page", lambda: _calm(platform), within_s=180)
            with ExitStack() as fault:
                fault.enter_context(self.inject(platform))
                began_s = time.monotonic()
                clicks, pressed = self._press(page)
                if self.by_hand:
                    fault.close()
                eventually(f"{self.fault}: what helps", lambda: self.helps(platform), within_s=self.within_s)
                seconds = round(time.monotonic() - began_s, 1)
        assert clicks <= CLICKS_MAX, f"{self.fault}: {clicks} clicks"
        most_s = MITIGATED_S_MAX if self.first else AUTOMATIC_S_MAX
        assert seconds <= most_s, f"{self.fault}: {seconds} s, {most_s} s at most"
        return Found(seconds, clicks, pressed)

    def _press(self, page: Page) -> tuple[int, str]:
        """How many clicks, and on what first."""
        if not self.first:
            return 0, ""
        first = page.locator("#incidents li.incident").first.locator(".do > *").first
        expect(first).to_contain_text(self.first, timeout=_SEEN_MS)
        pressed = first.inner_text()
        first.click()
        if not pressed.startswith("▶"):
            expect(page.locator("#runbook h2")).to_be_visible()
            return 1, pressed
        page.locator("#playbook-run").click()
        return 2, pressed


def _calm(platform: Platform) -> bool:
    return not platform.ops().get("/v1/dependencies").json()["incidents"]


def _edge(platform: Platform, caller: str, dependency: str) -> dict[str, Any]:
    edges = platform.ops().get("/v1/dependencies").json()["edges"]
    return next(e for e in edges if (e["caller"], e["dependency"]) == (caller, dependency) and not e["stale"])


def _forced(dependency: str, mode: str) -> Callable[[Platform], bool]:
    return lambda platform: _edge(platform, "gateway", dependency)["forced"] == mode


@contextmanager
def _stopped(platform: Platform, service: str) -> Iterator[None]:
    platform.cli("service", "stop", service)
    yield


@contextmanager
def _chaos(platform: Platform, dependency: str, *fault: str) -> Iterator[None]:
    platform.cli("override", "set", dependency, "--caller", "gateway", "--mode", "chaos", *fault, *_REHEARSAL)
    yield


@contextmanager
def _falling(platform: Platform, service: str) -> Iterator[None]:
    """It falls, comes back for a while, and falls again."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            platform.cli("service", "stop", service, check=False)
            over.wait(8)
            platform.cli("service", "start", service, check=False)
            over.wait(14)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _one_without_database(platform: Platform) -> Iterator[None]:
    """A second process of health that reaches no database; the runbook tells to end it, and another one is started."""
    nowhere = {"BREAKWATER_DATABASE_URL": "postgresql://health@127.0.0.1:9/breakwater"}
    with replica(platform, "health", nowhere):
        yield


def _credential_mended(platform: Platform) -> bool:
    edge = _edge(platform, "gateway", "files")
    return (
        edge["forced"] is None and edge["state"] == "closed" and _run_of(platform, "files-refuses-credential") == "done"
    )


def _replica_is_gone(platform: Platform) -> bool:
    edges = platform.ops().get("/v1/dependencies").json()["edges"]
    fresh = [e for e in edges if (e["caller"], e["dependency"]) == ("health", "postgres") and not e["stale"]]
    return len(fresh) == 1 and fresh[0]["state"] == "closed"


def _run_of(platform: Platform, playbook: str) -> str:
    items = platform.ops().get("/v1/playbooks").json()["items"]
    last = next(each["last_run"] for each in items if each["name"] == playbook)
    return last["outcome"] if last else ""


DRILLS: Final = (
    Drill("down", lambda p: _stopped(p, "files"), "▶ files is out", _forced("files", "fallback")),
    Drill(
        "slow",
        lambda p: _chaos(p, "health", "--fault", "latency", "--p50", "0.7"),
        "",
        _forced("health", "forced-open"),
        readers=20,
    ),
    Drill(
        "flapping",
        lambda p: _falling(p, "health"),
        # Its first fall is an outage like any other.
        re.compile("▶ health (is out|falls again)"),
        _forced("health", "forced-open"),
    ),
    Drill(
        "gray",
        lambda p: _chaos(p, "health", "--fault", "error", "--code", "INTERNAL", "--share", "0.2"),
        "▶ health fails now and then",
        _forced("health", "forced-open"),
    ),
    Drill("one replica", _one_without_database, "Runbook", _replica_is_gone, by_hand=True),
    Drill(
        "wrong credential", lambda p: _chaos(p, "files", "--fault", "credential"), "▶ files refuses", _credential_mended
    ),
    Drill(
        "overload",
        lambda p: _chaos(p, "health", "--fault", "error", "--code", "RESOURCE_EXHAUSTED", "--share", "0.5"),
        "▶ health is overloaded",
        _forced("health", "forced-open"),
    ),
    Drill(
        "shared dependency",
        lambda p: _stopped(p, "nats"),
        "▶ NATS is out",
        lambda p: _run_of(p, "nats-down") == "done" and _edge(p, "leads", "nats")["state"] == "closed",
    ),
)


def drill_of(fault: str) -> Drill:
    return next(each for each in DRILLS if each.fault == fault)


def run_alone(drill: Drill, folder: Path) -> Found:
    """On a platform of its own: what broke before would be ranked too."""
    with running(folder / drill.fault.replace(" ", "-")) as platform:
        return drill.run(platform)
