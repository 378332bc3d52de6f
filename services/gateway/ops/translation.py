"""Edges, reports and overrides between the domain and the proto."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis.overrides import KINDS
from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.edges.domain import (
    Backlog,
    Bulkhead,
    Circuit,
    Edge,
    EdgePolicy,
    Fault,
    Forced,
    Moved,
    Report,
    Setting,
    Totals,
)
from services.gateway.ops.overrides.domain import OverrideOrder

_STATES = {
    pb.CIRCUIT_STATE_CLOSED: Circuit.CLOSED,
    pb.CIRCUIT_STATE_HALF_OPEN: Circuit.HALF_OPEN,
    pb.CIRCUIT_STATE_OPEN: Circuit.OPEN,
}
_MODES = {
    "forced-open": pb.OVERRIDE_MODE_FORCED_OPEN,
    "forced-closed": pb.OVERRIDE_MODE_FORCED_CLOSED,
    "shadow": pb.OVERRIDE_MODE_SHADOW,
    "disabled": pb.OVERRIDE_MODE_DISABLED,
    "fallback": pb.OVERRIDE_MODE_FALLBACK,
    "chaos": pb.OVERRIDE_MODE_CHAOS,
}
_KINDS = {kind.value: number for number, kind in KINDS.items()}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_MODE_NAMES = {number: name for name, number in _MODES.items()}


def report_from_wire(message: pb.EdgeReport) -> Report:
    """A process's report. A state this release does not know counts as open: unknown is not healthy."""
    as_of = _moment(message.as_of)
    moved = None
    if message.HasField("transition"):
        told = message.transition
        moved = Moved(
            caller=told.caller,
            dependency=told.dependency,
            instance=message.instance,
            old=_STATES.get(told.from_state, Circuit.OPEN),
            new=_STATES.get(told.to_state, Circuit.OPEN),
            reason=told.reason,
            at=_moment(told.at),
        )
    edges = tuple(_edge(edge, message.instance, as_of) for edge in message.edges)
    backlogs = tuple(Backlog(each.figure, each.of, each.value, each.age_s) for each in message.backlogs)
    bounds_s = tuple(message.latency_bounds_s)
    return Report(message.process, message.instance, as_of, edges, moved, bounds_s, backlogs)


def order_to_wire(order: OverrideOrder) -> pb.Override:
    """The order as processes take it; without a mode it lifts."""
    return pb.Override(
        caller=order.caller or "",
        dependency=order.dependency,
        mode=_MODES[order.mode] if order.mode else pb.OVERRIDE_MODE_UNSPECIFIED,
        actor=order.actor,
        reason=order.reason,
        set_at=_timestamp(order.set_at),
        expires_at=_timestamp(order.expires_at),
        fault=_fault_to_wire(order.fault) if order.fault else None,
    )


def order_from_wire(wire: pb.Override) -> OverrideOrder:
    """The order as it was given."""
    return OverrideOrder(
        dependency=wire.dependency,
        caller=wire.caller or None,
        mode=_MODE_NAMES.get(wire.mode),
        actor=wire.actor,
        reason=wire.reason,
        set_at=_moment(wire.set_at),
        expires_at=_moment(wire.expires_at),
        fault=_fault_from_wire(wire.fault) if wire.HasField("fault") else None,
    )


def policies_from_wire(message: pb.ListPoliciesResponse, dependency: str) -> tuple[EdgePolicy, ...]:
    """What the process's edges to the dependency go by."""
    return tuple(
        EdgePolicy(
            caller=policy.caller,
            dependency=policy.dependency,
            instance=message.instance,
            loaded_at=_moment(message.loaded_at),
            settings={setting.name: _setting(setting) for setting in policy.settings},
            refused=tuple(message.refused),
        )
        for policy in message.policies
        if policy.dependency == dependency
    )


def _setting(setting: pb.PolicySetting) -> Setting:
    flag = setting.WhichOneof("value") == "flag"
    return Setting(setting.flag if flag else setting.number, setting.origin)


def _fault_to_wire(fault: Fault) -> pb.Fault:
    return pb.Fault(
        kind=_KINDS[fault.kind],
        share=fault.share,
        control_share=fault.control_share,
        latency_p50_s=fault.latency_p50_s,
        latency_p99_s=fault.latency_p99_s,
        latency_s_max=fault.latency_s_max,
        code=fault.code,
    )


def _fault_from_wire(fault: pb.Fault) -> Fault:
    return Fault(
        kind=_KIND_NAMES.get(fault.kind, "unknown"),
        share=fault.share,
        control_share=fault.control_share,
        latency_p50_s=fault.latency_p50_s if fault.HasField("latency_p50_s") else None,
        latency_p99_s=fault.latency_p99_s if fault.HasField("latency_p99_s") else None,
        latency_s_max=fault.latency_s_max,
        code=fault.code,
    )


def _edge(edge: pb.Edge, instance: str, as_of: datetime) -> Edge:
    forced = None
    if edge.HasField("forced"):
        told = edge.forced
        mode = _MODE_NAMES.get(told.mode, "unknown")
        fault = _fault_from_wire(told.fault) if told.HasField("fault") else None
        forced = Forced(mode, told.actor, told.reason, _moment(told.expires_at), fault)
    return Edge(
        caller=edge.caller,
        dependency=edge.dependency,
        instance=instance,
        state=_STATES.get(edge.state, Circuit.OPEN),
        override=forced,
        availability=edge.availability if edge.HasField("availability") else None,
        error_rate=edge.error_rate if edge.HasField("error_rate") else None,
        errors=dict(edge.errors),
        rate_per_s=edge.rate_per_s,
        p50_ms=edge.p50_ms if edge.HasField("p50_ms") else None,
        p90_ms=edge.p90_ms if edge.HasField("p90_ms") else None,
        p99_ms=edge.p99_ms if edge.HasField("p99_ms") else None,
        retries=edge.retries,
        retry_budget_tokens=edge.retry_budget_tokens,
        bulkhead=Bulkhead(edge.bulkhead_in_use, edge.bulkhead_limit, edge.bulkhead_queued, edge.bulkhead_queue_max),
        next_probe_s=edge.next_probe_s if edge.HasField("next_probe_s") else None,
        fallbacks=edge.fallbacks,
        injected=edge.injected,
        as_of=as_of,
        calls=edge.calls,
        availability_first=edge.availability_first if edge.HasField("availability_first") else None,
        slow_rate=edge.slow_rate if edge.HasField("slow_rate") else None,
        p99_5_ms=edge.p99_5_ms if edge.HasField("p99_5_ms") else None,
        totals=_totals(edge.totals) if edge.HasField("totals") else None,
    )


def _totals(totals: pb.EdgeTotals) -> Totals:
    return Totals(dict(totals.outcomes), totals.retries, totals.fallbacks, tuple(totals.latency_counts))


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
