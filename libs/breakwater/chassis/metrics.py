"""The metrics of api.md and those of the process itself, in one registry.

Labels are bounded: services, dependencies, RPC names, outcomes; never ids. Callers on a hot path keep the child that
`labels(...)` gives (measurements.md: 0.78 -> 0.83 of bare).
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from breakwater.resilience import CircuitState, PolicyRegistry
from breakwater.resilience.shedding import Limiter

REGISTRY = CollectorRegistry()

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_BUCKETS_S = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
"""Of work that waits its turn: nobody is on the line, an outage puts it off by hours."""

OUTBOX_PENDING = Gauge(
    "breakwater_outbox_pending", "Events stored and not yet acknowledged by JetStream.", ("service",), registry=REGISTRY
)
OUTBOX_OLDEST_AGE = Gauge(
    "breakwater_outbox_oldest_age_seconds",
    "How long the oldest unpublished event has waited.",
    ("service",),
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "breakwater_consumer_lag",
    "Events in a stream that wait for the service, as of its last delivery.",
    ("service", "stream"),
    registry=REGISTRY,
)
DEAD_LETTERS = Gauge(
    "breakwater_dead_letters",
    "Messages given up after their last delivery and not yet replayed.",
    ("service",),
    registry=REGISTRY,
)
TIMER_LAG = Gauge(
    "breakwater_timer_lag_seconds", "How late the oldest due timer is.", ("service", "timer"), registry=REGISTRY
)
TIMER_DELAY = Histogram(
    "breakwater_timer_delay_seconds",
    "How late each timer was done, from when it was due.",
    ("service", "timer"),
    buckets=WAIT_BUCKETS_S,
    registry=REGISTRY,
)
EVENT_DELAY = Histogram(
    "breakwater_event_delay_seconds",
    "From an event's own time to its effect being committed, each event once.",
    ("service", "stream"),
    buckets=WAIT_BUCKETS_S,
    registry=REGISTRY,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in this process, as it was found `age_s` ago; `figure` is the metric's name without its prefix."""

    figure: str
    of: str
    value: float
    age_s: float


class BacklogGauge:
    """One figure of what waits: a gauge that also remembers when it was set. `of` is the stream or the timer."""

    def __init__(self, gauge: Gauge, service: str, of: str = "") -> None:
        family = next(iter(gauge.describe())).name
        self._gauge = gauge.labels(*(label for label in (service, of) if label))
        self._named = family.removeprefix("breakwater_"), of
        self._found: tuple[float, float] | None = None
        _BACKLOGS[family, service, of] = self

    def set(self, value: float) -> None:
        """The figure as it is now."""
        self._gauge.set(value)
        self._found = value, time.monotonic()

    def read(self) -> Backlog | None:
        """The figure; None while it was never found."""
        if self._found is None:
            return None
        value, at_s = self._found
        return Backlog(*self._named, value, time.monotonic() - at_s)


_BACKLOGS: dict[tuple[str, str, str], BacklogGauge] = {}


def backlogs() -> tuple[Backlog, ...]:
    """Everything that waits in this process."""
    return tuple(found for gauge in _BACKLOGS.values() if (found := gauge.read()) is not None)


