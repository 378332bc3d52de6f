"""What the page and the API show: the book of edges, the incidents, the timeline, and who watches them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from breakwater.chassis import metrics
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.identity import Actor
from services.gateway.ops.alarms.domain import Alarm, Occasion
from services.gateway.ops.alerts.domain import Alert, Changed
from services.gateway.ops.edges.domain import Changes, Edge, EdgeBook, Key, Report
from services.gateway.ops.incidents.domain import Action, Incident, Step
from services.gateway.ops.incidents.usecases import CHANGED_BEFORE, UNKNOWN_S_MAX, Incidents, Memory
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.playbooks.domain import Outcome, Playbook, Run
from services.gateway.ops.timeline.domain import Entry, Kind, Verdict
from services.gateway.ops.timeline.store import ENTRIES_MAX, Timeline

TEXT_CHARS_MAX = 1_000
DIGEST_SHOWN = len("sha256:") + 16
CHANGED = (Kind.DEPLOYED, Kind.OVERRIDE_SET, Kind.OVERRIDE_LIFTED)
"""What may have caused what comes after it."""
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
    """A release that was switched to. `forced` is the reason where the gate had said no; without it the gate said yes."""

    service: str
    version: str
    digest: str
    environment: str
    forced: str = ""


class Console:
    """The state of the ops process. Everything happens on one event loop; nothing here waits."""

    def __init__(
        self,
        timeline: Timeline,
        clock: Clock,
        owners: Mapping[str, str] | None = None,
        unknown_s_max: float = UNKNOWN_S_MAX,
    ) -> None:
        """`owners` of dependencies and services, by name; an incident of which nothing is known any more ends after
        `unknown_s_max`.
        """
        self._timeline = timeline
        self._clock = clock
        self._book = EdgeBook()
        self._incidents = Incidents(self, clock, owners or {}, unknown_s_max)
        self._last_refusal: tuple[str, float] | None = None
        self._alarmed: list[Callable[[Incident, Occasion], None]] = []
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        timeline.listen(lambda entry: self._tell(Change(entries=(entry,))))

    def take(self, report: Report) -> None:
        """A process reported."""
        changes = self._book.take(report, self._clock.monotonic())
        self._incidents.observe(report)
        self._follow(changes, judged=bool(changes.moved))

    def settle(self) -> None:
        """Time passed: what is silent becomes stale, what is long silent is forgotten."""
        self._follow(self._book.settle(self._clock.monotonic()), judged=True)

    def edges(self) -> tuple[Edge, ...]:
        """Every edge, worst first."""
        return self._book.edges()

    def unsorted_edges(self) -> Iterable[Edge]:
        """Every edge."""
        return self._book.unsorted()

    def callers_of(self, dependency: str) -> frozenset[str]:
        return self._book.callers_of(dependency)

    def silent_for_s(self, process: str) -> float:
        return self._book.silent_for_s(process, self._clock.monotonic())

    def incidents(self, *, open_only: bool = False) -> tuple[Incident, ...]:
        return self._incidents.open() if open_only else self._incidents.all()

    def failing(self) -> frozenset[str]:
        """The ids of the open incidents that fail at this moment."""
        return self._incidents.failing()

    def timeline(self, count_max: int) -> tuple[Entry, ...]:
        """The newest entries, newest first."""
        return self._timeline.entries(count_max)

    def incident(self, incident_id: str) -> Incident:
        """Raises `NotFoundError`."""
        return self._incidents.get(incident_id)

    def acknowledge(self, actor: Actor, incident_id: str) -> Incident:
        """The incident, acknowledged. Raises `NotFoundError`."""
        incident = self._incidents.acknowledge(actor, incident_id)
        self._tell(Change(incidents=self._incidents.open()))
        return incident

    def hand_over(self, actor: Actor, incident_id: str, *, to: str, note: str) -> Incident:
        """The incident, in another's hand. Raises `NotFoundError`, `InvalidRequestError`."""
        incident = self._incidents.hand_over(actor, incident_id, to=to, note=note)
        self._tell(Change(incidents=self._incidents.open()))
        return incident

    async def remember_incidents(self, memory: Memory) -> None:
        """Keeps incidents over restarts and for other replicas, for as long as it is awaited."""
        await self._incidents.remember(memory)

    def entries_of(self, incident: Incident) -> tuple[Entry, ...]:
        """What is on the record of an incident and of what it touches while it went on, oldest first."""
        names = {name for pair in incident.cause.pairs for name in pair}
        start, end = (incident.cause.since or incident.opened_at) - CHANGED_BEFORE, incident.resolved_at
        every = self._timeline.entries(ENTRIES_MAX)
        fitting = [each for each in every if each.dependency in names or incident.id in each.text]
        return tuple(each for each in reversed(fitting) if each.at >= start and (end is None or each.at <= end))

    def incident_changed(self, incident: Incident, what: str) -> None:
        """On the record."""
        ended = dict.fromkeys(("resolved", "ended"), Kind.INCIDENT_RESOLVED)
        kind = {**ended, "is now": Kind.INCIDENT_CHANGED}.get(what, Kind.INCIDENT_OPENED)
        text = f"incident {incident.id} {what}: {incident.title}"
        self._timeline.add(kind, text[:TEXT_CHARS_MAX], incident.cause.dependency)
        if kind is not Kind.INCIDENT_CHANGED:
            occasion = Occasion.RESOLVED if kind is Kind.INCIDENT_RESOLVED else Occasion.OPENED
            for listener in self._alarmed:
                listener(incident, occasion)

    def alarm(self, listener: "Callable[[Incident, Occasion], None]") -> None:
        """Hears of every incident that calls somebody, and of its end; it must return at once."""
        self._alarmed.append(listener)

    def alarm_told(self, alarm: Alarm, way: str, because: str) -> None:
        """On the record."""
        why = f", for {because}" if because else ""
        text = f"{_about(alarm)} was told to on-call by {way}{why}"
        self._timeline.add(Kind.ALARM_TOLD, text[:TEXT_CHARS_MAX], alarm.dependency)
        metrics.ALARMS.labels(way, "told").inc()

    def alarm_untold(self, alarm: Alarm, problem: str, *, final: bool) -> None:
        """On the record."""
        state = "was told to nobody and is given up" if final else "is told to nobody yet"
        text = f"{_about(alarm)} {state} ({problem})"
        self._timeline.add(Kind.ALARM_UNTOLD, text[:TEXT_CHARS_MAX], alarm.dependency)
        metrics.ALARMS.labels("", "given_up" if final else "delayed").inc()

    def incident_acted_on(self, incident: Incident, action: Action) -> None:
        """On the record."""
        handed = action.step is Step.HANDED_OVER
        kind = Kind.INCIDENT_HANDED_OVER if handed else Kind.INCIDENT_ACKNOWLEDGED
        done = (
            f"handed over to {action.to} by {action.actor}: {action.note}"
            if handed
            else f"acknowledged by {action.actor}"
        )
        text = f"incident {incident.id} {done}"
        self._timeline.add(kind, text[:TEXT_CHARS_MAX], incident.cause.dependency, actor=action.actor)

    def changes_between(self, start: datetime, end: datetime, names: Collection[str]) -> tuple[str, ...]:
        """What somebody changed about any of the names, newest first."""
        return tuple(
            each.text
            for each in self._timeline.entries(ENTRIES_MAX)
            if each.kind in CHANGED and start <= each.at <= end and each.dependency in names
        )

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
        gate = f"past a NO: {what.forced}" if what.forced else "the gate said YES"
        what_runs = f"{what.service} {what.version} ({what.digest[:DIGEST_SHOWN]})"
        text = f"{what_runs} deployed to {what.environment} by {actor.sub}, {gate}"
        return self._timeline.add(Kind.DEPLOYED, text[:TEXT_CHARS_MAX], what.service, actor=actor.sub)

    def gate_said(self, actor: Actor, service: str, environment: str, line: str) -> Entry:
        """On the record: what the compatibility gate said of a candidate that is not deployed yet."""
        text = f"the gate, asked by {actor.sub} for {environment}: {line}"
        return self._timeline.add(Kind.GATE_SAID, text[:TEXT_CHARS_MAX], service, actor=actor.sub)

    def replayed(self, actor: Actor, seq: int, what: str, service: str) -> None:
        """On the record: a dead letter was sent again."""
        text = f"dead letter {seq} of {service} ({what}) replayed by {actor.sub}"[:TEXT_CHARS_MAX]
        self._timeline.add(Kind.DEAD_LETTER_REPLAYED, text, service, actor=actor.sub)

    def incident_of(self, caller: str, dependency: str) -> str:
        """The id of the open incident that the edge is a cause or a symptom of; without a caller, any edge of the name."""
        for incident in self._incidents.open():
            pairs = incident.cause.pairs
            if (caller, dependency) in pairs or (not caller and any(dependency in pair for pair in pairs)):
                return incident.id
        return ""

    def accounts_for(self, alert: Alert) -> bool:
        """Whether an incident hurts what the alert is about, or did not long before it began."""
        return self._incidents.account_for(alert.dependency, alert.journey, alert.since)

    def alert_changed(self, what: Changed, incident_id: str) -> None:
        """On the record, beside the incident it belongs to."""
        alert = what.alert
        word = "fires" if what.firing else "was not heard of for long" if what.silent else "is over"
        belongs = f" (incident {incident_id})" if incident_id else ""
        text = f"{alert.name} {word}: {alert.summary}{belongs}"[:TEXT_CHARS_MAX]
        kind = Kind.ALERT_FIRED if what.firing else Kind.ALERT_RESOLVED
        self._timeline.add(kind, text, alert.dependency)

    def playbook_run(self, playbook: Playbook, run: Run) -> None:
        """On the record: it began, or ended with everything it did."""
        about = playbook.trigger.dependency if playbook.trigger else ""
        belongs = f" (incident {run.incident_id})" if run.incident_id else ""
        if run.outcome is Outcome.RUNNING:
            text = f"playbook {run.playbook} begun by {run.actor}{belongs}: {run.reason}"
            self._timeline.add(Kind.PLAYBOOK_BEGUN, text[:TEXT_CHARS_MAX], about, actor=run.actor)
            return
        text = f"playbook {run.playbook} {run.outcome.value}{belongs}: {'; '.join(run.lines)}"
        self._timeline.add(Kind.PLAYBOOK_ENDED, text[:TEXT_CHARS_MAX], about, actor=run.actor)

    def playbook_refused(self, playbook: Playbook, actor: str, why: str) -> None:
        """On the record: a precondition did not hold."""
        text = f"playbook {playbook.name} refused to {actor}: {why}"[:TEXT_CHARS_MAX]
        about = playbook.trigger.dependency if playbook.trigger else ""
        self._timeline.add(Kind.PLAYBOOK_REFUSED, text, about, actor=actor)

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

    def _follow(self, changes: Changes, *, judged: bool) -> None:
        for moved in changes.moved:
            because = f" ({moved.reason})" if moved.reason else ""
            text = f"{moved.caller} → {moved.dependency}: {moved.old} → {moved.new}{because}"
            self._timeline.add(Kind.CIRCUIT, text, moved.dependency, at=moved.at)
        self._incidents.follow(changes)
        told = judged and self._incidents.judge()
        if changes or told:
            incidents = self._incidents.open() if told else None
            self._tell(Change(edges=changes.edges, gone=changes.gone, incidents=incidents))

    def _tell(self, change: Change) -> None:
        for queue in list(self._watchers):
            try:
                queue.put_nowait(change)
            except asyncio.QueueFull:
                self._watchers.discard(queue)


def _edge_of(what: OverrideOrder) -> str:
    return f"{what.caller or 'every caller'} → {what.dependency}"


def _about(alarm: Alarm) -> str:
    if alarm.occasion is Occasion.NOTED:
        return f"a note of run {alarm.run_id}, of {alarm.incident_id},"
    return f"{alarm.subject.replace(':', ' ', 1)}: that it was {alarm.occasion}"
