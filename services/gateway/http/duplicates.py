"""Who may be the same customer: `/v1/duplicates` and `/v1/customers/{id}/duplicates` (53, 124)."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import customers_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input, ShortText


class Somebody(Input):
    """What is known of somebody before they are entered."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "王芳", "company": "恒力精密", "phone": "13812345678"}]}
    )

    name: ShortText
    company: ShortText | None = None
    phone: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=40)] | None = None
    email: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=254)] | None = None


class DuplicateReasonView(TypedDict):
    """One thing that speaks for two being one customer; points below 0 speak against it."""

    field: str
    points: int
    text: str


class DuplicateView(TypedDict):
    """A customer that may be the same; `verdict` is same, or suspected while a person has to look."""

    customer_id: str
    name: str
    company: str | None
    owner_id: str | None
    verdict: str
    score: int
    reasons: list[DuplicateReasonView]
    found_at: str | None


class DuplicateList(TypedDict):
    """The likeliest first; `next_cursor` is always null, for few are alike."""

    items: list[DuplicateView]
    next_cursor: str | None


class Dismissal(Input):
    """The customer that is another one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": "0198c0de-0000-7000-8000-000000000001"}]})

    customer_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]


class Dismissed(TypedDict):
    """The two that are not suspected any more."""

    customer_ids: list[str]


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of duplicates."""

    @api.route("POST", "/v1/duplicates", DuplicateList, tag="customers")
    async def find_duplicates(call: Call, body: Somebody) -> Answer:
        """Who is there already, asked before anything is entered; with what speaks for and against it."""
        request = customers_pb2.FindDuplicatesRequest(
            actor=actor_to(call.actor),
            name=body.name,
            company=body.company or "",
            phone=body.phone or "",
            email=body.email or "",
        )
        reply = await leads.channel.unary(leads.customers.FindDuplicates, request, retryable=True)
        return answer(_list(reply.duplicates))

    @api.route("GET", "/v1/customers/{customer_id}/duplicates", DuplicateList, tag="customers")
    async def list_duplicates(call: Call, customer_id: str) -> Answer:
        """Who may be the same as this customer: found seconds after it came or changed."""
        request = customers_pb2.ListDuplicatesRequest(actor=actor_to(call.actor), customer_id=customer_id)
        reply = await leads.channel.unary(leads.customers.ListDuplicates, request, retryable=True)
        return answer(_list(reply.duplicates))

    @api.route("POST", "/v1/customers/{customer_id}/duplicates/dismissals", Dismissed, tag="customers")
    async def dismiss_duplicate(call: Call, customer_id: str, body: Dismissal) -> Answer:
        """Says that two suspected customers are two; they are not found again."""
        request = customers_pb2.DismissDuplicateRequest(
            actor=actor_to(call.actor), customer_id=customer_id, other_id=body.customer_id
        )
        await leads.channel.unary(leads.customers.DismissDuplicate, request, retryable=True)
        dismissed: Dismissed = {"customer_ids": [customer_id, body.customer_id]}
        return answer(dismissed)


def _list(duplicates: Sequence[customers_pb2.Duplicate]) -> DuplicateList:
    return {"items": [_view(each) for each in duplicates], "next_cursor": None}


def _view(duplicate: customers_pb2.Duplicate) -> DuplicateView:
    return {
        "customer_id": duplicate.customer_id,
        "name": duplicate.name,
        "company": duplicate.company or None,
        "owner_id": duplicate.owner_id or None,
        "verdict": duplicate.verdict,
        "score": duplicate.score,
        "reasons": [{"field": each.field, "points": each.points, "text": each.text} for each in duplicate.reasons],
        "found_at": rfc3339(duplicate.found_at) if duplicate.HasField("found_at") else None,
    }
