"""An operator's word over a policy: who, why, and until when are never optional."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from breakwater.resilience._errors import InvalidPolicyError
from breakwater.resilience._fault import Fault


class OverrideMode(StrEnum):
    """What the policy does instead of judging for itself (api.md, `PUT /v1/dependencies/{name}/override`)."""

    FORCED_OPEN = "forced-open"
    """No attempt is made."""
    FORCED_CLOSED = "forced-closed"
    """The breaker lets everything through and goes on computing what it would have done; all other layers act."""
    SHADOW = "shadow"
    """Metrics only: breaker and bulkhead compute and count, and refuse nothing."""
    DISABLED = "disabled"
    """No breaker, bulkhead or retry; deadline and attempt timeout stay, because nothing may hang."""
    FALLBACK = "fallback"
    """No attempt is made; the caller's fallback answers, or `CircuitOpenError` where it has none."""
    CHAOS = "chaos"
    """All layers act as ever, and the override's `fault` happens inside of them."""


@dataclass(frozen=True, slots=True)
class Override:
    """One override of one edge. It ends by itself at `expires_at` (aware), whatever else is down."""

    mode: OverrideMode
    actor: str
    reason: str
    expires_at: datetime
    fault: Fault | None = None
    """What `chaos` injects; None in every other mode."""

    def __post_init__(self) -> None:
        """Raises `InvalidPolicyError` with every rule that is broken."""
        errors = []
        if not self.actor.strip():
            errors.append("override.actor: must name who set it")
        if not self.reason.strip():
            errors.append("override.reason: must say why")
        if self.expires_at.utcoffset() != timedelta(0):
            errors.append("override.expires_at: must be aware and in UTC")
        if (self.fault is not None) != (self.mode is OverrideMode.CHAOS):
            errors.append(
                f"override.fault: {'chaos needs it' if self.fault is None else f'means nothing to {self.mode}'}"
            )
        if errors:
            raise InvalidPolicyError(tuple(errors))

    def __str__(self) -> str:
        return str(self.mode) if self.fault is None else f"{self.mode} ({self.fault})"
