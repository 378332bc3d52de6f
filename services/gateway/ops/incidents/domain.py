"""An incident: what broke, how, whom it hurts, and who has it in hand. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from services.gateway.ops.incidents.evidence import Pair

CELL_S = 900
"""Ids name the quarter of an hour in which the cause began, so that replicas which notice it a second apart agree."""
NOTE_CHARS_MAX = 500
PERSON_CHARS_MAX = 64


class Fault(StrEnum):
    """What kind of trouble it is; each has its alert and its runbook."""

    DOWN = "down"
    SLOW = "slow"
    GRAY = "gray"
    """Some calls fail or are slow, too few to open a circuit."""
    FLAPPING = "flapping"
    CREDENTIAL = "credential"
    """Our own credential is refused."""
    OVERLOAD = "overload"
    REPLICA = "replica"
    """One of several replicas, of the caller or of the dependency."""
    SHARED = "shared"
    """What several of our processes stand on, and which is none of them, such as PostgreSQL."""


class Locus(StrEnum):
    """Where it is: in the caller, on the way, or in the dependency."""

    LOCAL = "local"
    NETWORK = "network"
    REMOTE = "remote"


ALERTS = {
    Fault.DOWN: "BreakwaterDependencyDown",
    Fault.SLOW: "BreakwaterDependencySlow",
    Fault.GRAY: "BreakwaterDependencyGray",
    Fault.FLAPPING: "BreakwaterDependencyFlapping",
    Fault.CREDENTIAL: "BreakwaterCredentialRefused",
    Fault.OVERLOAD: "BreakwaterDependencyOverloaded",
    Fault.REPLICA: "BreakwaterReplicaFailing",
    Fault.SHARED: "BreakwaterSharedDependencyDown",
}
"""The alert of each kind; its runbook is docs/runbooks/<alert>.md."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The deepest edges that fail for one reason, and what they drag along.

    `key` tells causes apart whoever looks at them: what is failing, and whether it fails or refuses our credential.
    """

    key: str
    name: str
    """What its incident is named after: what is failing, whoever suffers."""
    caller: str
    """Of the root edge; the worst hurt, where several callers fail."""
    dependency: str
    fault: Fault
    locus: Locus
    roots: tuple[Pair, ...]
    symptoms: tuple[Pair, ...] = ()
    instances: tuple[str, ...] = ()
    """The failing instances of the caller, where it is not all of them."""
    since: datetime | None = None

    @property
    def callers(self) -> tuple[str, ...]:
        return tuple(sorted({caller for caller, _ in self.roots}))

    @property
    def pairs(self) -> frozenset[Pair]:
        return frozenset((*self.roots, *self.symptoms))


_TITLES = {
    Fault.REPLICA: "one replica of {} is failing",
    Fault.SLOW: "{} is slow",
    Fault.GRAY: "{} fails now and then",
    Fault.FLAPPING: "{} is failing again and again",
    Fault.OVERLOAD: "{} is overloaded",
}


class Step(StrEnum):
    """What a person did about an incident."""

    ACKNOWLEDGED = "acknowledged"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class Action:
    """Who did what about an incident, and when; `to` and `note` of a hand-over. Added to, never altered."""

    id: str
    incident_id: str
    at: datetime
    step: Step
    actor: str
    to: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """Open until its root edges have been well for a while."""

    id: str
    cause: Cause
    opened_at: datetime
    resolved_at: datetime | None = None
    relapses: int = 0
    """How often it was well and failed again."""
    pages: int = 1
    """How often somebody was called: again when it fails anew after it was resolved."""
    failed: float = 0.0
    """Requests without an answer, counted at the outermost edges it hurts."""
    degraded: float = 0.0
    """Requests that a fallback answered, counted there."""
    journeys: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    """What was changed just before, newest first: lines of the timeline."""
    owner: str = ""
    actions: tuple[Action, ...] = ()
    unknown: bool = False
    """Nobody asks its edges any more, or nobody tells of them: whether it goes on is not known, nor, where it has ended, that it
    is over."""

    @property
    def title(self) -> str:
        return self._named + (" (nobody asks any more: unknown)" if self.unknown else "")

    @property
    def _named(self) -> str:
        cause = self.cause
        if cause.fault is Fault.REPLICA and cause.instances:
            return f"{cause.caller} → {cause.dependency} fails on {_listed(cause.instances)}"
        if cause.fault is Fault.CREDENTIAL:
            return f"{cause.dependency} refuses the credential of {_listed(cause.callers)}"
        if cause.locus is Locus.LOCAL and len(cause.roots) > 1:
            return f"{cause.caller} reaches none of {_listed(sorted(dependency for _, dependency in cause.roots))}"
        return _TITLES.get(cause.fault, "{} is failing").format(cause.dependency)

    @property
    def alert(self) -> str:
        return ALERTS[self.cause.fault]

    @property
    def runbook(self) -> str:
        return f"docs/runbooks/{self.alert}.md"

    @property
    def acknowledged_by(self) -> str:
        """Who has it in hand: the last who took it or was given it."""
        return (self.actions[-1].to or self.actions[-1].actor) if self.actions else ""

    def with_actions(self, actions: Sequence[Action]) -> "Incident":
        """With these actions as well, each once, in the order of their times."""
        every = {action.id: action for action in (*self.actions, *actions)}
        return replace(self, actions=tuple(sorted(every.values(), key=lambda each: (each.at, each.id))))


def id_of(cause: Cause, since: datetime, taken: Collection[str]) -> str:
    """The same from every replica that saw it begin in the same quarter of an hour; `taken` are ids of other causes."""
    cell = datetime.fromtimestamp(since.timestamp() // CELL_S * CELL_S, UTC)
    named = f"{cause.name}-{cell:%Y%m%dT%H%M}"
    return f"{cause.name}-{cause.caller}-{cell:%Y%m%dT%H%M}" if named in taken else named


@dataclass(slots=True)
class Watch:
    """What the engine remembers of an open incident beside what it shows. Seconds are of a monotonic clock."""

    failing_s: float
    """When a root edge last failed."""
    opened_s: float
    well_s: float | None = None
    """Since when every root edge that is known is well."""


FLAPPING_RELAPSES = 2
RESOLVE_S, RESOLVE_S_MAX = 30.0, 600.0


def hold_s(incident: Incident) -> float:
    """How long its edges must be well until it is resolved: the oftener it came back, the longer."""
    return float(min(RESOLVE_S * (1 + incident.relapses) * 4 ** (incident.pages - 1), RESOLVE_S_MAX))


REOPENED_WITHIN = timedelta(seconds=CELL_S)
"""The same cause again so soon after is the same incident."""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
