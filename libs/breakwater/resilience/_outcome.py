"""What one attempt came to. The values are the labels of `breakwater_edge_requests_total` (api.md, Metrics)."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """How an attempt ended (resilience.md, classification). The last three never reached the dependency's answer."""

    SUCCESS = "success"
    CALLER_FAULT = "caller_fault"
    """The dependency is well and refuses what it was asked: counts as an answer, never as a failure."""
    FAILURE = "failed"
    TIMEOUT = "timeout"
    AUTH_REJECTED = "auth"
    """The dependency refused our own credential: counts as a failure, is never retried."""
    OVERLOAD = "overload"
    """The dependency pushed back: retried after its own delay, never opens the circuit (that would waste goodput)."""
    CANCELLED = "cancelled"
    """The caller went away: says nothing about the dependency and never counts."""
    REJECTED = "rejected"
    """Refused by the bulkhead."""
    SHORT_CIRCUITED = "short_circuited"
    """Refused by the breaker."""
    DEADLINE_EXCEEDED = "deadline"
    """The caller's deadline had passed, or left the attempt less time than a slow call takes."""


Classify = Callable[[BaseException], Outcome]
"""Tells what an exception raised by an attempt means; pure, called once or twice for each failure."""

ANSWERED: Final = frozenset({Outcome.SUCCESS, Outcome.CALLER_FAULT})
FAILED: Final = frozenset({Outcome.FAILURE, Outcome.TIMEOUT, Outcome.AUTH_REJECTED})
RETRIED: Final = frozenset({Outcome.FAILURE, Outcome.TIMEOUT, Outcome.OVERLOAD})
REACHED: Final = ANSWERED | FAILED | {Outcome.OVERLOAD}
ERRORS: Final = tuple(outcome for outcome in Outcome if outcome not in ANSWERED and outcome is not Outcome.CANCELLED)


def classify_by_type(error: BaseException) -> Outcome:
    """The default, which knows no transport: an error may carry its own `outcome`; a timeout is one; the rest fails."""
    outcome = getattr(error, "outcome", None)
    if isinstance(outcome, Outcome):
        return outcome
    if isinstance(error, TimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return Outcome.CANCELLED
    return Outcome.FAILURE
