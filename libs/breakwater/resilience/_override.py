"""An operator's word over a policy: who, why, and until when are never optional."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from breakwater.resilience._clock import Clock
from breakwater.resilience.errors import InvalidPolicyError
from breakwater.resilience.faults import Fault


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


class OverrideInForce:
    """The override of one edge. Once set it ends by the monotonic clock: a wall clock that jumps moves no expiry.

    `announce` is told of its beginning and of its end. `override` is public for the hot path: None where there is none;
    one that has expired stays until somebody asks for its mode.
    """

    __slots__ = ("_announce", "_clock", "override", "until_s")

    def __init__(self, clock: Clock, announce: Callable[[str], None]) -> None:
        self._clock = clock
        self._announce = announce
        self.override: Override | None = None
        self.until_s = 0.0

    def set(self, override: Override | None) -> None:
        """Puts it into force, or ends the present one; one that has expired ends it too."""
        now_s = self._clock.monotonic()
        before = self.at(now_s)
        left_s = (override.expires_at - self._clock.now()).total_seconds() if override else 0.0
        self.override = override if left_s > 0 else None
        self.until_s = now_s + left_s
        if self.override is not None and self.override != before:
            self._announce(f"{self.override} set by {self.override.actor}: {self.override.reason}")
        elif self.override is None and before is not None:
            self._announce(f"{before.mode} of {before.actor} ended")

    def at(self, now_s: float) -> Override | None:
        """What is in force now; changes nothing."""
        return self.override if now_s < self.until_s else None

    def mode(self) -> OverrideMode | None:
        """The mode in force; announces the end of one that has expired."""
        override = self.at(self._clock.monotonic())
        if override is not None:
            return override.mode
        ended, self.override = self.override, None
        if ended is not None:
            self._announce(f"{ended.mode} of {ended.actor} expired")
        return None

    def fault(self) -> Fault | None:
        """What `chaos` injects now."""
        override = self.at(self._clock.monotonic())
        return override.fault if override is not None else None
