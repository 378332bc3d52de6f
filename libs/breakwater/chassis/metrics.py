"""The metrics of api.md and those of the process itself, in one registry.

Labels are bounded: services, dependencies, RPC names, outcomes; never ids. Callers on a hot path keep the child that
`labels(...)` gives (measurements.md: 0.78 -> 0.83 of bare).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry(auto_describe=True)

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

EDGE_REQUESTS = Counter(
    "breakwater_edge_requests_total",
    "Attempts on an edge by outcome.",
    ("caller", "dependency", "outcome"),
    registry=REGISTRY,
)
EDGE_LATENCY = Histogram(
    "breakwater_edge_latency_seconds",
    "How long an attempt on an edge took.",
    ("caller", "dependency"),
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
BREAKER_STATE = Gauge(
    "breakwater_breaker_state", "0 closed, 1 half-open, 2 open.", ("caller", "dependency"), registry=REGISTRY
)
RETRY_BUDGET_TOKENS = Gauge(
    "breakwater_retry_budget_tokens", "Retries an edge may still make.", ("caller", "dependency"), registry=REGISTRY
)
BULKHEAD_IN_USE = Gauge(
    "breakwater_bulkhead_in_use", "Attempts in flight on an edge.", ("caller", "dependency"), registry=REGISTRY
)
FALLBACK = Counter(
    "breakwater_fallback_total", "Answers given by a fallback.", ("caller", "dependency"), registry=REGISTRY
)

OUTBOX_PENDING = Gauge(
    "breakwater_outbox_pending", "Events stored and not yet acknowledged by JetStream.", ("service",), registry=REGISTRY
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

RPC_SERVER_DURATION = Histogram(
    "rpc_server_call_duration_seconds",
    "RPCs served (OpenTelemetry: rpc.server.call.duration).",
    ("rpc_method", "rpc_response_status_code"),
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
RPC_SERVER_IN_FLIGHT = Gauge("breakwater_rpc_in_flight", "RPCs being served.", registry=REGISTRY)
AUTH_REFUSED = Counter(
    "breakwater_auth_refused_total", "Tokens refused, by reason.", ("verifier", "reason"), registry=REGISTRY
)
JWKS_STALE = Gauge(
    "breakwater_jwks_stale",
    "1 while the key source is unreachable and the last good set is used.",
    ("source",),
    registry=REGISTRY,
)
BACKGROUND_FAILURES = Counter(
    "breakwater_background_failures_total",
    "Background tasks that failed and were restarted.",
    ("task",),
    registry=REGISTRY,
)


def add_process_collectors() -> None:
    """Adds memory, CPU, file descriptors and garbage collection of this process; called once, by the composition root."""
    ProcessCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)


def exposition() -> bytes:
    """Everything in the Prometheus text format."""
    return generate_latest(REGISTRY)
