"""Edges, reports and overrides between the domain and the proto."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge, Forced, Moved, Report
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
}
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
    return Report(message.process, message.instance, as_of, edges, moved)


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
    )


def _edge(edge: pb.Edge, instance: str, as_of: datetime) -> Edge:
    forced = None
    if edge.HasField("forced"):
        told = edge.forced
        mode = _MODE_NAMES.get(told.mode, "unknown")
        forced = Forced(mode, told.actor, told.reason, _moment(told.expires_at))
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
        bulkhead=Bulkhead(edge.bulkhead_in_use, edge.bulkhead_limit, edge.bulkhead_queued),
        next_probe_s=edge.next_probe_s if edge.HasField("next_probe_s") else None,
        fallbacks=edge.fallbacks,
        as_of=as_of,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
