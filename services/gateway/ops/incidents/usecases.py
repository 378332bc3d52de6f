"""Opening, following and resolving incidents, and what people do about them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.gateway.ops.edges.domain import Changes, Report
from services.gateway.ops.incidents import journeys
from services.gateway.ops.incidents.causes import WATCHER, find_causes, is_well
from services.gateway.ops.incidents.domain import (
    FLAPPING_RELAPSES,
    NOTE_CHARS_MAX,
    PERSON_CHARS_MAX,
    REOPENED_WITHIN,
    Action,
    Cause,
    Fault,
    Incident,
    Step,
    Watch,
    hold_s,
    id_of,
)
from services.gateway.ops.incidents.evidence import FADED_S, Evidence, unanswered_per_s

SETTLE_S = 3.0
"""A cause must last so long before it pages: what is deeper has time to show."""
DEEPER_WITHIN_S = 60.0
"""A deeper cause found so soon after an incident opened is the same incident, known better."""
RELAPSE_S = 5.0
UNKNOWN_S_MAX = 3_600.0
"""An incident whose edges nobody asks any more, or nobody tells of, is ended after so long."""
RESOLVED_MAX = 200
SAVE_S = 1.0
RECALLED_DAYS = 30
CHANGED_BEFORE = timedelta(minutes=30)
CHANGES_SHOWN_MAX = 5
EXPLAINED_BEFORE = timedelta(minutes=30)
"""The longest of the short windows of deploy/slo.yaml that page: a burnt budget shows in an alert for so long."""
FRONT = "gateway"
"""Where users are: what fails here is what they see."""


class Memory(Protocol):
    """Keeps incidents over a restart, and for other replicas; raises `UnavailableError` while it cannot."""

    async def load(self, resolved_after: datetime) -> Sequence[Incident]: ...

    async def save(self, incidents: Sequence[Incident], actions: Sequence[Action]) -> None: ...


class Record(Protocol):
    """The audit, and what was changed before."""

    def incident_changed(self, incident: Incident, what: str) -> None: ...

    def incident_acted_on(self, incident: Incident, action: Action) -> None: ...

    def changes_between(self, start: datetime, end: datetime, names: Collection[str]) -> tuple[str, ...]: ...


@dataclass(slots=True)
class Incidents:
    """The verbs. `judge` is called twice a second or so; what is open is judged by edges alone, never by the memory."""

    record: Record
    clock: Clock
    owners: Mapping[str, str] = field(default_factory=dict)
    """Who owns a dependency or a service, by its name."""
    unknown_s_max: float = UNKNOWN_S_MAX
    evidence: Evidence = field(default_factory=Evidence)
    _open: dict[str, Incident] = field(default_factory=dict)
    """By the key of the cause."""
    _watches: dict[str, Watch] = field(default_factory=dict)
    _resolved: list[Incident] = field(default_factory=list)
    _first_seen_s: dict[str, float] = field(default_factory=dict)
    _recalled: bool = False
    _judged_s: float | None = None
    _unsaved: dict[str, Incident] = field(default_factory=dict)
    _unsaved_actions: list[Action] = field(default_factory=list)

    def observe(self, report: Report) -> None:
        """A process reported."""
        self.evidence.take(report, self.clock.monotonic())

    def follow(self, changes: Changes) -> None:
        """What the book of edges found silent or gone."""
        for edge in changes.edges:
            if edge.stale:
                self.evidence.silence((edge.caller, edge.dependency), edge.instance)
        for caller, dependency, instance in changes.gone:
            self.evidence.forget((caller, dependency), instance)

    def judge(self) -> tuple[Incident, ...]:
        """Opens, widens and resolves; answers those of which something worth telling has changed."""
        now, now_s = self.clock.now(), self.clock.monotonic()
        self.evidence.age(now_s)
        told: list[Incident | None] = []
        failing: set[str] = set()
        causes = sorted(find_causes(self.evidence), key=lambda each: (each.since or now, each.key))
        for cause in causes:
            key = self._incident_of(cause, now_s)
            if key is None:
                told.append(self._begin(cause, now, now_s))
                failing.add(cause.key)
            else:
                failing.add(key)
                told.append(self._go_on(self._open[key], cause, now_s))
            if (key or cause.key) in self._open:
                self.evidence.account_for(cause.symptoms, now_s)
        self._first_seen_s = {
            cause.key: self._first_seen_s[cause.key] for cause in causes if cause.key in self._first_seen_s
        }
        told += [self._recover(key, now, now_s) for key in list(self._open) if key not in failing]
        self._count(now_s)
        return tuple(each for each in told if each is not None)

    def open(self) -> tuple[Incident, ...]:
        """Those that go on, the worst first: most journeys hurt, most requests lost, oldest."""
        return tuple(sorted(self._open.values(), key=lambda each: (-len(each.journeys), -each.failed, each.opened_at)))

    def failing(self) -> frozenset[str]:
        """The ids of those that failed when they were judged last; the others wait to be called well, or nobody tells of them."""
        return frozenset(
            incident.id for key, incident in self._open.items() if self._watches[key].failing_s == self._judged_s
        )

    def account_for(self, dependency: str, journey: str, since: datetime) -> bool:
        """Whether what hurts the dependency, or the journey, since then or not long before it has called somebody."""
        recent = [
            each for each in self.all() if each.resolved_at is None or each.resolved_at >= since - EXPLAINED_BEFORE
        ]
        return any(journey in each.journeys or any(dependency in pair for pair in each.cause.pairs) for each in recent)

    def all(self) -> tuple[Incident, ...]:
        """Those that go on, then the resolved ones, newest first."""
        return (*self.open(), *self._resolved)

    def get(self, incident_id: str) -> Incident:
        """Raises `NotFoundError`."""
        for incident in self.all():
            if incident.id == incident_id:
                return incident
        raise NotFoundError("no incident has this id")

    def acknowledge(self, actor: Actor, incident_id: str) -> Incident:
        """The incident, now in the actor's hand. Raises `NotFoundError`."""
        return self._act(actor, incident_id, Step.ACKNOWLEDGED)

    def hand_over(self, actor: Actor, incident_id: str, *, to: str, note: str) -> Incident:
        """The incident, now in the hand of somebody else. Raises `NotFoundError`, `InvalidRequestError`."""
        to, note = to.strip(), note.strip()
        checks = (("to", to, PERSON_CHARS_MAX), ("note", note, NOTE_CHARS_MAX))
        errors = [
            FieldError(name, f"1 to {most} characters") for name, text, most in checks if not 0 < len(text) <= most
        ]
        if errors:
            raise InvalidRequestError("the incident cannot be handed over like this", errors=errors)
        return self._act(actor, incident_id, Step.HANDED_OVER, to=to, note=note)

    async def remember(self, memory: Memory) -> None:
        """Recalls what is kept and keeps what changes, for as long as it is awaited; out, it is tried again."""
        while True:
            with suppress(UnavailableError):
                await self.settle(memory)
            await self.clock.sleep(SAVE_S)

    async def settle(self, memory: Memory) -> None:
        """Keeps what has changed and takes over what others kept. Raises `UnavailableError`."""
        now = self.clock.now()
        start = now - (REOPENED_WITHIN if self._recalled else timedelta(days=RECALLED_DAYS))
        self._recall(await memory.load(start), now)
        self._recalled = True
        saving, actions = dict(self._unsaved), tuple(self._unsaved_actions)
        if saving or actions:
            await memory.save(tuple(saving.values()), actions)
        self._unsaved = {key: each for key, each in self._unsaved.items() if saving.get(key) is not each}
        del self._unsaved_actions[: len(actions)]

    # ---- opening, going on, recovering ------------------------------------------------------------------------------

    def _begin(self, cause: Cause, now: datetime, now_s: float) -> Incident | None:
        first_s = self._first_seen_s.setdefault(cause.key, now_s)
        # Only what would be opened is held back: by time, and by another cause that accounts for it.
        dragged_along = all(self.evidence.pairs[pair].dragged_along(now_s) for pair in cause.roots)
        if now_s - first_s < SETTLE_S or dragged_along:
            return None
        since = cause.since or now
        names = {name for pair in cause.pairs for name in pair}
        changes = self.record.changes_between(since - CHANGED_BEFORE, now, names)[:CHANGES_SHOWN_MAX]
        incident = self._reopened(cause, now, changes)
        if incident is None:
            incident = Incident(
                id=id_of(cause, since, {each.id for each in self.all()}),
                cause=cause,
                opened_at=now,
                journeys=journeys.hurt(cause.pairs),
                changes=changes,
                owner=self.owners.get(cause.dependency, ""),
            )
        self._watches[cause.key] = Watch(failing_s=now_s, opened_s=now_s)
        self._put(incident)
        self.record.incident_changed(incident, "opened" if incident.pages == 1 else "opened again")
        return incident

    def _reopened(self, cause: Cause, now: datetime, changes: tuple[str, ...]) -> Incident | None:
        for number, known in enumerate(self._resolved):
            if known.cause.key == cause.key and known.resolved_at and now - known.resolved_at < REOPENED_WITHIN:
                del self._resolved[number]
                again = replace(known, cause=cause, changes=changes, resolved_at=None)
                return replace(again, relapses=known.relapses + 1, pages=known.pages + 1)
        return None

    def _incident_of(self, cause: Cause, now_s: float) -> str | None:
        """The key of the open incident that the cause belongs to; one that opened just now is known better by it."""
        if cause.key in self._open:
            return cause.key
        roots = set(cause.roots)
        for key, incident in self._open.items():
            if roots <= set(incident.cause.roots):
                return key
        for key, incident in self._open.items():
            watch = self._watches[key]
            young = now_s - watch.opened_s < DEEPER_WITHIN_S and watch.well_s is None
            # Wider: at any time. Deeper: only where it was opened a moment ago, and too high.
            if set(incident.cause.roots) <= (cause.pairs if young else roots):
                self._watches[cause.key] = self._watches.pop(key)
                self._open[cause.key] = self._open.pop(key)
                return cause.key
        return None

    def _go_on(self, incident: Incident, cause: Cause, now_s: float) -> Incident | None:
        """The incident where that is worth telling: more hurt, or known to be something else."""
        before = incident.cause
        key = cause.key if cause.key in self._open else before.key
        watch = self._watches[key]
        relapses = incident.relapses + (watch.well_s is not None and now_s - watch.well_s >= RELAPSE_S)
        watch.failing_s, watch.well_s = now_s, None
        # What it was at its widest is what it is: a root that is well before the others is not forgotten.
        kept = before.roots if set(before.roots) - set(cause.symptoms) == set(before.roots) else ()
        roots = tuple(dict.fromkeys((*cause.roots, *kept)))
        symptoms = tuple(
            pair for pair in dict.fromkeys((*cause.symptoms, *before.symptoms, *before.roots)) if pair not in roots
        )
        shape = cause if cause.key == key else before
        now_known = replace(
            shape,
            roots=roots,
            symptoms=symptoms,
            since=before.since or cause.since,
            fault=Fault.FLAPPING if relapses >= FLAPPING_RELAPSES else shape.fault,
        )
        hurt = journeys.hurt(now_known.pairs)
        after = replace(incident, cause=now_known, relapses=relapses, journeys=hurt, unknown=False)
        self._put(after)
        if (now_known.key, now_known.fault) != (before.key, before.fault):
            self.record.incident_changed(after, "is now")
        same = (now_known.key, now_known.fault, now_known.pairs, relapses, False) == (
            before.key,
            before.fault,
            before.pairs,
            incident.relapses,
            incident.unknown,
        )
        return None if same else after

    def _recover(self, key: str, now: datetime, now_s: float) -> Incident | None:
        incident, watch = self._open[key], self._watches[key]
        roots = [self.evidence.pairs[pair] for pair in incident.cause.roots if pair in self.evidence.pairs]
        # The watcher's polls need no dependency of whom they ask: where others were hurt, they have the word.
        roots = [each for each in roots if each.pair[0] != WATCHER] or roots
        states = [is_well(each) for each in roots]
        answered = any(
            state and (each.answered_s or 0.0) > watch.failing_s for each, state in zip(roots, states, strict=True)
        )
        if False in states:
            watch.failing_s, watch.well_s = now_s, None
            return None
        if not answered:
            silent_s = now_s - watch.failing_s
            if silent_s < self.unknown_s_max:
                return self._mark_unknown(incident, unknown=incident.unknown or silent_s >= FADED_S)
        elif watch.well_s is None:
            watch.well_s = now_s
            return self._mark_unknown(incident, unknown=False)
        elif now_s - watch.well_s < hold_s(incident):
            return None
        resolved = replace(incident, resolved_at=now)
        del self._open[key], self._watches[key]
        self._resolved = [resolved, *self._resolved][:RESOLVED_MAX]
        self._unsaved[resolved.id] = resolved
        self.record.incident_changed(resolved, "resolved" if answered else "ended")
        return resolved

    def _mark_unknown(self, incident: Incident, *, unknown: bool) -> Incident | None:
        if incident.unknown == unknown:
            return None
        marked = replace(incident, unknown=unknown)
        self._put(marked)
        return marked

    def _put(self, incident: Incident) -> None:
        self._open[incident.cause.key] = incident
        self._unsaved[incident.id] = incident

    def _count(self, now_s: float) -> None:
        """What the present second costs users, at the outermost edges: gateway's, where any of them is hurt."""
        passed_s, self._judged_s = now_s - (self._judged_s or now_s), now_s
        for key, incident in self._open.items():
            outermost = [pair for pair in incident.cause.pairs if pair[0] == FRONT] or incident.cause.roots
            lost = [unanswered_per_s(self.evidence.pairs, pair) for pair in outermost]
            failed, degraded = (passed_s * sum(each) for each in zip(*lost, strict=True))
            if failed or degraded:
                counted = replace(incident, failed=incident.failed + failed, degraded=incident.degraded + degraded)
                self._open[key] = self._unsaved[incident.id] = counted

    # ---- what people do ---------------------------------------------------------------------------------------------

    def _act(self, actor: Actor, incident_id: str, step: Step, *, to: str = "", note: str = "") -> Incident:
        for key, incident in self._open.items():
            if incident.id == incident_id:
                action = Action(uuid7(), incident_id, self.clock.now(), step, actor.sub, to, note)
                acted_on = incident.with_actions([action])
                self._open[key] = self._unsaved[incident_id] = acted_on
                self._unsaved_actions.append(action)
                self.record.incident_acted_on(acted_on, action)
                return acted_on
        raise NotFoundError("no open incident has this id")

    # ---- what is kept -----------------------------------------------------------------------------------------------

    def _recall(self, kept: Sequence[Incident], now: datetime) -> None:
        """Takes over what this process does not know: from before its start, and from other replicas."""
        own = {incident.id: key for key, incident in self._open.items()}
        for known in kept:
            if known.id in own:
                self._meet(own[known.id], known, now)
            elif known.resolved_at is None and known.cause.key in self._open:
                # Two replicas named one fault apart, cut off from each other: the name that was kept first stays.
                key = known.cause.key
                renamed = replace(self._open[key], id=known.id, opened_at=known.opened_at).with_actions(known.actions)
                self._unsaved.pop(self._open[key].id, None)
                self._open[key] = self._unsaved[known.id] = renamed
            elif known.resolved_at is None and all(each.id != known.id for each in self._resolved):
                # Whether it goes on, the edges must tell: until they do it stays open.
                now_s = self.clock.monotonic()
                self._open[known.cause.key] = known
                self._watches[known.cause.key] = Watch(failing_s=now_s, opened_s=now_s - DEEPER_WITHIN_S)
            elif known.resolved_at is not None:
                others = [each for each in self._resolved if each.id != known.id]
                self._resolved = sorted((known, *others), key=_resolved_at, reverse=True)[:RESOLVED_MAX]

    def _meet(self, key: str, known: Incident, now: datetime) -> None:
        """What another replica says of an incident that is open here as well."""
        failed_ago_s = self.clock.monotonic() - self._watches[key].failing_s
        if known.resolved_at is not None and (now - known.resolved_at).total_seconds() < failed_ago_s:
            del self._open[key], self._watches[key]
            self._resolved = [known, *self._resolved][:RESOLVED_MAX]
        else:
            self._open[key] = self._open[key].with_actions(known.actions)


def _resolved_at(incident: Incident) -> datetime:
    return incident.resolved_at or incident.opened_at
