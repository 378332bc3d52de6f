"""Playbooks 预案: what was agreed upon in calm, to be done in an outage. What holds, what a run did, in words. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.gateway.ops.edges.domain import Circuit, Edge
from services.gateway.ops.overrides.domain import CHAOS


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """What a trigger looks at."""

    id: str
    alert: str
    dependency: str
    failing: bool = True
    """At this moment; not while it waits to be called well, or nobody tells of its edges, as while they are held open."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at a moment. `dead_letters` None: not known, as while NATS is down."""

    edges: tuple[Edge, ...]
    incidents: tuple[OpenIncident, ...]
    dead_letters: int | None

    def edges_to(self, dependency: str, caller: str) -> tuple[Edge, ...]:
        """The edges of one caller, or of every caller where none is named; what is silent is not known."""
        return tuple(
            edge
            for edge in self.edges
            if edge.dependency == dependency and (not caller or edge.caller == caller) and not edge.stale
        )


@dataclass(frozen=True, slots=True)
class IncidentOpen:
    """An incident of this alert, on this dependency, is open."""

    alert: str
    dependency: str

    def __str__(self) -> str:
        return f"an incident {self.alert} of {self.dependency} is open"

    def holds(self, situation: Situation) -> bool:
        return any(self.means(each) for each in situation.incidents)

    def means(self, incident: OpenIncident) -> bool:
        return (incident.alert, incident.dependency) == (self.alert, self.dependency)


@dataclass(frozen=True, slots=True)
class CircuitIs:
    """Every replica's circuit of the edge has this state; `not-closed`: open or half-open on one of them."""

    caller: str
    dependency: str
    state: str

    def __str__(self) -> str:
        return f"the circuit {self.caller} → {self.dependency} is {self.state}"

    def holds(self, situation: Situation) -> bool:
        edges = situation.edges_to(self.dependency, self.caller)
        if self.state == "not-closed":
            return any(edge.state is not Circuit.CLOSED for edge in edges)
        return bool(edges) and all(edge.state.value == self.state for edge in edges)


@dataclass(frozen=True, slots=True)
class NotOverridden:
    """Nobody has overridden the edge: what a person decided is not overruled. Chaos is a fault, and may be mitigated."""

    dependency: str
    caller: str

    def __str__(self) -> str:
        return f"nobody has overridden {self.caller or 'any caller'} → {self.dependency}"

    def holds(self, situation: Situation) -> bool:
        edges = situation.edges_to(self.dependency, self.caller)
        return bool(edges) and all(edge.override is None or edge.override.mode == CHAOS for edge in edges)


@dataclass(frozen=True, slots=True)
class Overridden:
    """Every replica of the caller shows the override."""

    dependency: str
    caller: str
    mode: str

    def __str__(self) -> str:
        return f"{self.caller or 'every caller'} → {self.dependency} shows {self.mode}"

    def holds(self, situation: Situation) -> bool:
        edges = situation.edges_to(self.dependency, self.caller)
        return bool(edges) and all(edge.override is not None and edge.override.mode == self.mode for edge in edges)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """So many dead letters wait."""

    least: int
    most: int

    def __str__(self) -> str:
        if self.most == 0:
            return "no dead letter waits"
        return f"{self.least} dead letters or more wait"

    def holds(self, situation: Situation) -> bool:
        return situation.dead_letters is not None and self.least <= situation.dead_letters <= self.most


Condition = IncidentOpen | CircuitIs | NotOverridden | Overridden | DeadLetters


@dataclass(frozen=True, slots=True)
class Lay:
    """Lays an override; undone by lifting it."""

    dependency: str
    caller: str
    mode: str
    ttl_s: float

    def __str__(self) -> str:
        edge = f"{self.caller or 'every caller'} → {self.dependency}"
        return f"override {edge}: {self.mode} for {self.ttl_s:g} s"


@dataclass(frozen=True, slots=True)
class Lift:
    """Lifts an override."""

    dependency: str
    caller: str

    def __str__(self) -> str:
        return f"lift the override of {self.caller or 'every caller'} → {self.dependency}"


@dataclass(frozen=True, slots=True)
class Replay:
    """Sends dead letters again, the oldest first."""

    letters_max: int

    def __str__(self) -> str:
        return f"send the dead letters again, {self.letters_max} at most"


@dataclass(frozen=True, slots=True)
class Notify:
    """Tells on-call, by the ways that alarms go. On its way is done: who took it stands on the timeline."""

    text: str

    def __str__(self) -> str:
        return f"tell on-call: {self.text}"


@dataclass(frozen=True, slots=True)
class RollBack:
    """Takes back what the run has laid until here, as a run that fails does by itself."""

    def __str__(self) -> str:
        return "take back what this run has laid"


@dataclass(frozen=True, slots=True)
class Command:
    """What needs the tree or the supervisor: `deploy-pin`, `gate` or `restart` of a service."""

    what: str
    service: str

    def __str__(self) -> str:
        says = {"deploy-pin": "deploy the pin of", "gate": "run the gate for", "restart": "restart"}
        return f"{says[self.what]} {self.service}"


