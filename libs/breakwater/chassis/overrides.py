"""The overrides a process holds in memory, from whatever way they came (resilience.md, modes).

An override names a dependency and, unless it is for every caller, a caller; the narrower one governs while both are
in force. A later `set_at` replaces an earlier one, so the order of arrival does not matter: key-value bucket and gRPC
may race.
"""

from datetime import UTC, datetime

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.edges.v1 import edges_pb2
from breakwater.resilience import InvalidPolicyError, Override, OverrideMode, PolicyRegistry

MODES = {
    edges_pb2.OVERRIDE_MODE_FORCED_OPEN: OverrideMode.FORCED_OPEN,
    edges_pb2.OVERRIDE_MODE_FORCED_CLOSED: OverrideMode.FORCED_CLOSED,
    edges_pb2.OVERRIDE_MODE_SHADOW: OverrideMode.SHADOW,
    edges_pb2.OVERRIDE_MODE_DISABLED: OverrideMode.DISABLED,
    edges_pb2.OVERRIDE_MODE_FALLBACK: OverrideMode.FALLBACK,
}
"""Wire to policy; what is not here lifts the override."""

_EVERY_CALLER = ""


class Overrides:
    """What was set on the edges of one process. `settle` must be called every second or so: overrides end by time."""

    def __init__(self, policies: PolicyRegistry, clock: Clock) -> None:
        self._policies = policies
        self._clock = clock
        self._dependencies = {policy.settings.dependency for policy in policies}
        self._set_at: dict[tuple[str, str], datetime] = {}
        self._held: dict[tuple[str, str], Override] = {}
        self._applied: dict[str, Override | None] = {}

    def take(self, wire: edges_pb2.Override) -> int:
        """Lays or lifts an override; returns how many edges of this process it concerns.

        Raises `InvalidRequestError` for one without actor, reason or expiry.
        """
        if wire.caller not in (_EVERY_CALLER, self._policies.caller) or wire.dependency not in self._dependencies:
            return 0
        key = (wire.dependency, wire.caller)
        set_at = wire.set_at.ToDatetime(UTC) if wire.HasField("set_at") else self._clock.now()
        if key in self._set_at and set_at < self._set_at[key]:
            return 1
        mode = MODES.get(wire.mode)
        if mode is None:
            self._held.pop(key, None)
        else:
            self._held[key] = _override(wire, mode)
        self._set_at[key] = set_at
        self.settle()
        return 1

    def settle(self) -> None:
        """Brings every policy to the override that is in force now."""
        now = self._clock.now()
        for key in [key for key, held in self._held.items() if held.expires_at <= now]:
            del self._held[key]
        for dependency in self._dependencies:
            held = self._held.get((dependency, self._policies.caller)) or self._held.get((dependency, _EVERY_CALLER))
            if self._applied.get(dependency) != held:
                self._policies.apply(dependency, held)
                self._applied[dependency] = held


def _override(wire: edges_pb2.Override, mode: OverrideMode) -> Override:
    if not wire.HasField("expires_at"):
        raise InvalidRequestError("An override must end.", errors=(FieldError("override.expires_at", "is missing"),))
    try:
        return Override(mode=mode, actor=wire.actor, reason=wire.reason, expires_at=wire.expires_at.ToDatetime(UTC))
    except InvalidPolicyError as error:
        fields = [FieldError(*each.split(": ", 1)) for each in error.errors]
        raise InvalidRequestError("The override is not complete.", errors=fields) from error
