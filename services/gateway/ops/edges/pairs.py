"""Edges as the page lists them: one row for each caller and dependency, its instances together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge, Forced, Key

Pair = tuple[str, str]
"""Caller and dependency."""

_WORST_FIRST = (Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED)


@dataclass(frozen=True, slots=True)
class Row:
    """A pair. Counts and rates are sums; shares are weighted by calls; percentiles are the slowest instance's.

    Silent instances count as `stale` only: their old figures are shown when no instance is heard any more.
    """

    caller: str
    dependency: str
    state: Circuit | None
    """The worst there is; None while every instance is silent: unknown is not healthy."""
    instances: Mapping[Circuit, int]
    stale: int
    forced: Forced | None
    forced_instances: int
    rate_per_s: float
    calls: int
    errors: Mapping[str, int]
    injected: int
    availability: float | None
    availability_first: float | None
    error_rate: float | None
    slow_rate: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p99_5_ms: float | None
    retries: int
    retry_budget_tokens: float
    """The lowest."""
    fallbacks: int
    bulkhead: Bulkhead
    next_probe_s: float | None
    """The soonest."""
    as_of: datetime


def row_of(edges: Sequence[Edge]) -> Row:
    """The row of a pair's edges, at least one."""
    heard = [edge for edge in edges if not edge.stale]
    shown = heard or edges
    errors: dict[str, int] = {}
    instances = dict.fromkeys(_WORST_FIRST, 0)
    forced, probes, calls, rate_per_s, injected, retries, fallbacks = [], [], 0, 0.0, 0, 0, 0
    in_use = limit = queued = queue_max = 0
    # One pass: there may be thousands of instances, each second.
    for edge in shown:
        if heard:
            instances[edge.state] += 1
        if edge.override is not None:
            forced.append(edge.override)
        if edge.next_probe_s is not None:
            probes.append(edge.next_probe_s)
        for kind, count in edge.errors.items():
            if count:
                errors[kind] = errors.get(kind, 0) + count
        calls += edge.calls
        rate_per_s += edge.rate_per_s
        injected += edge.injected
        retries += edge.retries
        fallbacks += edge.fallbacks
        bulkhead = edge.bulkhead
        in_use += bulkhead.in_use
        limit += bulkhead.limit
        queued += bulkhead.queued
        queue_max += bulkhead.queue_max
    return Row(
        caller=edges[0].caller,
        dependency=edges[0].dependency,
        state=next((state for state in _WORST_FIRST if instances[state]), None),
        instances=instances,
        stale=len(edges) - len(heard),
        forced=forced[0] if forced else None,
        forced_instances=len(forced),
        rate_per_s=rate_per_s,
        calls=calls,
        errors=errors,
        injected=injected,
        availability=_mean([(edge.availability, edge.calls) for edge in shown]),
        availability_first=_mean([(edge.availability_first, edge.calls) for edge in shown]),
        error_rate=_mean([(edge.error_rate, edge.calls) for edge in shown]),
        slow_rate=_mean([(edge.slow_rate, edge.calls) for edge in shown]),
        p50_ms=_most([edge.p50_ms for edge in shown]),
        p90_ms=_most([edge.p90_ms for edge in shown]),
        p99_ms=_most([edge.p99_ms for edge in shown]),
        p99_5_ms=_most([edge.p99_5_ms for edge in shown]),
        retries=retries,
        retry_budget_tokens=min([edge.retry_budget_tokens for edge in shown]),
        fallbacks=fallbacks,
        bulkhead=Bulkhead(in_use, limit, queued, queue_max),
        next_probe_s=min(probes, default=None),
        as_of=max([edge.as_of for edge in shown]),
    )


@dataclass(slots=True)
class PairBook:
    """The instances of every pair, and which pairs changed since they were last drawn."""

    _edges: dict[Pair, dict[str, Edge]] = field(default_factory=dict)
    _changed: dict[Pair, None] = field(default_factory=dict)
    """In the order in which they first changed since they were drawn."""
    _urgent: dict[Pair, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._edges)

    @property
    def urgent(self) -> bool:
        """A circuit, an override or a silence changed: nobody should wait for it."""
        return bool(self._urgent)

    def take(self, edges: Iterable[Edge], gone: Iterable[Key] = ()) -> None:
        """Replaces edges, and takes out those that are gone."""
        for edge in edges:
            pair = (edge.caller, edge.dependency)
            known = self._edges.setdefault(pair, {})
            before = known.get(edge.instance)
            known[edge.instance] = edge
            self._changed[pair] = None
            if before is None or _standing(before) != _standing(edge):
                self._urgent[pair] = None
        for caller, dependency, instance in gone:
            self._edges.get((caller, dependency), {}).pop(instance, None)
            self._urgent[caller, dependency] = None

    def rows(self) -> list[Row]:
        """Every pair."""
        return [row_of(tuple(edges.values())) for edges in self._edges.values() if edges]

    def drain(self, rows_max: int | None = None) -> tuple[list[Row], list[Pair]]:
        """The pairs that changed since the last time, and those of which no instance is left.

        What is urgent is always among them; of the others at most `rows_max`, those that have waited longest, and the rest
        is left for the next time.
        """
        for pair in self._urgent:
            self._changed.pop(pair, None)
        wanted = [*self._urgent, *islice(self._changed, rows_max)]
        self._urgent = {}
        rows, gone = [], []
        for pair in wanted:
            self._changed.pop(pair, None)
            edges = self._edges.get(pair)
            if edges:
                rows.append(row_of(tuple(edges.values())))
            else:
                self._edges.pop(pair, None)
                gone.append(pair)
        return rows, gone


def _standing(edge: Edge) -> tuple[Circuit, str | None, bool]:
    return (edge.state, edge.override.mode if edge.override else None, edge.stale)


def _mean(shares: Iterable[tuple[float | None, int]]) -> float | None:
    known = [(share, calls) for share, calls in shares if share is not None]
    weight = sum([calls for _, calls in known])
    if weight:
        return sum([share * calls for share, calls in known]) / weight
    return max([share for share, _ in known], default=None)


def _most(values: Iterable[float | None]) -> float | None:
    return max([value for value in values if value is not None], default=None)
