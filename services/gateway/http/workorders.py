"""What people have to do and what stays on a list until it is done: `/v1/work-orders`."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.notify.v1 import workorders_pb2 as pb
from services.gateway.clients import Notify
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Identifier, Input, LongText, PageQuery


class WorkOrdersQuery(PageQuery):
    """Narrows the list."""

    state: Literal["", "open", "closed"] = ""
    assignee_id: Identifier | Literal[""] = ""
    subject: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{0,200}$")] = ""


class Closing(Input):
    """How it ended."""

    resolution: LongText
    """1000 characters at most."""


class WorkOrderView(TypedDict):
    """Open until closed_at."""

    id: str
    kind: str
    subject: str | None
    title: str
    assignee_id: str
    opened_at: str | None
    closed_at: str | None
    closed_by: str | None
    resolution: str | None


class WorkOrderPage(TypedDict):
    """Newest first."""

    items: list[WorkOrderView]
    next_cursor: str | None


def add_routes(api: Api, notify: Notify) -> None:
    """Adds the routes of work orders."""

    @api.route("GET", "/v1/work-orders", WorkOrderPage, tag="notifications")
    async def list_work_orders(call: Call, query: Annotated[WorkOrdersQuery, Query()]) -> Answer:
        """A page of the work orders the caller may see, newest first."""
        request = pb.ListWorkOrdersRequest(
            actor=actor_to(call.actor),
            limit=query.limit,
            cursor=query.cursor,
            state=query.state,
            assignee_id=query.assignee_id,
            subject=query.subject,
        )
        reply = await notify.channel.unary(notify.work_orders.ListWorkOrders, request, retryable=True)
        page: WorkOrderPage = {
            "items": [_view(each) for each in reply.work_orders],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)

    @api.route("POST", "/v1/work-orders/{work_order_id}/close", WorkOrderView, tag="notifications")
    async def close_work_order(call: Call, work_order_id: str, body: Closing) -> Answer:
        """It is done, or is dropped; the resolution says which."""
        request = pb.CloseWorkOrderRequest(actor=actor_to(call.actor), id=work_order_id, resolution=body.resolution)
        reply = await notify.channel.unary(notify.work_orders.CloseWorkOrder, request)
        return answer(_view(reply.work_order))


def _view(order: pb.WorkOrder) -> WorkOrderView:
    return {
        "id": order.id,
        "kind": order.kind,
        "subject": order.subject or None,
        "title": order.title,
        "assignee_id": order.assignee_id,
        "opened_at": rfc3339(order.opened_at),
        "closed_at": rfc3339(order.closed_at),
        "closed_by": order.closed_by or None,
        "resolution": order.resolution or None,
    }
