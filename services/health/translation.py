"""Health and signals between the domain and the proto, both ways: for the API and for kept answers."""

from datetime import UTC, datetime
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.health.v1 import health_pb2 as pb
from services.health.scoring.domain import Health, Layer, Reason
from services.health.signals.domain import Signal
from services.health.signals.usecases import Recorded


def health_to_wire(health: Health) -> pb.Health:
    """The score as the proto has it."""
    return pb.Health(
        customer_id=health.customer_id,
        score=health.score,
        grade=health.grade,
        needs_care=health.needs_care,
        layers=[_layer_to_wire(layer) for layer in health.layers],
        scored_at=_timestamp(health.scored_at),
        signals=health.signals,
        model_version=health.model_version,
    )


def recorded_to_wire(recorded: Recorded) -> pb.RecordSignalResponse:
    """The answer to a recorded signal."""
    signal = recorded.signal
    return pb.RecordSignalResponse(
        signal=pb.Signal(
            id=signal.id,
            customer_id=signal.customer_id,
            kind=signal.kind,
            value=f"{signal.value:f}",
            occurred_at=_timestamp(signal.occurred_at),
        ),
        health=health_to_wire(recorded.health),
        replayed=recorded.replayed,
    )


def recorded_from_wire(answer: pb.RecordSignalResponse) -> Recorded:
    """A kept answer, marked as a replay."""
    signal, health = answer.signal, answer.health
    return Recorded(
        Signal(signal.id, signal.customer_id, signal.kind, Decimal(signal.value), _moment(signal.occurred_at)),
        Health(
            customer_id=health.customer_id,
            score=health.score,
            grade=health.grade,
            needs_care=health.needs_care,
            layers=tuple(_layer_from_wire(layer) for layer in health.layers),
            scored_at=_moment(health.scored_at),
            signals=health.signals,
            model_version=health.model_version,
        ),
        replayed=True,
    )


def _layer_to_wire(layer: Layer) -> pb.Layer:
    reasons = [
        pb.Reason(
            metric=reason.metric,
            actual=reason.actual,
            target=reason.target,
            points=reason.points,
            points_max=reason.points_max,
            text=reason.text,
        )
        for reason in layer.reasons
    ]
    return pb.Layer(name=layer.name, weight=layer.weight, score=layer.score, reasons=reasons)


def _layer_from_wire(layer: pb.Layer) -> Layer:
    reasons = tuple(
        Reason(reason.metric, reason.actual, reason.target, reason.points, reason.points_max, reason.text)
        for reason in layer.reasons
    )
    return Layer(layer.name, layer.weight, layer.score, reasons)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)
