"""Policies for calls that may fail: one for each caller -> dependency edge. Knows no transport; see README.md.

What few callers need is beside: `errors` each failure's own class, `faults` chaos, `shedding` a server's limit,
`snapshots` figures and transitions, `testing` the test mode.
"""

from breakwater.resilience._admission import Admission
from breakwater.resilience._clock import Clock
from breakwater.resilience._deadline import Deadline, current_deadline
from breakwater.resilience._outcome import Outcome
from breakwater.resilience._override import Override, OverrideMode
from breakwater.resilience._policy import Policy
from breakwater.resilience._registry import PolicyRegistry
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience.errors import PolicyError
from breakwater.resilience.snapshots import CircuitState

__all__ = [
    "Admission",
    "CircuitState",
    "Clock",
    "Deadline",
    "Outcome",
    "Override",
    "OverrideMode",
    "Policy",
    "PolicyError",
    "PolicyRegistry",
    "PolicySettings",
    "current_deadline",
]