@dataclass(frozen=True, slots=True)
class Verify:
    """Waits until all of it holds, and has held for `hold_s`; the run fails when that is not so in time."""

    within_s: float
    conditions: tuple[Condition, ...]
    hold_s: float = 0.0

    def __str__(self) -> str:
        lasting = f", for {self.hold_s:g} s" if self.hold_s else ""
        return f"see within {self.within_s:g} s that {', '.join(str(each) for each in self.conditions)}{lasting}"


Step = Lay | Lift | Replay | Notify | RollBack | Command | Verify


@dataclass(frozen=True, slots=True)
class Playbook:
    """One file of deploy/playbooks."""

    name: str
    title: str
    why: str
    trigger: IncidentOpen | None
    """What it is for: offered then, and where it is automatic started."""
    automatic: bool
    for_s: float
    """How long the trigger's incident must have failed before it starts by itself."""
    pause_s: float
    """How long it does not start by itself after a run."""
    role: str
    """oncall or sre: who may press it; an sre may all."""
    preconditions: tuple[Condition, ...]
    steps: tuple[Step, ...]
    verify: Verify

    @property
    def required(self) -> tuple[Condition, ...]:
        """The preconditions, and that it overrules nobody."""
        laid = [NotOverridden(step.dependency, step.caller) for step in self.steps if isinstance(step, Lay)]
        return (*self.preconditions, *laid)

    @property
    def counts_letters(self) -> bool:
        """Whether a situation without the number of dead letters is of no use to it."""
        verifies = [step for step in (*self.steps, self.verify) if isinstance(step, Verify)]
        conditions = [*self.preconditions, *(each for verify in verifies for each in verify.conditions)]
        return any(isinstance(each, DeadLetters) for each in conditions)


class Outcome(StrEnum):
    """What a run came to."""

    RUNNING = "running"
    DONE = "done"
    """Verified."""
    ROLLED_BACK = "rolled_back"
    """A step or the verification failed; what could be undone is undone."""
    FAILED = "failed"
    """The same, and there was nothing to undo, or it could not be undone."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `lines` say what was done, in order."""

    id: str
    playbook: str
    actor: str
    reason: str
    started_at: datetime
    incident_id: str = ""
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.RUNNING
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now; `unmet` says why it would be refused."""

    unmet: tuple[str, ...]
    lines: tuple[str, ...]


def preview(playbook: Playbook, situation: Situation) -> Preview:
    """Every step with the edges it would touch, what undoes it, and what does not hold."""
    unmet = tuple(f"not so: {each}" for each in playbook.required if not each.holds(situation))
    lines = [f"{number}. {_told(step, situation)}" for number, step in enumerate(playbook.steps, 1)]
    lines.append(f"{len(lines) + 1}. {playbook.verify}")
    undone = [
        f"lift {step.caller or 'every caller'} → {step.dependency}" for step in playbook.steps if isinstance(step, Lay)
    ]
    lines.append(f"else: {', '.join(undone)}" if undone else "else: nothing can be undone, somebody is needed")
    return Preview(unmet, tuple(lines))


def _told(step: Step, situation: Situation) -> str:
    if isinstance(step, Lay):
        edges = situation.edges_to(step.dependency, step.caller)
        touched = sorted({f"{edge.caller} ({edge.state.value}, {edge.rate_per_s:.1f}/s)" for edge in edges})
        return f"{step}; now {', '.join(touched) or 'no such edge'}"
    if isinstance(step, Replay):
        known = "unknown" if situation.dead_letters is None else situation.dead_letters
        return f"{step}; waiting: {known}"
    return str(step)


@dataclass(slots=True)
class Watch:
    """Since when what each automatic playbook is for has failed, and when it last ran. Seconds of a monotonic clock."""

    _since_s: dict[str, float] = field(default_factory=dict)
    _ran_s: dict[str, float] = field(default_factory=dict)

    def due(
        self, playbooks: Mapping[str, Playbook], incidents: Collection[OpenIncident], now_s: float
    ) -> list[Playbook]:
        """The automatic playbooks whose trigger has failed long enough, and that have not run for a while."""
        failing = [each for each in incidents if each.failing]
        found = []
        for name, playbook in playbooks.items():
            trigger = playbook.trigger
            if not playbook.automatic or trigger is None or not any(trigger.means(each) for each in failing):
                self._since_s.pop(name, None)
                continue
            since_s = self._since_s.setdefault(name, now_s)
            rested = now_s - self._ran_s.get(name, float("-inf")) >= playbook.pause_s
            if now_s - since_s >= playbook.for_s and rested:
                found.append(playbook)
        return found

    def ran(self, name: str, now_s: float) -> None:
        """It ran, or was refused: both are not tried again at once."""
        self._ran_s[name] = now_s


def incident_of(playbook: Playbook, situation: Situation) -> str:
    """The id of the open incident that the playbook is for; empty where there is none."""
    trigger = playbook.trigger
    return next((each.id for each in situation.incidents if trigger is not None and trigger.means(each)), "")
