"""Reads the figures of an edge out of its parts."""

from datetime import datetime

from breakwater.resilience._breaker import Breaker
from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._bulkhead import Bulkhead
from breakwater.resilience._outcome import ANSWERED, ERRORS, FAILED, REACHED, Outcome
from breakwater.resilience._override import Override
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._window import Bucket, Window, cumulative, percentile_ms, slower_than
from breakwater.resilience.snapshots import BulkheadSnapshot, EdgeSnapshot, EdgeTotals


def take_snapshot(
    settings: PolicySettings,
    at: datetime,
    now_s: float,
    *,
    window: Window,
    breaker: Breaker,
    bulkhead: Bulkhead,
    budget: RetryBudget,
    override: Override | None,
) -> EdgeSnapshot:
    """The edge at `now_s`; every part is only read."""
    rolling = window.rolling(now_s)
    calls = sum(rolling.outcomes.values()) - rolling.retries
    answered = rolling.how_many(ANSWERED)
    reached = rolling.how_many(REACHED)
    # Whoever went away without waiting for the answer tells nothing about availability.
    waited_for = calls - rolling.outcomes.get(Outcome.CANCELLED, 0)
    return EdgeSnapshot(
        caller=settings.caller,
        dependency=settings.dependency,
        at=at,
        state=breaker.state,
        forced=override.mode if override else None,
        override=override,
        next_probe_s=breaker.next_probe_s(now_s),
        window_s=settings.window_s,
        calls=calls,
        availability=_share(answered, waited_for),
        availability_first=_share(answered - rolling.rescued, waited_for),
        error_rate=_share(rolling.how_many(FAILED), reached),
        slow_rate=_share(slower_than(rolling.cells, settings.slow_call_s), reached),
        errors={outcome.value: rolling.outcomes.get(outcome, 0) for outcome in ERRORS},
        rate_per_s=calls / window.span_s(now_s),
        p50_ms=percentile_ms(rolling.cells, 0.5),
        p90_ms=percentile_ms(rolling.cells, 0.9),
        p99_ms=percentile_ms(rolling.cells, 0.99),
        p99_5_ms=percentile_ms(rolling.cells, 0.995),
        retries=rolling.retries,
        retry_budget_tokens=budget.tokens(now_s),
        fallbacks=rolling.fallbacks,
        injected=rolling.injected,
        bulkhead=BulkheadSnapshot(
            in_use=bulkhead.in_use, limit=bulkhead.limit, queued=bulkhead.queued, queue_max=bulkhead.queue_max
        ),
        totals=_totals(window.all_time(), breaker.stale),
    )


def _totals(past: Bucket, stale: int) -> EdgeTotals:
    return EdgeTotals(
        outcomes={outcome.value: past.outcomes.get(outcome, 0) for outcome in Outcome},
        retries=past.retries,
        fallbacks=past.fallbacks,
        injected=past.injected,
        stale=stale,
        latency_s_sum=past.latency_s_sum,
        latency_counts=tuple(cumulative(past.cells)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
