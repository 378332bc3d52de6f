"""Two customers made one, taken apart again, and every change of a field: `/v1/customers/{id}/merges`, `/changes` (53, 88)."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import customers_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.routes import Input, PageQuery


class NewMerge(Input):
    """The customer that becomes part of the one in the path."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "0198c0de-0000-7000-8000-000000000001",
                    "reason": "同一联系人，电话录入有误",
                    "take": ["phone"],
                }
            ]
        }
    )

    customer_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
    take: Annotated[tuple[Literal["name", "company", "phone", "email"], ...], Field(max_length=4)] = ()
    """Fields that the merged one knows better; blanks are filled without asking."""


class FieldChangeView(TypedDict):
    """One field and what it was before."""

    field: str
    before: str | None
    after: str | None


class MergeView(TypedDict):
    """Two customers that were made one; `moved` counts what went with it."""

    id: str
    kept_id: str
    merged_id: str
    by: str
    reason: str
    merged_at: str | None
    fields: list[FieldChangeView]
    moved: dict[str, int]
    undone_by: str | None
    undone_at: str | None


class MergeList(TypedDict):
    """Oldest first; `next_cursor` is always null, for a customer has few."""

    items: list[MergeView]
    next_cursor: str | None


class ChangeView(TypedDict):
    """One field, changed once; `by` is a person, import:ID, rule:ID for a decision of routing, or system."""

    field: str
    before: str | None
    after: str | None
    by: str
    reason: str | None
    changed_at: str | None


class ChangePage(TypedDict):
    """Newest first."""

    items: list[ChangeView]
    next_cursor: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of merges and changes."""

    @api.route("POST", "/v1/customers/{customer_id}/merges", MergeView, status=201, tag="customers", extra=KEYED)
    async def merge_customers(call: Call, customer_id: str, body: NewMerge) -> Answer:
        """Makes another customer part of this one, with its leads, activities, opportunities and invoices."""
        request = customers_pb2.MergeCustomersRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            kept_id=customer_id,
            merged_id=body.customer_id,
            reason=body.reason,
            take=body.take,
        )
        reply = await leads.channel.unary(
            leads.customers.MergeCustomers, request, retryable=bool(request.idempotency.key)
        )
        return answer(_merge_view(reply.merge), status=201, replayed=reply.replayed)

    @api.route("GET", "/v1/customers/{customer_id}/merges", MergeList, tag="customers")
    async def list_merges(call: Call, customer_id: str) -> Answer:
        """Which customers this one was made of, the undone merges too."""
        request = customers_pb2.ListMergesRequest(actor=actor_to(call.actor), customer_id=customer_id)
        reply = await leads.channel.unary(leads.customers.ListMerges, request, retryable=True)
        found: MergeList = {"items": [_merge_view(each) for each in reply.merges], "next_cursor": None}
        return answer(found)

    @api.route("POST", "/v1/customers/{customer_id}/merges/{merge_id}/undo", MergeView, tag="customers", extra=KEYED)
    async def undo_merge(call: Call, customer_id: str, merge_id: str) -> Answer:
        """Takes the two apart again, exactly as they were; 409 names what has changed since and would be lost."""
        request = customers_pb2.UndoMergeRequest(
            actor=actor_to(call.actor), idempotency=idempotency_of(call), customer_id=customer_id, merge_id=merge_id
        )
        reply = await leads.channel.unary(leads.customers.UndoMerge, request, retryable=bool(request.idempotency.key))
        return answer(_merge_view(reply.merge), replayed=reply.replayed)

    @api.route("GET", "/v1/customers/{customer_id}/changes", ChangePage, tag="customers")
    async def list_customer_changes(call: Call, customer_id: str, query: Annotated[PageQuery, Query()]) -> Answer:
        """Every change of the customer's fields: who, when, from, to, why."""
        request = customers_pb2.ListChangesRequest(
            actor=actor_to(call.actor), customer_id=customer_id, limit=query.limit, cursor=query.cursor
        )
        return answer(_change_page(await leads.channel.unary(leads.customers.ListChanges, request, retryable=True)))

    @api.route("GET", "/v1/leads/{lead_id}/changes", ChangePage, tag="leads")
    async def list_lead_changes(call: Call, lead_id: str, query: Annotated[PageQuery, Query()]) -> Answer:
        """Every change of the lead's fields: who, when, from, to, why."""
        request = customers_pb2.ListChangesRequest(
            actor=actor_to(call.actor), lead_id=lead_id, limit=query.limit, cursor=query.cursor
        )
        return answer(_change_page(await leads.channel.unary(leads.customers.ListChanges, request, retryable=True)))


def _merge_view(merge: customers_pb2.Merge) -> MergeView:
    return {
        "id": merge.id,
        "kept_id": merge.kept_id,
        "merged_id": merge.merged_id,
        "by": merge.by,
        "reason": merge.reason,
        "merged_at": rfc3339(merge.merged_at),
        "fields": _field_changes(merge.fields),
        "moved": dict(merge.moved),
        "undone_by": merge.undone_by or None,
        "undone_at": rfc3339(merge.undone_at) if merge.HasField("undone_at") else None,
    }


def _field_changes(changes: Sequence[customers_pb2.FieldChange]) -> list[FieldChangeView]:
    return [{"field": each.field, "before": each.before or None, "after": each.after or None} for each in changes]


def _change_page(reply: customers_pb2.ListChangesResponse) -> ChangePage:
    return {
        "items": [
            {
                "field": each.field,
                "before": each.before or None,
                "after": each.after or None,
                "by": each.by,
                "reason": each.reason or None,
                "changed_at": rfc3339(each.changed_at),
            }
            for each in reply.changes
        ],
        "next_cursor": reply.next_cursor or None,
    }
