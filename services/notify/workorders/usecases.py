"""Listing and closing work orders; events open them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.notify.workorders.domain import RESOLUTION_CHARS_MAX, WorkOrder

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
STATES: Final = ("", "open", "closed")


@dataclass(frozen=True, slots=True)
class WorkOrderPage:
    """Newest first; `next_cursor` is opaque and empty on the last page."""

    items: tuple[WorkOrder, ...]
    next_cursor: str


class WorkOrders(Protocol):
    """Where work orders are kept; who sees a person's inbox sees their work orders."""

    async def page(
        self, visible_to: Actor, state: str, assignee_id: str, subject: str, limit: int, cursor: str
    ) -> WorkOrderPage: ...

    async def close(
        self, visible_to: Actor, work_order_id: str, resolution: str, now: datetime
    ) -> tuple[WorkOrder | None, bool]: ...


@dataclass(frozen=True, slots=True)
class WorkOrderDesk:
    """The verbs of this capability."""

    orders: WorkOrders
    clock: Clock

    async def list(
        self, actor: Actor, state: str, assignee_id: str, subject: str, limit: int, cursor: str
    ) -> WorkOrderPage:
        """Those the actor may see, newest first. Raises `InvalidRequestError`."""
        if state not in STATES:
            raise InvalidRequestError("no such state", errors=[FieldError("state", "is open or closed")])
        if not 0 <= limit <= LIMIT_MAX:
            raise InvalidRequestError("limit is out of range", errors=[FieldError("limit", f"1 to {LIMIT_MAX}")])
        return await self.orders.page(actor, state, assignee_id, subject, limit or LIMIT_DEFAULT, cursor)

    async def close(self, actor: Actor, work_order_id: str, resolution: str) -> WorkOrder:
        """Raises `NotFoundError`, `ConflictError` for one that is closed, `InvalidRequestError`."""
        if not 1 <= len(resolution) <= RESOLUTION_CHARS_MAX:
            reason = f"1 to {RESOLUTION_CHARS_MAX} characters"
            raise InvalidRequestError("say how it was resolved", errors=[FieldError("resolution", reason)])
        order, closed = await self.orders.close(actor, work_order_id, resolution, self.clock.now())
        if order is None:
            raise NotFoundError("no such work order")
        if not closed:
            raise ConflictError("it is closed already")
        return order
