"""What the counters of the edges say, pair by pair: is it certain that calls go wrong, is it in doubt, is it well? Pure.

A circuit that is not closed is certain. What stays below its threshold (a tenth of the calls fails, or is slow) is found by a
cumulative sum (E. S. Page, 1954): each bad result adds the logarithm of how much likelier it is at `TROUBLE` than at
`TOLERATED`, each good one subtracts it, never below zero. So it takes as many calls as it takes, whatever their rate.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import exp, log

from services.gateway.ops.edges.domain import Circuit, Edge, Report, Totals

Pair = tuple[str, str]
"""Caller and dependency, all instances of the caller together."""

TOLERATED, TROUBLE = 0.03, 0.10
"""Shares of bad results: the background that pages nobody, and what must be found."""
CERTAIN = 14.0
"""At 1 % bad results this is reached once in about e^31 calls, at 2 % in e^21; at 10 % after some 260."""
IN_DOUBT = 4.0
"""Enough to explain what stands above it, not enough to wake anybody: three bad results of three."""
SUM_MAX = 18.0
"""So that what went on for hours is forgiven as soon as what went on for minutes."""
AFTER_A_CLOSED_CIRCUIT = 2.0
"""Its probes were answered: in no doubt any more, and sooner in doubt again."""
RECENT_S = 15.0
"""Shares are of about so long ago until now: older results weigh e times less each."""
SLOWED_TIMES, SLOWED_MS_MIN = 4.0, 50.0
"""Half of the calls take so many times what they usually take: it may be why the callers' callers are slow."""
IN_FLIGHT_S = 10.0
"""What a cause dragged along may fail for so long after it: calls that were waiting when it was cured."""
LINGER_S = 60.0
"""The circuit above a cause may be open for so long after it; then it is a fault of its own."""
FADED_S = 20.0
"""A doubt about what nobody has asked for so long is of another time: longer than an open circuit waits for its probes."""
USUAL_S = 600.0
"""What is usual is the mean of so long; what is slower than usual becomes it ten times more slowly."""

_GAIN, _COST = log(TROUBLE / TOLERATED), -log((1 - TROUBLE) / (1 - TOLERATED))
_NO_ATTEMPTS = frozenset({"forced-open", "fallback", "disabled"})
_NONE = Totals({}, 0, 0, ())


@dataclass(slots=True)
class Suspicion:
    """The cumulative sum of one kind of bad result."""

    value: float = 0.0

    def take(self, bad: float, good: float) -> None:
        if not bad and not self.value:
            return
        self.value = min(max(0.0, self.value + bad * _GAIN - good * _COST), SUM_MAX)

    def calm(self) -> None:
        self.value = min(self.value, AFTER_A_CLOSED_CIRCUIT)


@dataclass(slots=True)
class Recent:
    """Results of late, older ones weighing less. `short`: not tried for an open circuit; `rejected`: no slot of our own."""

    reached: float = 0.0
    failed: float = 0.0
    auth: float = 0.0
    timeout: float = 0.0
    overload: float = 0.0
    slow: float = 0.0
    short: float = 0.0
    rejected: float = 0.0
    _at_s: float = 0.0

    def age(self, now_s: float) -> None:
        """Lets time pass."""
        if now_s == self._at_s:
            return
        left = exp(-max(0.0, now_s - self._at_s) / RECENT_S)
        self._at_s = now_s
        self.reached *= left
        self.failed *= left
        self.auth *= left
        self.timeout *= left
        self.overload *= left
        self.slow *= left
        self.short *= left
        self.rejected *= left

    @property
    def tried(self) -> float:
        return self.reached + self.short + self.rejected

    @property
    def bad_share(self) -> float:
        """Of what was asked for, what went wrong or was slow; 0 to 1."""
        bad = max(self.failed + self.overload, self.slow) + self.short + self.rejected
        return min(1.0, bad / self.tried) if self.tried > 0 else 0.0

    @property
    def failed_share(self) -> float:
        return self.failed / self.reached if self.reached > 0 else 0.0


