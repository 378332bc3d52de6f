"""Reading the changes of a lead or a customer (88)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from services.leads.intake.usecases import PAGE_DEFAULT, PAGE_MAX, LeadReader, owners_of, permit


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one record, changed once."""

    id: int
    field: str
    before: str | None
    after: str | None
    by: str
    """A person's id, `import:ID`, `rule:ID` for a decision of routing, or `system`."""
    reason: str
    at: datetime


class ChangeReader(LeadReader, Protocol):
    """Reading changes."""

    async def changes(self, subject_id: str, before: int | None, limit: int) -> list[Change]:
        """Newest first, those older than the change `before`."""
        ...


BeginChanges = Callable[[], AbstractAsyncContextManager[ChangeReader]]


async def list_changes(
    begin: BeginChanges, actor: Actor, *, lead_id: str, customer_id: str, cursor: str, limit: int
) -> tuple[list[Change], str]:
    """A page of a lead's changes, or of a customer's, newest first, and where to go on; `limit` 0 means 50."""
    permit(actor)
    if not 0 <= limit <= PAGE_MAX:
        raise InvalidRequestError(f"limit is 1 to {PAGE_MAX}.", errors=[FieldError("limit", f"is 1 to {PAGE_MAX}")])
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):  # noqa: PLR2004 - of a bigint
        raise InvalidRequestError("The cursor is not one we gave.", errors=[FieldError("cursor", "is not one we gave")])
    limit = limit or PAGE_DEFAULT
    async with begin() as reader:
        owners = await owners_of(reader, actor)
        found = await (reader.lead(lead_id, owners) if lead_id else reader.customer(customer_id, owners))
        if found is None:
            raise NotFoundError("There is no such lead." if lead_id else "There is no such customer.")
        changes = await reader.changes(lead_id or customer_id, int(cursor) if cursor else None, limit + 1)
    return changes[:limit], str(changes[limit - 1].id) if len(changes) > limit else ""
