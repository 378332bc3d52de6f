"""Policies for calls that may fail: one for each caller -> dependency edge. Knows no transport; see README.md."""

from breakwater.resilience._admission import Admission
from breakwater.resilience._clock import Clock
from breakwater.resilience._deadline import Deadline, current_deadline
from breakwater.resilience._errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    InjectedFaultError,
    InvalidPolicyError,
    OverloadedError,
    PolicyError,
)
from breakwater.resilience._fault import Fault, FaultKind, current_fault
from breakwater.resilience._outcome import Outcome
from breakwater.resilience._override import Override, OverrideMode
from breakwater.resilience._policy import Policy
from breakwater.resilience._registry import PolicyRegistry
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._shedding import Limiter, Priority, current_priority
from breakwater.resilience._snapshot import CircuitState, EdgeSnapshot, Transition

__all__ = [
    "Admission",
    "AttemptTimeoutError",
    "BulkheadFullError",
    "CircuitOpenError",
    "CircuitState",
    "Clock",
    "Deadline",
    "DeadlineExceededError",
    "EdgeSnapshot",
    "Fault",
    "FaultKind",
    "InjectedFaultError",
    "InvalidPolicyError",
    "Limiter",
    "Outcome",
    "OverloadedError",
    "Override",
    "OverrideMode",
    "Policy",
    "PolicyError",
    "PolicyRegistry",
    "PolicySettings",
    "Priority",
    "Transition",
    "current_deadline",
    "current_fault",
    "current_priority",
]