@dataclass(slots=True)
class Instance:
    """One process's edge, as it was last told."""

    edge: Edge
    heard_s: float
    recent: Recent = field(default_factory=Recent)
    silent: bool = False

    @property
    def known(self) -> bool:
        """Unknown is not healthy, and not failing: who is silent, or made to try nothing, says nothing."""
        forced = self.edge.override
        return not self.silent and (forced is None or forced.mode not in _NO_ATTEMPTS)

    @property
    def waits(self) -> bool:
        """Its circuit would let a probe through, and nobody asks."""
        return self.edge.next_probe_s == 0 and self.recent.tried < 1

    @property
    def open(self) -> bool:
        return self.known and self.edge.state is not Circuit.CLOSED and not self.waits

    @property
    def bad(self) -> bool:
        return self.open or (self.known and self.recent.reached > 5 and self.recent.bad_share > 0.3)  # noqa: PLR2004

    @property
    def well(self) -> bool:
        settled = self.known and self.edge.state is Circuit.CLOSED
        return settled and self.recent.reached > 3 and self.recent.bad_share < 0.1  # noqa: PLR2004


@dataclass(slots=True)
class Together:
    """What a pair's instances come to, kept up as each of them tells: there may be fifty, and each tells every second."""

    known: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    p50_ms_max: float = 0.0
    """Of those that are known."""
    _p50_ms: dict[str, float] = field(default_factory=dict)
    _slowest: str = ""

    def put(self, name: str, instance: Instance) -> None:
        """It told something, or fell silent."""
        known = instance.known
        (self.known.add if known else self.known.discard)(name)
        (self.open.add if instance.open else self.open.discard)(name)
        p50_ms = (instance.edge.p50_ms or 0.0) if known else 0.0
        self._p50_ms[name] = p50_ms
        if p50_ms >= self.p50_ms_max:
            self.p50_ms_max, self._slowest = p50_ms, name
        elif name == self._slowest:
            self._find_slowest()

    def drop(self, name: str) -> None:
        """It is gone."""
        self.known.discard(name)
        self.open.discard(name)
        self._p50_ms.pop(name, None)
        if name == self._slowest:
            self._find_slowest()

    def _find_slowest(self) -> None:
        self._slowest = max(self._p50_ms, key=self._p50_ms.__getitem__, default="")
        self.p50_ms_max = self._p50_ms.get(self._slowest, 0.0)


