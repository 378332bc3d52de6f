"""The calls of a drill: few, steady, bounded, and each one told as its caller saw it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from breakwater.cli.client import Api
from breakwater.cli.errors import CommandError, RequestRefusedError
from breakwater.cli.options import Options

DEADLINE_S = 2.0
"""What each call gives the platform, by X-Request-Timeout."""
IN_FLIGHT_MAX = 8
"""Calls of one load at a time; what comes due beyond them is left out, and told."""
FILE_WAIT_S_MAX = 30.0
_POLL_S = 0.1
_WITHIN = {"X-Request-Timeout": str(DEADLINE_S)}


class Answer(StrEnum):
    """What a caller got."""

    WHOLE = "whole"
    DEGRADED = "degraded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Sample:
    """One call. Times in seconds, `began_s` on the monotonic clock."""

    load: str
    began_s: float
    took_s: float
    answer: Answer
    code: str = ""
    """Of the error."""


Call = Callable[[Api, list[str]], Answer]
"""Makes one call; the export it asks for is added to the list."""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of call, `per_s` times a second at a drill's ordinary rate."""

    name: str
    says: str
    per_s: float
    prepared: Callable[[Api, list[str]], Call]
    """Asks for what its calls need, before the first of them."""


def _leads(api: Api, _: list[str]) -> Answer:
    return _told(api.request("GET", "/v1/leads", headers=_WITHIN, params={"limit": 1}))


def _notifications(api: Api, _: list[str]) -> Answer:
    return _told(api.request("GET", "/v1/notifications", headers=_WITHIN, params={"limit": 1}))


def _console(api: Api, _: list[str]) -> Answer:
    return _told(api.get("/v1/dependencies", ops=True, limit=1))


def _export(api: Api, asked: list[str]) -> Answer:
    """The wait of a person: from asking to a file."""
    body = {"dataset": "leads", "format": "csv"}
    export = api.request("POST", "/v1/exports", headers=_WITHIN, json=body)
    asked.append(str(export["id"]))
    ends_s = time.monotonic() + FILE_WAIT_S_MAX
    while time.monotonic() < ends_s:
        seen = api.request("GET", f"/v1/exports/{export['id']}", headers=_WITHIN)
        if seen["state"] == "completed":
            return _told(seen)
        if seen["state"] == "failed":
            raise CommandError("The export failed.")
        time.sleep(_POLL_S)
    raise CommandError(f"No file within {FILE_WAIT_S_MAX:.0f} s.")


def _downloads(api: Api, asked: list[str]) -> Call:
    """What is left of one finished file, again and again: for this there is no lesser file."""
    _export(api, asked)
    path = f"/v1/exports/{asked[-1]}/content"

    def read(api: Api, _: list[str]) -> Answer:
        with api.stream(path, headers={**_WITHIN, "Range": "bytes=1-"}) as answer:
            answer.read()
            return Answer.DEGRADED if "degraded" in answer.headers else Answer.WHOLE

    return read


def _as_it_is(call: Call) -> Callable[[Api, list[str]], Call]:
    return lambda _api, _asked: call


def _told(document: dict[str, Any]) -> Answer:
    return Answer.DEGRADED if document.get("degraded") else Answer.WHOLE


LEADS = Load("leads", "one lead is listed", 4.0, _as_it_is(_leads))
NOTIFICATIONS = Load("notifications", "one notification is listed", 2.0, _as_it_is(_notifications))
CONSOLE = Load("console", "the edges are read from the ops process", 2.0, _as_it_is(_console))
EXPORTS = Load("exports", "a file of leads is asked for and waited for", 1.0, _as_it_is(_export))
DOWNLOADS = Load("downloads", "a download goes on where it broke off", 1.0, _downloads)
"""None of them writes but the last two, whose files go after their retention: a drill leaves no lead for anybody to work."""


class Callers:
    """Makes the calls of some loads until it is closed. `samples` may be read at any time."""

    def __init__(self, options: Options, loads: tuple[Load, ...], rate: float) -> None:
        self._options = options
        self._rate = rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self.left_out = 0
        self.asked: list[str] = []
        """Every export that was asked for, by its id."""
        with Api(options) as api:
            calls = [(load, load.prepared(api, self.asked)) for load in loads]
        self._threads = [threading.Thread(target=self._keep, args=each, daemon=True) for each in calls]

    @property
    def samples(self) -> list[Sample]:
        """Every call that has ended."""
        with self._lock:
            return list(self._samples)

    def _keep(self, load: Load, call: Call) -> None:
        every_s = 1 / (load.per_s * self._rate)
        due_s = time.monotonic()
        in_flight: set[Future[None]] = set()
        with ThreadPoolExecutor(IN_FLIGHT_MAX) as pool:
            while not self._stop.wait(max(0.0, due_s - time.monotonic())):
                in_flight = {each for each in in_flight if not each.done()}
                if len(in_flight) < IN_FLIGHT_MAX:
                    in_flight.add(pool.submit(self._call, load, call))
                else:
                    self.left_out += 1
                due_s += every_s

    def _call(self, load: Load, call: Call) -> None:
        began_s = time.monotonic()
        answer, code = Answer.ERROR, ""
        try:
            with Api(self._options) as api:
                answer = call(api, self.asked)
        except RequestRefusedError as error:
            code = str(error.problem.get("code") or error.status)
        except CommandError as error:
            code = type(error).__name__
        sample = Sample(load.name, began_s, time.monotonic() - began_s, answer, code)
        with self._lock:
            self._samples.append(sample)

    def start(self) -> None:
        """Begins to call."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Makes no more calls and waits for those that are under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def calling(options: Options, loads: tuple[Load, ...], rate: float) -> Iterator[Callers]:
    """Calls for the time of a block."""
    callers = Callers(options, loads, rate)
    callers.start()
    try:
        yield callers
    finally:
        callers.close()
