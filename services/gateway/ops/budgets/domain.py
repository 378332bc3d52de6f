"""How fast every edge spends the error budget of its dependency, by the minute, up to a day back. Pure.

What Prometheus tells of weeks is here known for as long as this process has listened: enough to see at once whom a fault
costs, also without Prometheus. Processes tell totals that only grow, so a lost report loses nothing.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.gateway.ops.edges.domain import Edge, Key, Report, Totals

Pair = tuple[str, str]
"""Caller and dependency; its instances are summed."""

BAD = frozenset({"failed", "timeout", "auth", "overload", "short_circuited"})
"""As deploy/slo.yaml counts dependencies: what the breaker refuses is the dependency's outage too."""
COUNTED = frozenset({"success", "caller_fault"}) | BAD
REMEMBERED_S = 86_400
MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of a dependency."""

    objective: float
    """Share of the attempts that is not bad, over the period."""
    requests_min: int
    """Fewer in a window say nothing."""


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Spending `factor` times too fast over both windows is of this severity."""

    long_s: int
    short_s: int
    factor: float
    severity: str


@dataclass(frozen=True, slots=True)
class Promises:
    """Of every dependency, by name."""

    of: Mapping[str, Promise] = field(default_factory=dict)
    period_s: int = 30 * 86_400
    alarms: tuple[BurnRate, ...] = ()

    @property
    def windows_s(self) -> tuple[int, ...]:
        """Every window that an alarm looks at and that is remembered whole, shortest first."""
        named = {window_s for alarm in self.alarms for window_s in (alarm.long_s, alarm.short_s)}
        return tuple(sorted(window_s for window_s in named if window_s <= REMEMBERED_S))


@dataclass(frozen=True, slots=True)
class Spending:
    """What an edge does to the budget. 1 is as fast as the period allows; None: too few requests to say."""

    objective: float
    burn_rates: Mapping[int, float | None]
    """By window, seconds."""
    spent: float
    """Share of the whole period's budget that went since `since_s`, at most a day ago, were traffic as it was since."""
    since_s: int
    severity: str
    """Of the worst alarm whose two windows both burn too fast; empty without one, and while its long window is not remembered
    whole: a few bad minutes after a start are not a bad hour."""
    young_minutes: int | None = None
    """Of data there is so much, less than the shortest of the long windows; None once that is whole."""


@dataclass(slots=True)
class _Minutes:
    """Sums up to the beginning of each minute in which anything was counted, and up to now."""

    since_s: int
    starts: list[int] = field(default_factory=list)
    before: list[tuple[int, int]] = field(default_factory=list)
    total: int = 0
    bad: int = 0

    def add(self, minute: int, total: int, bad: int) -> None:
        if not self.starts or self.starts[-1] < minute:
            self.starts.append(minute)
            self.before.append((self.total, self.bad))
            old = bisect_left(self.starts, minute - REMEMBERED_S // MINUTE_S)
            del self.starts[:old], self.before[:old]
        self.total += total
        self.bad += bad

    def within(self, first_minute: int) -> tuple[int, int]:
        at = bisect_left(self.starts, first_minute)
        total, bad = self.before[at] if at < len(self.before) else (self.total, self.bad)
        return self.total - total, self.bad - bad


@dataclass(slots=True)
class Budgets:
    """Of every pair whose dependency has a promise. Times are whole seconds of the wall clock, passed in."""

    promises: Promises = field(default_factory=Promises)
    pairs_max: int = 500
    """One more has no figures."""
    _minutes: dict[Pair, _Minutes] = field(default_factory=dict)
    _last: dict[Key, Edge] = field(default_factory=dict)

    def take(self, report: Report, now_s: int) -> None:
        """Counts what happened since the instance's last report; of a first one nothing but that it was heard."""
        for edge in report.edges:
            if edge.totals is None or edge.dependency not in self.promises.of:
                continue
            key = edge.key
            before = self._last.get(key)
            if before is not None and edge.as_of <= before.as_of:
                continue
            pair = (edge.caller, edge.dependency)
            if pair not in self._minutes:
                if len(self._minutes) >= self.pairs_max:
                    continue
                self._minutes[pair] = _Minutes(now_s)
            self._last[key] = edge
            if before is not None and before.totals is not None:
                total, bad = _grown(before.totals, edge.totals)
                if total:
                    self._minutes[pair].add(now_s // MINUTE_S, total, bad)

    def keep(self, edges: Iterable[Edge]) -> None:
        """Forgets instances that are none of these any more; what they counted stays."""
        for key in self._last.keys() - {edge.key for edge in edges}:
            del self._last[key]

    def spending(self, caller: str, dependency: str, now_s: int) -> Spending | None:
        """None where nothing is promised of the dependency, or nothing was heard of the edge."""
        promise, minutes = self.promises.of.get(dependency), self._minutes.get((caller, dependency))
        if promise is None or minutes is None:
            return None
        burns = {window_s: _burn(minutes, promise, now_s, window_s) for window_s in self.promises.windows_s}
        since_s = max(minutes.since_s, now_s - REMEMBERED_S)
        whole = _burn(minutes, promise, now_s, REMEMBERED_S) or 0.0
        spent = whole * max(now_s - since_s, 1) / self.promises.period_s
        heard_s = now_s - minutes.since_s
        whole_s = min((alarm.long_s for alarm in self.promises.alarms), default=0)
        young = heard_s // MINUTE_S if heard_s < whole_s else None
        return Spending(promise.objective, burns, spent, since_s, self._severity(burns, heard_s), young)

    def _severity(self, burns: Mapping[int, float | None], heard_s: int) -> str:
        for alarm in self.promises.alarms:
            if heard_s < alarm.long_s:
                continue
            long, short = burns.get(alarm.long_s), burns.get(alarm.short_s)
            if long is not None and short is not None and min(long, short) > alarm.factor:
                return alarm.severity
        return ""


def _burn(minutes: _Minutes, promise: Promise, now_s: int, window_s: int) -> float | None:
    total, bad = minutes.within((now_s - window_s) // MINUTE_S + 1)
    return None if total < promise.requests_min else bad / total / (1 - promise.objective)


def _grown(before: Totals, now: Totals) -> tuple[int, int]:
    """All that counts, and what of it is bad; a total that shrank is another process's and tells nothing."""
    total = bad = 0
    for name, count in now.outcomes.items():
        grown = count - before.outcomes.get(name, 0)
        if grown > 0 and name in COUNTED:
            total += grown
            bad += grown if name in BAD else 0
    return total, bad
