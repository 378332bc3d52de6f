"""What is known of every edge at a moment: the newest report of each process, how old it is, and what follows. Pure.

Unknown is not healthy: an edge that nobody reports any more stays in the book, marked stale (resilience.md, the on-call's
screen, 6).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

Key = tuple[str, str, str]
"""Caller, dependency, instance."""


class Circuit(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Fault:
    """What `chaos` injects; breakwater.resilience.Fault explains the fields and holds their rules."""

    kind: str
    share: float
    control_share: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    latency_s_max: float
    code: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of an edge, and the strongest place that names it."""

    value: float | bool
    origin: str


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """What one edge of one process goes by; `refused` says what was wrong with a later file."""

    caller: str
    dependency: str
    instance: str
    loaded_at: datetime
    settings: Mapping[str, Setting]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forced:
    """The override in force on an edge."""

    mode: str
    actor: str
    reason: str
    expires_at: datetime
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """Attempts in flight of the limit, and those that wait."""

    in_use: int
    limit: int
    queued: int
    queue_max: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything since the process started. `latency_counts` are answered attempts by the bounds of the report."""

    outcomes: Mapping[str, int]
    retries: int
    fallbacks: int
    latency_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a process, as it was found `age_s` before the report; `of` is a stream or a timer, or empty."""

    figure: str
    of: str
    value: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge as its caller reported it. Shares are 0 to 1 and None without calls; counts are of the rolling window."""

    caller: str
    dependency: str
    instance: str
    state: Circuit
    override: Forced | None
    availability: float | None
    error_rate: float | None
    errors: Mapping[str, int]
    rate_per_s: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    retries: int
    retry_budget_tokens: float
    bulkhead: Bulkhead
    next_probe_s: float | None
    fallbacks: int
    injected: int
    """Faults of `chaos`."""
    as_of: datetime = field(compare=False)
    """Later with every report, which changes nothing."""
    stale: bool = False
    calls: int = 0
    """Retries not counted."""
    availability_first: float | None = None
    """Of the calls, what their first attempt answered."""
    slow_rate: float | None = None
    p99_5_ms: float | None = None
    totals: Totals | None = None
    """None from a release that does not tell them."""

    @property
    def key(self) -> Key:
        return (self.caller, self.dependency, self.instance)


@dataclass(frozen=True, slots=True)
class Moved:
    """A circuit changed its state."""

    caller: str
    dependency: str
    instance: str
    old: Circuit
    new: Circuit
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What one process told of itself."""

    process: str
    instance: str
    as_of: datetime
    edges: tuple[Edge, ...]
    moved: Moved | None = None
    latency_bounds_s: tuple[float, ...] = ()
    """Of the totals of its edges; the last is infinite."""
    backlogs: tuple[Backlog, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a report or the passing of time changed."""

    edges: tuple[Edge, ...] = ()
    gone: tuple[Key, ...] = ()
    moved: tuple[Moved, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.edges or self.gone or self.moved)


@dataclass(slots=True)
class _Heard:
    process: str
    last_s: float
    as_of: datetime
    keys: set[Key] = field(default_factory=set)
    stale: bool = False


@dataclass(slots=True)
class EdgeBook:
    """The newest word on every edge. Times are seconds of a monotonic clock, passed in."""

    stale_after_s: float = 4.5
    """With the tick in which it is looked for and the way to the page, less than 5 s (resilience.md)."""
    forget_after_s: float = 3_600.0
    """A silent instance that nobody replaced is shown as unknown for so long."""
    instances_max: int = 2_000
    _edges: dict[Key, Edge] = field(default_factory=dict)
    _heard: dict[str, _Heard] = field(default_factory=dict)
    _instances: dict[str, set[str]] = field(default_factory=dict)
    """By process."""

    def take(self, report: Report, now_s: float) -> Changes:
        """Replaces what is known of the report's instance. An older report than the last one changes nothing."""
        heard = self._heard.get(report.instance)
        if heard is not None and report.as_of < heard.as_of:
            return Changes()
        if heard is None and len(self._heard) >= self.instances_max:
            return Changes()
        if heard is None:
            heard = self._heard[report.instance] = _Heard(report.process, now_s, report.as_of)
            self._instances.setdefault(report.process, set()).add(report.instance)
        heard.last_s, heard.as_of, heard.stale = now_s, report.as_of, False
        changed, moved = [], []
        for edge in report.edges:
            key = edge.key
            before = self._edges.get(key)
            if before is not None and before.state is not edge.state:
                moved.append(_move(before, edge, report))
            if before != edge:
                changed.append(edge)
            self._edges[key] = edge
            heard.keys.add(key)
        gone = self._drop_replaced(report, now_s)
        return Changes(tuple(changed), gone, tuple(moved))

    def settle(self, now_s: float) -> Changes:
        """Marks what has not been heard of for too long, and forgets it much later."""
        changed: list[Edge] = []
        gone: list[Key] = []
        for instance, heard in list(self._heard.items()):
            silent_s = now_s - heard.last_s
            if silent_s > self.forget_after_s:
                gone += self._forget(instance)
            elif silent_s > self.stale_after_s and not heard.stale:
                changed += self._mark_stale(heard)
        return Changes(tuple(changed), tuple(gone))

    def edges(self) -> tuple[Edge, ...]:
        """Every edge, worst first: not closed, then unknown, then by error rate."""
        return tuple(sorted(self._edges.values(), key=_rank))

    def unsorted(self) -> Iterable[Edge]:
        """Every edge, for who looks at each every second."""
        return self._edges.values()

    def processes(self) -> frozenset[str]:
        """The processes heard of."""
        return frozenset(heard.process for heard in self._heard.values())

    def silent_for_s(self, process: str, now_s: float) -> float:
        """How long ago any instance of the process was heard of; infinite when never."""
        instances = self._instances.get(process, ())
        return min((now_s - self._heard[each].last_s for each in instances), default=float("inf"))

    def callers_of(self, dependency: str) -> frozenset[str]:
        """The processes that have an edge to the dependency."""
        return frozenset(edge.caller for edge in self._edges.values() if edge.dependency == dependency)

    def _drop_replaced(self, report: Report, now_s: float) -> tuple[Key, ...]:
        # A restarted process reports under a new instance: its predecessor is not unknown but gone.
        replaced = [
            instance
            for instance in self._instances[report.process] - {report.instance}
            if now_s - self._heard[instance].last_s > self.stale_after_s
        ]
        return tuple(key for instance in replaced for key in self._forget(instance))

    def _forget(self, instance: str) -> set[Key]:
        heard = self._heard.pop(instance)
        self._instances[heard.process].discard(instance)
        for key in heard.keys:
            del self._edges[key]
        return heard.keys

    def _mark_stale(self, heard: _Heard) -> Iterable[Edge]:
        heard.stale = True
        for key in heard.keys:
            self._edges[key] = replace(self._edges[key], stale=True)
            yield self._edges[key]


def _move(before: Edge, edge: Edge, report: Report) -> Moved:
    told = report.moved
    if told is not None and (told.caller, told.dependency, told.new) == (edge.caller, edge.dependency, edge.state):
        return replace(told, old=before.state)
    return Moved(edge.caller, edge.dependency, edge.instance, before.state, edge.state, "", report.as_of)


def _rank(edge: Edge) -> tuple[int, float, Key]:
    badness = {Circuit.OPEN: 0, Circuit.HALF_OPEN: 1, Circuit.CLOSED: 3}[edge.state]
    return (2 if edge.stale and badness == 3 else badness, -(edge.error_rate or 0.0), edge.key)  # noqa: PLR2004
