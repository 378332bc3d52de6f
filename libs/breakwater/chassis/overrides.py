"""The overrides a process holds in memory, from whatever way they came (resilience.md, modes).

An override names a dependency and, unless it is for every caller, a caller; the narrower one governs while both are
in force. A later `set_at` replaces an earlier one, so the order of arrival does not matter: key-value bucket and gRPC
may race.
"""

from datetime import UTC, datetime

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.edges.v1 import edges_pb2
from breakwater.resilience import Override, OverrideMode, PolicyRegistry
from breakwater.resilience.errors import InvalidPolicyError
from breakwater.resilience.faults import Fault, FaultKind

MODES = {
    edges_pb2.OVERRIDE_MODE_FORCED_OPEN: OverrideMode.FORCED_OPEN,
    edges_pb2.OVERRIDE_MODE_FORCED_CLOSED: OverrideMode.FORCED_CLOSED,
    edges_pb2.OVERRIDE_MODE_SHADOW: OverrideMode.SHADOW,
    edges_pb2.OVERRIDE_MODE_DISABLED: OverrideMode.DISABLED,
    edges_pb2.OVERRIDE_MODE_FALLBACK: OverrideMode.FALLBACK,
    edges_pb2.OVERRIDE_MODE_CHAOS: OverrideMode.CHAOS,
}
"""Wire to policy; a mode that is not here is a newer release's and is refused, unspecified lifts."""

KINDS = {
    edges_pb2.FAULT_KIND_LATENCY: FaultKind.LATENCY,
    edges_pb2.FAULT_KIND_ERROR: FaultKind.ERROR,
    edges_pb2.FAULT_KIND_HANG: FaultKind.HANG,
    edges_pb2.FAULT_KIND_RESET: FaultKind.RESET,
    edges_pb2.FAULT_KIND_SLOW_BODY: FaultKind.SLOW_BODY,
    edges_pb2.FAULT_KIND_CREDENTIAL: FaultKind.CREDENTIAL,
}
_KINDS_TO_WIRE = {kind: wire for wire, kind in KINDS.items()}

_EVERY_CALLER = ""


class Overrides:
    """What was set on the edges of one process. `settle` must be called every second or so: overrides end by time."""

    def __init__(
        self, policies: PolicyRegistry, clock: Clock, *, chaos_allowed: bool = False, own_only: bool = False
    ) -> None:
        """`chaos_allowed` lets faults be injected. `own_only` takes no override that was laid for every caller.

        The latter is for the process that lays and lifts them: it must not cut itself off.
        """
        self._policies = policies
        self._clock = clock
        self._chaos_allowed = chaos_allowed
        self._callers = {policies.caller} if own_only else {policies.caller, _EVERY_CALLER}
        self._dependencies = {policy.settings.dependency for policy in policies}
        self._set_at: dict[tuple[str, str], datetime] = {}
        self._held: dict[tuple[str, str], Override] = {}
        self._applied: dict[str, Override | None] = {}

    def take(self, wire: edges_pb2.Override) -> int:
        """Lays or lifts an override; returns how many edges of this process it concerns.

        Raises `InvalidRequestError` for one without actor, reason or expiry, of a mode or fault that cannot be, or of
        mode chaos where that is not allowed.
        """
        if wire.caller not in self._callers or wire.dependency not in self._dependencies:
            return 0
        key = (wire.dependency, wire.caller)
        set_at = wire.set_at.ToDatetime(UTC) if wire.HasField("set_at") else self._clock.now()
        if key in self._set_at and set_at < self._set_at[key]:
            return 1
        if wire.mode == edges_pb2.OVERRIDE_MODE_UNSPECIFIED:
            self._held.pop(key, None)
        else:
            self._held[key] = self._read(wire)
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

    def _read(self, wire: edges_pb2.Override) -> Override:
        mode = MODES.get(wire.mode)
        if mode is None:
            raise _refused("override.mode", "is not known to this release")
        if mode is OverrideMode.CHAOS and not self._chaos_allowed:
            raise _refused("override.mode", "chaos is not allowed here (BREAKWATER_CHAOS_IN_PRODUCTION)")
        if not wire.HasField("expires_at"):
            raise _refused("override.expires_at", "is missing")
        try:
            return Override(
                mode=mode,
                actor=wire.actor,
                reason=wire.reason,
                expires_at=wire.expires_at.ToDatetime(UTC),
                fault=fault_from(wire.fault) if wire.HasField("fault") else None,
            )
        except InvalidPolicyError as error:
            fields = [FieldError(*each.split(": ", 1)) for each in error.errors]
            raise InvalidRequestError("The override is not complete.", errors=fields) from error


def fault_from(wire: edges_pb2.Fault) -> Fault:
    """The fault as policies take it. Raises `InvalidPolicyError`."""
    kind = KINDS.get(wire.kind)
    if kind is None:
        raise InvalidPolicyError(("fault.kind: is not known to this release",))
    return Fault(
        kind=kind,
        share=wire.share,
        control_share=wire.control_share,
        latency_p50_s=wire.latency_p50_s if wire.HasField("latency_p50_s") else None,
        latency_p99_s=wire.latency_p99_s if wire.HasField("latency_p99_s") else None,
        latency_s_max=wire.latency_s_max,
        code=wire.code,
    )


def fault_to(fault: Fault) -> edges_pb2.Fault:
    """The fault in its wire form."""
    return edges_pb2.Fault(
        kind=_KINDS_TO_WIRE[fault.kind],
        share=fault.share,
        control_share=fault.control_share,
        latency_p50_s=fault.latency_p50_s,
        latency_p99_s=fault.latency_p99_s,
        latency_s_max=fault.latency_s_max,
        code=fault.code,
    )


def _refused(field: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError("The override cannot be taken.", errors=(FieldError(field, reason),))
