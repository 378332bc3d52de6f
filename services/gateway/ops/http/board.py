"""`GET /ops/stream`: what the page shows, row by row. Made and encoded once a second, and at once where a circuit changed.

However many instances there are and however many look on: a frame has one row for each caller and dependency, and of a row
only the figures that changed. What cannot wait comes alone, and many rows come in parts spread over the second: summing
thousands of instances at a time would hold up the one that just failed, here and on the screen.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from sse_starlette.event import ServerSentEvent

from breakwater.chassis.clock import Clock
from services.gateway.http.answers import rfc3339_of
from services.gateway.ops.budgets.domain import Spending
from services.gateway.ops.console import Change, Console
from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.edges.domain import Circuit
from services.gateway.ops.edges.pairs import PairBook, Row
from services.gateway.ops.http.stream import event_of
from services.gateway.ops.http.views import entry_view, override_view, slo_view
from services.gateway.ops.incidents.domain import Incident

PATH = "/ops/stream"
FRAME_S = 1.0
URGENT_S = 0.05
"""What cannot wait comes no oftener: an outage changes a thousand circuits in a second."""
ROWS_MAX = 100
"""Rows of a frame beside the urgent ones."""
BACKLOGS_S = 5.0
ENTRIES_MAX = 100
FRAMES_MAX = 32
"""Frames a slow page may be behind; past it, it is given everything anew."""


class Board:
    """Watches the console and tells every page; `run` is its background work."""

    def __init__(
        self,
        console: Console,
        backlogs: BacklogBook,
        clock: Clock,
        *,
        is_wide: Callable[[str, str], bool],
        spending: Callable[[str, str], Spending | None],
    ) -> None:
        """`is_wide` tells whether the override on a dependency's edge was laid for every caller, `spending` what a caller's
        edge does to the error budget of its dependency.
        """
        self._console = console
        self._backlogs = backlogs
        self._clock = clock
        self._is_wide = is_wide
        self._spending = spending
        self._pairs = PairBook()
        self._told: dict[str, dict[str, Any]] = {}
        self._pages: set[asyncio.Queue[ServerSentEvent]] = set()

    async def run(self) -> None:
        """Makes frames for as long as it is awaited; begins anew where it fell too far behind."""
        loop = asyncio.get_running_loop()
        while True:
            with self._console.watch() as watch:
                self._begin()
                frame_at_s = urgent_at_s = backlogs_at_s = loop.time()
                waiting = _Waiting()
                async with aclosing(watch(URGENT_S)) as changes:
                    async for change in changes:
                        if change is not None:
                            self._pairs.take(change.edges, change.gone)
                            waiting.take(change)
                        now_s = loop.time()
                        due = now_s >= frame_at_s
                        urgent = now_s >= urgent_at_s and (waiting.urgent or self._pairs.urgent)
                        if not (urgent or due):
                            continue
                        with_backlogs = now_s >= backlogs_at_s
                        self._tell(waiting, ROWS_MAX if due else 0, with_backlogs=with_backlogs)
                        waiting, urgent_at_s = _Waiting(), now_s + URGENT_S
                        # Each row about once a second, however many frames that takes.
                        frame_at_s = (
                            now_s + FRAME_S * min(1, ROWS_MAX / max(1, len(self._pairs))) if due else frame_at_s
                        )
                        backlogs_at_s = now_s + BACKLOGS_S if with_backlogs else backlogs_at_s

    async def events(self) -> AsyncGenerator[ServerSentEvent]:
        """One page's stream: a snapshot, then every frame; a snapshot again where it fell behind."""
        while True:
            queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(FRAMES_MAX)
            self._pages.add(queue)
            try:
                yield event_of("snapshot", self._snapshot())
                while queue in self._pages or not queue.empty():
                    yield await queue.get()
            finally:
                self._pages.discard(queue)

    def _begin(self) -> None:
        self._pairs = PairBook()
        self._pairs.take(self._console.edges())
        self._pairs.drain()
        self._told = {_key(row): self._row(row) for row in self._pairs.rows()}
        for queue in tuple(self._pages):
            self._pages.discard(queue)
            _put(queue, event_of("again", {}))

    def _snapshot(self) -> dict[str, Any]:
        return {
            "as_of": rfc3339_of(self._clock.now()),
            "rows": self._told,
            "incidents": [_incident(each) for each in self._console.incidents(open_only=True)],
            "timeline": [entry_view(each) for each in self._console.timeline(ENTRIES_MAX)],
            "backlogs": self._waiting(),
        }

    def _tell(self, waiting: "_Waiting", rows_max: int, *, with_backlogs: bool) -> None:
        rows, gone = self._pairs.drain(rows_max)
        changed = {}
        for row in rows:
            key, now = _key(row), self._row(row)
            before = self._told.get(key, {})
            fields = {name: value for name, value in now.items() if name not in before or before[name] != value}
            if fields:
                changed[key] = fields
                self._told[key] = now
        for caller, dependency in gone:
            self._told.pop(f"{caller}>{dependency}", None)
        frame: dict[str, Any] = {"as_of": rfc3339_of(self._clock.now()), "rows": changed}
        if gone:
            frame["gone"] = [f"{caller}>{dependency}" for caller, dependency in gone]
        if waiting.entries:
            frame["timeline"] = waiting.entries
        if waiting.incidents is not None:
            frame["incidents"] = waiting.incidents
        if with_backlogs:
            frame["backlogs"] = self._waiting()
        event = event_of("frame", frame)
        for queue in tuple(self._pages):
            if not _put(queue, event):
                self._pages.discard(queue)

    def _waiting(self) -> list[dict[str, Any]]:
        return [
            {
                "process": each.process,
                "instance": each.instance,
                "figure": each.figure,
                "of": each.of,
                "value": each.value,
                "age_s": round(each.age_s, 1),
            }
            for each in self._backlogs.all(self._clock.monotonic())
        ]

    def _row(self, row: Row) -> dict[str, Any]:
        bulkhead = row.bulkhead
        return {
            "caller": row.caller,
            "dependency": row.dependency,
            "state": row.state.value if row.state else "unknown",
            "open": row.instances[Circuit.OPEN],
            "half_open": row.instances[Circuit.HALF_OPEN],
            "closed": row.instances[Circuit.CLOSED],
            "stale": row.stale,
            "override": override_view(row.forced, None if self._is_wide(row.dependency, row.caller) else row.caller),
            "forced_instances": row.forced_instances,
            "rate_per_s": round(row.rate_per_s, 1),
            "calls": row.calls,
            "errors": {kind: count for kind, count in row.errors.items() if count},
            "injected": row.injected,
            "availability": _rounded(row.availability, 5),
            "availability_first": _rounded(row.availability_first, 5),
            "error_rate": _rounded(row.error_rate, 5),
            "slow_rate": _rounded(row.slow_rate, 4),
            "p50_ms": _rounded(row.p50_ms, 1),
            "p90_ms": _rounded(row.p90_ms, 1),
            "p99_ms": _rounded(row.p99_ms, 1),
            "p99_5_ms": _rounded(row.p99_5_ms, 1),
            "retries": row.retries,
            "retry_budget_tokens": round(row.retry_budget_tokens, 1),
            "fallbacks": row.fallbacks,
            "in_use": bulkhead.in_use,
            "limit": bulkhead.limit,
            "queued": bulkhead.queued,
            "queue_max": bulkhead.queue_max,
            "next_probe_s": _rounded(row.next_probe_s, 1),
            "slo": slo_view(self._spending(row.caller, row.dependency)),
            "heard_at": rfc3339_of(row.as_of) if row.state is None else None,
        }