RPC_SERVER_DURATION = Histogram(
    "rpc_server_call_duration_seconds",
    "RPCs served (OpenTelemetry: rpc.server.call.duration).",
    ("rpc_method", "rpc_response_status_code"),
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
AUTH_REFUSED = Counter(
    "breakwater_auth_refused_total", "Tokens refused, by reason.", ("verifier", "reason"), registry=REGISTRY
)
JWKS_STALE = Gauge(
    "breakwater_jwks_stale",
    "1 while the key source is unreachable and the last good set is used.",
    ("source",),
    registry=REGISTRY,
)
JWKS_WITHDRAWN_EARLY = Gauge(
    "breakwater_jwks_withdrawn_early",
    "1 while a signing key is kept that the source withdrew before its tokens had ended.",
    ("source",),
    registry=REGISTRY,
)
ALARMS = Counter(
    "breakwater_alarms_total",
    "Alarms to on-call: told, by which way; delayed, nobody was told at first; given up.",
    ("way", "outcome"),
    registry=REGISTRY,
)
BUS_REQUESTS = Counter(
    "breakwater_bus_requests_total",
    "Requests over NATS that came to this process: answered, refused, crashed by a defect, or late and not begun.",
    ("service", "subject", "outcome"),
    registry=REGISTRY,
)
BACKGROUND_FAILURES = Counter(
    "breakwater_background_failures_total",
    "Background tasks that failed and were restarted.",
    ("task",),
    registry=REGISTRY,
)


BREAKER_STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class EdgeCollector(Collector):
    """The figures of guarded edges, read from their policies when they are asked for: a call pays nothing for them."""

    def __init__(self) -> None:
        self._watched: list[PolicyRegistry] = []

    def watch(self, policies: PolicyRegistry) -> None:
        """Adds the edges of a process."""
        self._watched.append(policies)

    def unwatch(self, policies: PolicyRegistry) -> None:
        """Takes them out again."""
        self._watched.remove(policies)

    def describe(self) -> Iterable[Metric]:
        """The names, without reading any policy."""
        return _edge_families()

    def collect(self) -> Iterable[Metric]:
        """The figures now."""
        families = _edge_families()
        requests, fallbacks, injected, latency, state, overridden, tokens, in_use = families
        for snapshot in (each for policies in self._watched for each in policies.snapshots()):
            edge = (snapshot.caller, snapshot.dependency)
            for outcome, count in snapshot.totals.outcomes.items():
                requests.add_metric((*edge, outcome), count)
            fallbacks.add_metric(edge, snapshot.totals.fallbacks)
            injected.add_metric(edge, snapshot.totals.injected)
            counts = snapshot.totals.latency_counts
            buckets = [("+Inf" if math.isinf(bound) else repr(bound), count) for bound, count in counts]
            latency.add_metric(edge, buckets, sum_value=snapshot.totals.latency_s_sum)
            state.add_metric(edge, BREAKER_STATES[snapshot.state])
            overridden.add_metric(edge, snapshot.forced is not None)
            tokens.add_metric(edge, snapshot.retry_budget_tokens)
            in_use.add_metric(edge, snapshot.bulkhead.in_use)
        return families


def _edge_families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    HistogramMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
]:
    edge = ("caller", "dependency")
    return (
        CounterMetricFamily("breakwater_edge_requests", "Attempts on an edge, by outcome.", labels=(*edge, "outcome")),
        CounterMetricFamily("breakwater_fallback", "Answers given by a fallback.", labels=edge),
        CounterMetricFamily("breakwater_faults_injected", "Faults of a chaos override.", labels=edge),
        HistogramMetricFamily("breakwater_edge_latency_seconds", "How long answered attempts took.", labels=edge),
        GaugeMetricFamily("breakwater_breaker_state", "0 closed, 1 half-open, 2 open.", labels=edge),
        GaugeMetricFamily("breakwater_override", "1 while an override is in force.", labels=edge),
        GaugeMetricFamily("breakwater_retry_budget_tokens", "Retries an edge may still make.", labels=edge),
        GaugeMetricFamily("breakwater_bulkhead_in_use", "Attempts in flight on an edge.", labels=edge),
    )


class LimitCollector(Collector):
    """The limits of this process's servers (`grpc`, `http`), read when they are asked for."""

    def __init__(self) -> None:
        self._limiters: dict[str, Limiter] = {}

    def watch(self, server: str, limiter: Limiter) -> None:
        """Shows the limiter of a server, in place of an earlier one."""
        self._limiters[server] = limiter

    def describe(self) -> Iterable[Metric]:
        """The names, without reading any limiter."""
        return _limit_families()

    def collect(self) -> Iterable[Metric]:
        """The figures now."""
        families = _limit_families()
        shed, limit, in_flight = families
        for server, limiter in self._limiters.items():
            limit.add_metric((server,), limiter.limit)
            for priority, count in limiter.shed.items():
                shed.add_metric((server, priority.value), count)
            in_flight.add_metric((server, "request"), limiter.in_flight)
            in_flight.add_metric((server, "ops"), limiter.ops_in_flight)
            in_flight.add_metric((server, "stream"), limiter.streams_in_flight)
        return families


def _limit_families() -> tuple[CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        CounterMetricFamily(
            "breakwater_requests_shed", "Requests refused for load, by priority.", labels=("server", "priority")
        ),
        GaugeMetricFamily("breakwater_concurrency_limit", "Requests a server takes at a time.", labels=("server",)),
        GaugeMetricFamily("breakwater_requests_in_flight", "Requests being served.", labels=("server", "slot")),
    )


EDGES = EdgeCollector()
LIMITS = LimitCollector()
REGISTRY.register(LIMITS)
REGISTRY.register(EDGES)


def add_process_collectors() -> None:
    """Adds memory, CPU, file descriptors and garbage collection of this process; called once, by the composition
    root.
    """
    ProcessCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)


def exposition() -> bytes:
    """Everything in the Prometheus text format."""
    return generate_latest(REGISTRY)