@dataclass(slots=True)
class PairEvidence:
    """What is known of one caller -> dependency pair."""

    pair: Pair
    instances: dict[str, Instance] = field(default_factory=dict)
    together: Together = field(default_factory=Together)
    failed: Suspicion = field(default_factory=Suspicion)
    slow: Suspicion = field(default_factory=Suspicion)
    pushed_back: Suspicion = field(default_factory=Suspicion)
    crowded: Suspicion = field(default_factory=Suspicion)
    recent: Recent = field(default_factory=Recent)
    usual_ms: float = 0.0
    _learned_s: float = 0.0
    since: datetime | None = None
    """Since when it is certain, by the clock of the process that told: the same for everybody who hears it."""
    since_s: float | None = None
    answered_s: float | None = None
    """When a call was last answered by a closed circuit."""
    own: Suspicion | None = None
    """What went wrong since another cause last accounted for it; None where none does."""
    _accounted_s: float = 0.0
    _asked_s: float = float("-inf")
    _now_s: float = 0.0

    def take(self, edge: Edge, now_s: float) -> None:
        """A newer word of one instance."""
        known = self.instances.get(edge.instance)
        if known is None:
            # Where it starts counting: what it counted before we heard of it may be hours old.
            known = self.instances[edge.instance] = Instance(edge, now_s)
            self.together.put(edge.instance, known)
        else:
            was_open = self.open
            self._count(known, edge, now_s)
            known.edge, known.heard_s, known.silent = edge, now_s, False
            self.together.put(edge.instance, known)
            if was_open and not any(each.edge.state is not Circuit.CLOSED for each in self.instances.values()):
                for suspicion in (*self._suspicions(), *((self.own,) if self.own else ())):
                    suspicion.calm()
        if not self.in_doubt:
            self.own = None
        if not self.certain:
            self.since = self.since_s = None
        elif self.since is None:
            self.since, self.since_s = edge.as_of, now_s

    def _count(self, known: Instance, edge: Edge, now_s: float) -> None:
        before, after = known.edge.totals or _NONE, edge.totals
        if after is None:
            return
        known.recent.age(now_s)
        self.together.put(edge.instance, known)
        if before.outcomes == after.outcomes:
            return
        self._asked_s = now_s
        new = {name: count - before.outcomes.get(name, 0) for name, count in after.outcomes.items()}
        failed = new.get("failed", 0) + new.get("timeout", 0) + new.get("auth", 0)
        reached = max(0, new.get("success", 0) + new.get("caller_fault", 0) + failed + new.get("overload", 0))
        failed = max(0, failed)
        overload, rejected = max(0, new.get("overload", 0)), max(0, new.get("rejected", 0))
        # The share is of the window: over time it adds up to what was slow, some seconds late.
        slow = (edge.slow_rate or 0.0) * reached
        was_calm = not self.in_doubt
        self.failed.take(failed, reached - failed)
        self.slow.take(slow, reached - slow)
        self.pushed_back.take(overload, reached - overload)
        self.crowded.take(rejected, reached)
        if self.own is not None and now_s - self._accounted_s > IN_FLIGHT_S:
            bad = min(reached, max(failed + overload, slow))
            self.own.take(bad, reached - bad)
        if was_calm and self.in_doubt:
            # What was before it began says nothing of what it is.
            self.recent, known.recent = Recent(), Recent()
        for recent in (known.recent, self.recent):
            recent.age(now_s)
            recent.reached += reached
            recent.failed += failed
            recent.auth += max(0, new.get("auth", 0))
            recent.timeout += max(0, new.get("timeout", 0))
            recent.overload += overload
            recent.slow += slow
            recent.short += max(0, new.get("short_circuited", 0))
            recent.rejected += rejected
        if edge.state is Circuit.CLOSED and reached > failed:
            self.answered_s = now_s
            self._learn(edge, now_s - known.heard_s)

    def _learn(self, edge: Edge, passed_s: float) -> None:
        if edge.p50_ms is None or passed_s <= 0 or self.strength >= IN_DOUBT:
            return
        self._learned_s = min(USUAL_S, self._learned_s + passed_s)
        weight = min(1.0, passed_s / self._learned_s) * (0.1 if self.slowed else 1.0)
        self.usual_ms += weight * (edge.p50_ms - self.usual_ms)

    def _suspicions(self) -> tuple[Suspicion, ...]:
        return (self.failed, self.slow, self.pushed_back, self.crowded)

    def silence(self, instance: str) -> None:
        """Nobody has heard of it for too long."""
        if instance in self.instances:
            self.instances[instance].silent = True
            self.together.put(instance, self.instances[instance])

    def forget(self, instance: str) -> None:
        """It is gone."""
        self.instances.pop(instance, None)
        self.together.drop(instance)

    @property
    def strength(self) -> float:
        """The largest of the sums."""
        return max(self.failed.value, self.slow.value, self.pushed_back.value, self.crowded.value)

    @property
    def known(self) -> bool:
        return bool(self.together.known)

    @property
    def open(self) -> bool:
        return bool(self.together.open)

    @property
    def certain(self) -> bool:
        return self.known and (self.open or self.strength >= CERTAIN)

    @property
    def in_doubt(self) -> bool:
        return self.known and (self.open or self.slowed or self.strength >= IN_DOUBT)

    @property
    def current(self) -> bool:
        """Whether what is known of it is of now: somebody asks, or an open circuit refuses."""
        return self.open or self._now_s - self._asked_s < FADED_S

    def age(self, now_s: float) -> None:
        """Lets time pass over what is asked for rarely."""
        self._now_s = now_s
        self.recent.age(now_s)

    def account_for(self, now_s: float) -> None:
        """Another cause explains what went wrong until now."""
        self.own, self._accounted_s = Suspicion(), now_s

    @property
    def accounted_for(self) -> bool:
        """What makes it certain was another's fault: since then too little went wrong. A refused credential never is.

        Of an open circuit there are only probes: a few that fail are enough.
        """
        enough = IN_DOUBT if self.open else CERTAIN
        return self.own is not None and self.own.value < enough and not self.refused

    def dragged_along(self, now_s: float) -> bool:
        """Whether its circuit may still be open because of what was another's fault."""
        return self.accounted_for and now_s - self._accounted_s < LINGER_S

    @property
    def slowed(self) -> bool:
        """Half of the calls take much longer than usual."""
        return self.usual_ms > 0 and self.together.p50_ms_max > max(SLOWED_TIMES * self.usual_ms, SLOWED_MS_MIN)

    @property
    def share(self) -> float:
        """Of what was asked for, what went wrong: 0 to 1."""
        return 1.0 if self.slowed else self.recent.bad_share

    @property
    def refused(self) -> bool:
        """Most of what failed was our own credential."""
        return self.recent.auth > 0 and self.recent.auth >= 0.5 * self.recent.failed


