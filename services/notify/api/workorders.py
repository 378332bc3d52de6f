"""Work orders over gRPC."""

from typing import Any

from breakwater.chassis import wire
from breakwater.notify.v1 import workorders_pb2 as pb
from breakwater.notify.v1.workorders_pb2_grpc import WorkOrderServiceServicer
from services.notify.timestamps import timestamp
from services.notify.workorders.domain import WorkOrder
from services.notify.workorders.usecases import WorkOrderDesk


class WorkOrderApi(WorkOrderServiceServicer):
    """`WorkOrderService` over the use cases."""

    def __init__(self, desk: WorkOrderDesk) -> None:
        self._desk = desk

    async def ListWorkOrders(self, request: pb.ListWorkOrdersRequest, context: Any) -> pb.ListWorkOrdersResponse:
        page = await self._desk.list(
            wire.actor_from(request.actor),
            request.state,
            request.assignee_id,
            request.subject,
            request.limit,
            request.cursor,
        )
        return pb.ListWorkOrdersResponse(
            work_orders=[_to_wire(each) for each in page.items], next_cursor=page.next_cursor
        )

    async def CloseWorkOrder(self, request: pb.CloseWorkOrderRequest, context: Any) -> pb.CloseWorkOrderResponse:
        order = await self._desk.close(wire.actor_from(request.actor), request.id, request.resolution)
        return pb.CloseWorkOrderResponse(work_order=_to_wire(order))


def _to_wire(order: WorkOrder) -> pb.WorkOrder:
    message = pb.WorkOrder(
        id=order.id,
        kind=order.kind,
        subject=order.subject,
        title=order.title,
        assignee_id=order.assignee_id,
        opened_at=timestamp(order.opened_at),
        closed_by=order.closed_by,
        resolution=order.resolution,
    )
    if order.closed_at is not None:
        message.closed_at.CopyFrom(timestamp(order.closed_at))
    return message
