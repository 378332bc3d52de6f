"""The gRPC face of health: translates, and nothing else."""

from datetime import UTC
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.ids import uuid7
from breakwater.health.v1 import health_pb2 as pb
from breakwater.health.v1.health_pb2_grpc import HealthScoringServiceServicer
from services.health.scoring.usecases import ReadHealth
from services.health.signals.usecases import RecordSignals, Request
from services.health.translation import health_to_wire, recorded_to_wire


class HealthApi(HealthScoringServiceServicer):
    """`HealthScoringService` over the use cases of signals and scoring."""

    def __init__(self, record: RecordSignals, read: ReadHealth) -> None:
        self._record = record
        self._read = read

    async def RecordSignal(self, request: pb.RecordSignalRequest, context: Any) -> pb.RecordSignalResponse:
        recorded = await self._record.record(
            wire.actor_from(request.actor),
            Request(
                signal_id=uuid7(),
                customer_id=request.customer_id,
                kind=request.kind,
                value=request.value,
                occurred_at=request.occurred_at.ToDatetime(UTC) if request.HasField("occurred_at") else None,
                key=request.idempotency.key,
                body_hmac=request.idempotency.body_hmac,
            ),
        )
        return recorded_to_wire(recorded)

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        health = await self._read.get(wire.actor_from(request.actor), request.customer_id)
        return pb.GetHealthResponse(health=health_to_wire(health))

    async def ListHealth(self, request: pb.ListHealthRequest, context: Any) -> pb.ListHealthResponse:
        page = await self._read.list(
            wire.actor_from(request.actor), request.limit, request.cursor, needs_care=request.needs_care
        )
        return pb.ListHealthResponse(
            items=[health_to_wire(health) for health in page.items], next_cursor=page.next_cursor
        )