class _Waiting:
    """What the next frame has to tell beside rows."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.incidents: list[Any] | None = None

    @property
    def urgent(self) -> bool:
        return bool(self.entries) or self.incidents is not None

    def take(self, change: Change) -> None:
        self.entries += [entry_view(entry) for entry in change.entries]
        if change.incidents is not None:
            self.incidents = [_incident(incident) for incident in change.incidents]


def _incident(incident: Incident) -> dict[str, Any]:
    cause = incident.cause
    return {
        "id": incident.id,
        "title": incident.title,
        "fault": cause.fault.value,
        "locus": cause.locus.value,
        "caller": cause.caller,
        "dependency": cause.dependency,
        "callers": cause.callers,
        "instances": cause.instances,
        "roots": [f"{caller}>{dependency}" for caller, dependency in cause.roots],
        "symptoms": [f"{caller}>{dependency}" for caller, dependency in cause.symptoms],
        "opened_at": rfc3339_of(incident.opened_at),
        "failed": round(incident.failed),
        "degraded": round(incident.degraded),
        "journeys": incident.journeys,
        "changes": incident.changes,
        "owner": incident.owner,
        "relapses": incident.relapses,
        "acknowledged_by": incident.acknowledged_by or None,
        "alert": incident.alert,
    }


def _key(row: Row) -> str:
    return f"{row.caller}>{row.dependency}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _put(queue: "asyncio.Queue[ServerSentEvent]", event: ServerSentEvent) -> bool:
    try:
        queue.put_nowait(event)
    except asyncio.QueueFull:
        return False
    return True
