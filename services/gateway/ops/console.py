"""What the page and the API show: the book of edges, the incidents, the timeline, and who watches them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError, NotFoundError
from breakwater.chassis.identity import Actor
from services.gateway.ops.edges.domain import Changes, Edge, EdgeBook, Key, Report
from services.gateway.ops.edges.incidents import Incident, IncidentBook
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.timeline.domain import Entry, Kind, Verdict
from services.gateway.ops.timeline.store import Timeline

TEXT_CHARS_MAX = 1_000
DIGEST_SHOWN = len("sha256:") + 16
WATCHER_CHANGES_MAX = 256
"""Changes a slow watcher may be behind; past it, it is given everything anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened since the last one. `incidents` None: as before."""

    edges: tuple[Edge, ...] = ()
    gone: tuple[Key, ...] = ()
    incidents: tuple[Incident, ...] | None = None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A release that was switched to. `forced` is the reason where the gate had said no."""

    service: str
    version: str
    digest: str
    environment: str
    forced: str = ""


class Console:
    """The state of the ops process. Everything happens on one event loop; nothing here waits."""

    def __init__(self, timeline: Timeline, clock: Clock) -> None:
        self._timeline = timeline
        self._clock = clock
        self._book = EdgeBook()
        self._incidents = IncidentBook()
        self._last_refusal: tuple[str, float] | None = None
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        timeline.listen(lambda entry: self._tell(Change(entries=(entry,))))

    def take(self, report: Report) -> None:
        """A process reported."""
        self._follow(self._book.take(report, self._clock.monotonic()))

    def settle(self) -> None:
        """Time passed: what is silent becomes stale, what is long silent is forgotten."""
        self._follow(self._book.settle(self._clock.monotonic()))

    def edges(self) -> tuple[Edge, ...]:
        """Every edge, worst first."""
        return self._book.edges()

    def callers_of(self, dependency: str) -> frozenset[str]:
        return self._book.callers_of(dependency)

    def silent_for_s(self, process: str) -> float:
        return self._book.silent_for_s(process, self._clock.monotonic())

    def incidents(self, *, open_only: bool = False) -> tuple[Incident, ...]:
        return self._incidents.open() if open_only else self._incidents.all()

    def timeline(self, count_max: int) -> tuple[Entry, ...]:
        """The newest entries, newest first."""
        return self._timeline.entries(count_max)

    def acknowledge(self, actor: Actor, incident_id: str) -> Incident:
        """The incident, acknowledged. Raises `NotFoundError`."""
        incident = self._incidents.acknowledge(incident_id, actor.sub)
        if incident is None:
            raise NotFoundError("no open incident has this id")
        text = f"{incident.title}: acknowledged by {actor.sub}"
        self._timeline.add(Kind.INCIDENT_ACKNOWLEDGED, text, incident.dependency, actor=actor.sub)
        self._tell(Change(incidents=self._incidents.open()))
        return incident

    def override_set(self, what: OverrideOrder) -> None:
        """On the record."""
        until = what.expires_at.strftime("%H:%M:%S UTC")
        fault = f" ({what.fault.kind}, {what.fault.share:.0%})" if what.fault else ""
        text = f"{_edge_of(what)} {what.mode}{fault} by {what.actor} until {until}: {what.reason}"
        self._timeline.add(Kind.OVERRIDE_SET, text, what.dependency, actor=what.actor)

    def override_lifted(self, what: OverrideOrder) -> None:
        """On the record."""
        text = f"{_edge_of(what)}: override lifted by {what.actor}"
        self._timeline.add(Kind.OVERRIDE_LIFTED, text, what.dependency, actor=what.actor)

    def override_kept(self, what: OverrideOrder) -> None:
        """On the record."""
        text = f"{_edge_of(what)} {what.mode or 'lifted'} of {what.actor}: NATS keeps it for processes that start later"
        self._timeline.add(Kind.OVERRIDE_KEPT, text, what.dependency, actor=what.actor)

    def deployed(self, actor: Actor, what: Deployment) -> Entry:
        """On the record: from now on this release runs."""
        forced = f", past a NO: {what.forced}" if what.forced else ""
        what_runs = f"{what.service} {what.version} ({what.digest[:DIGEST_SHOWN]})"
        text = f"{what_runs} deployed to {what.environment} by {actor.sub}{forced}"
        return self._timeline.add(Kind.DEPLOYED, text[:TEXT_CHARS_MAX], what.service, actor=actor.sub)

    def replayed(self, actor: Actor, seq: int, what: str, service: str) -> None:
        """On the record: a dead letter was sent again."""
        text = f"dead letter {seq} of {service} ({what}) replayed by {actor.sub}"[:TEXT_CHARS_MAX]
        self._timeline.add(Kind.DEAD_LETTER_REPLAYED, text, service, actor=actor.sub)

    def refused(self, actor: Actor, asked: str, dependency: str, refusal: BreakwaterError) -> None:
        """On the record: somebody asked for what was not done. The same again within a second is one entry."""
        fields = "".join(f", {error.field}: {error.reason}" for error in refusal.errors)
        text = f"{asked} refused to {actor.sub} ({actor.role}): {refusal.code}{fields}"[:TEXT_CHARS_MAX]
        now_s = self._clock.monotonic()
        if self._last_refusal is None or self._last_refusal[0] != text or now_s - self._last_refusal[1] >= 1:
            self._last_refusal = (text, now_s)
            self._timeline.add(Kind.OVERRIDE_REFUSED, text, dependency, actor=actor.sub)

    async def verify_timeline(self) -> Verdict:
        """Whether what is on the record is as it was written. Raises `UnavailableError`."""
        return await self._timeline.verify()

    @contextmanager
    def watch(self) -> Iterator["Callable[[float], AsyncGenerator[Change | None]]"]:
        """A watcher for the block's time; calling it with seconds of patience yields changes, and None for a quiet time.

        Ends when the watcher fell too far behind: it has to begin again from a snapshot.
        """
        queue: asyncio.Queue[Change | None] = asyncio.Queue(WATCHER_CHANGES_MAX)
        self._watchers.add(queue)

        async def changes(patience_s: float) -> AsyncGenerator[Change | None]:
            while queue in self._watchers:
                change: Change | None = None
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        change = await queue.get()
                yield change

        try:
            yield changes
        finally:
            self._watchers.discard(queue)

    def _follow(self, changes: Changes) -> None:
        if not changes:
            return
        for moved in changes.moved:
            because = f" ({moved.reason})" if moved.reason else ""
            text = f"{moved.caller} → {moved.dependency}: {moved.old} → {moved.new}{because}"
            self._timeline.add(Kind.CIRCUIT, text, moved.dependency, at=moved.at)
        judged = self._incidents.judge(self._book.edges(), self._clock.now())
        for incident in judged:
            kind = Kind.INCIDENT_RESOLVED if incident.resolved_at else Kind.INCIDENT_OPENED
            word = "resolved" if incident.resolved_at else "opened"
            self._timeline.add(kind, f"incident {word}: {incident.title}", incident.dependency)
        incidents = self._incidents.open() if judged else None
        self._tell(Change(edges=changes.edges, gone=changes.gone, incidents=incidents))

    def _tell(self, change: Change) -> None:
        for queue in list(self._watchers):
            try:
                queue.put_nowait(change)
            except asyncio.QueueFull:
                self._watchers.discard(queue)


def _edge_of(what: OverrideOrder) -> str:
    return f"{what.caller or 'every caller'} → {what.dependency}"