class Evidence:
    """Every pair that was heard of."""

    def __init__(self) -> None:
        self.pairs: dict[Pair, PairEvidence] = {}
        self.instances: dict[str, dict[str, datetime]] = {}
        """Instances of each process, and when each was last heard of."""

    def take(self, report: Report, now_s: float) -> None:
        """A process's report; one that is older than the last changes nothing."""
        heard = self.instances.setdefault(report.process, {})
        if report.instance in heard and report.as_of < heard[report.instance]:
            return
        heard[report.instance] = report.as_of
        for edge in report.edges:
            pair = (edge.caller, edge.dependency)
            if pair not in self.pairs:
                self.pairs[pair] = PairEvidence(pair)
            self.pairs[pair].take(edge, now_s)

    def silence(self, pair: Pair, instance: str) -> None:
        """Nobody has heard of it for too long."""
        if pair in self.pairs:
            self.pairs[pair].silence(instance)

    def forget(self, pair: Pair, instance: str) -> None:
        """Replaced, or silent for very long."""
        self.instances.get(pair[0], {}).pop(instance, None)
        if pair in self.pairs:
            self.pairs[pair].forget(instance)

    def age(self, now_s: float) -> None:
        """Lets time pass over what is asked for rarely."""
        for pair in self.pairs.values():
            pair.age(now_s)

    def account_for(self, symptoms: Iterable[Pair], now_s: float) -> None:
        """Somebody is called for what made them fail."""
        for pair in symptoms:
            self.pairs[pair].account_for(now_s)

    def out_of(self, process: str) -> Iterator[PairEvidence]:
        return (each for pair, each in self.pairs.items() if pair[0] == process)

    def into(self, dependency: str) -> Iterator[PairEvidence]:
        return (each for pair, each in self.pairs.items() if pair[1] == dependency)

    def replicas(self, process: str) -> int:
        return len(self.instances.get(process, {}))


def unanswered_per_s(pairs: Mapping[Pair, PairEvidence], pair: Pair) -> tuple[float, float]:
    """(failed, degraded): calls a second of the pair that got no answer, and those that a fallback answered."""
    failed = degraded = 0.0
    for each in pairs[pair].instances.values() if pair in pairs else ():
        edge = each.edge
        if each.silent or edge.availability is None or not edge.rate_per_s:
            continue
        lost = edge.rate_per_s * (1 - edge.availability)
        # Fallbacks are of the same window as the calls.
        by_fallback = min(lost, edge.rate_per_s * edge.fallbacks / edge.calls) if edge.calls else 0.0
        failed, degraded = failed + lost - by_fallback, degraded + by_fallback
    return failed, degraded
