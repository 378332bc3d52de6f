"""What every schedule has in common: its events, its sizes, and the settings its policies are drawn from."""

from functools import cache
from typing import Final

from breakwater.resilience import PolicySettings
from breakwater.resilience.faults import Fault, FaultKind

EVENTS: Final = (
    "arrive", "rush", "answer", "failure", "timer", "backoff", "cancel", "lease", "time", "weather", "look", "override",
    "crash", "clock", "reload",
)  # fmt: skip
(ARRIVE, RUSH, ANSWER, FAILURE, TIMER, BACKOFF, CANCEL, LEASE, TIME, WEATHER, LOOK, OVERRIDE, CRASH, CLOCK, RELOAD) = (
    range(len(EVENTS))
)
"""`answer` and `failure` are the ends of attempts, `timer` is one of the policy's own (an attempt's time or
a wait for a slot is over), `lease` the moment one ends, `time` a jump over many moments, `clock` a wall clock that is set."""

EVENTS_MIN: Final = 200
CALLERS_MIN: Final = 8
ATTEMPT_TIMEOUT_S: Final = 1.0
STREAM_S_MAX: Final = 6.0
LEASE_S: Final = 1.5
CROWD: Final = 6
"""Calls of one rush."""


@cache
def settings_of(
    attempts_max: int, concurrency_max: int, queue_max: int, calls_min: int, calls_enough: int, probes: int
) -> PolicySettings:
    return PolicySettings(
        caller="gateway",
        dependency="leads",
        attempt_timeout_s=ATTEMPT_TIMEOUT_S,
        slow_call_s=0.6,
        stream_s_max=STREAM_S_MAX,
        attempts_max=attempts_max,
        backoff_s=0.1,
        backoff_s_max=0.4,
        concurrency_max=concurrency_max,
        queue_max=queue_max,
        queue_wait_s_max=0.3,
        window_s=5,
        calls_min=calls_min,
        calls_enough=calls_enough,
        open_s=1.0,
        open_s_max=3.0,
        probes=probes,
        probe_lease_s=LEASE_S,
    )


CHAOS: Final = (
    Fault(kind=FaultKind.LATENCY, latency_p50_s=0.2, latency_p99_s=2.0),
    Fault(kind=FaultKind.LATENCY, latency_p50_s=0.7, share=0.5),
    Fault(kind=FaultKind.ERROR, code="UNAVAILABLE"),
    Fault(kind=FaultKind.ERROR, code="UNAVAILABLE", share=0.3),
    Fault(kind=FaultKind.HANG),
    Fault(kind=FaultKind.RESET, share=0.5),
    Fault(kind=FaultKind.SLOW_BODY, latency_p50_s=0.3),
    Fault(kind=FaultKind.CREDENTIAL, share=0.5),
)
"""What `chaos` injects."""
