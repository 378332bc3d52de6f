"""What an edge looks like at one moment. Taking a snapshot changes nothing: no permit, no counter, no state."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from breakwater.resilience._override import Override, OverrideMode


class CircuitState(StrEnum):
    """The computed state; the values are pybreaker's, which holds it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Transition:
    """The computed state changed, or an override was set or ended (then `old` equals `new`). Sent to listeners."""

    caller: str
    dependency: str
    old: CircuitState
    new: CircuitState
    forced: OverrideMode | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class BulkheadSnapshot:
    """Slots in use of `limit`, calls waiting of at most `queue_max`."""

    in_use: int
    limit: int
    queued: int
    queue_max: int


@dataclass(frozen=True, slots=True)
class EdgeTotals:
    """Everything since the start, for counters that only grow (api.md, Metrics)."""

    outcomes: Mapping[str, int]
    """Attempts by `Outcome` value; every value is present."""
    retries: int
    fallbacks: int
    injected: int
    """Faults of overrides."""
    stale: int
    """Results ignored by the breaker because they were admitted in an earlier state."""
    latency_s_sum: float
    latency_counts: tuple[tuple[float, int], ...]
    """Cumulative: (upper bound in seconds, attempts answered within it), ascending; the last bound is infinite."""


@dataclass(frozen=True, slots=True)
class EdgeSnapshot:
    """Every figure of an edge (api.md, `GET /v1/dependencies`); shares are None where there was no traffic to judge.

    Counts, shares, rates and percentiles are over the rolling window of `window_s` seconds.
    """

    caller: str
    dependency: str
    at: datetime
    state: CircuitState
    """What the breaker computed, also while an override hides it."""
    forced: OverrideMode | None
    override: Override | None
    next_probe_s: float | None
    """Seconds until the next probe may go, 0 when one may go now; None unless the circuit is open or half-open."""
    window_s: float
    calls: int
    availability: float | None
    """Share of calls answered after retries."""
    availability_first: float | None
    """Share of calls answered by their first attempt."""
    error_rate: float | None
    """Share of failed attempts among those that reached the dependency."""
    slow_rate: float | None
    """Share of slow attempts among those, counted by latency cell (12.5 % apart)."""
    errors: Mapping[str, int]
    """Attempts that brought no answer: timeout, rejected, failed, short_circuited, auth, overload, deadline."""
    rate_per_s: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p99_5_ms: float | None
    retries: int
    retry_budget_tokens: float
    fallbacks: int
    injected: int
    """Faults of a `chaos` override; each is also counted as what it came to."""
    bulkhead: BulkheadSnapshot
    totals: EdgeTotals
