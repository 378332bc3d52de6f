"""More of a lead as it grows (75 to 78): its fields, its growth stages, and what fills itself."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import intake_pb2 as pb
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.leads import FieldName, LeadView, lead_view
from services.gateway.http.periods import stamp_of
from services.gateway.http.routes import PRINTABLE, Input, Moment, QueryInput
from services.gateway.http.structs import document_of, struct_of

_Value = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000, pattern=PRINTABLE)]
_Path = Annotated[str, StringConstraints(max_length=200, pattern=PRINTABLE)]
_Text = Annotated[str, StringConstraints(max_length=3_000, pattern=PRINTABLE)]


class LeadEdit(Input):
    """Fields to set, by name; a blank clears one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"fields": {"product": "注塑机", "industry": "制造业"}, "reason": "电话确认"}]}
    )

    fields: Annotated[dict[FieldName, _Value], Field(min_length=1, max_length=60)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=PRINTABLE)] = ""


class NewDocument(Input):
    """A document to put in force. `expected_version` is the version the author has seen; another one in force is 409."""

    document: dict[str, Any]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Known(Input):
    """A signature, minutes, or the paths of pages somebody looked at, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"signature": "王芳\\n采购部经理\\n宁波恒力机械有限公司\\n13812345678"}]}
    )

    signature: _Text = ""
    minutes: _Text = ""
    page_views: Annotated[tuple[_Path, ...], Field(max_length=100)] = ()


class SinceQuery(QueryInput):
    """Leads captured since; a date is its midnight in Shanghai; 90 days without it."""

    since: Moment | None = None


class GrowthStageView(TypedDict):
    """One stage; its fields are taken when it is open."""

    name: str
    title: str
    open: bool
    fields: list[str]


class GrowthView(TypedDict):
    """A lead and how far it has come; `missing` is what opens the next stage, `phone|email` where either is enough."""

    lead: LeadView
    stages: list[GrowthStageView]
    completeness: int
    missing: list[str]


class DocumentView(TypedDict):
    """A version of a document."""

    version: int
    document: dict[str, Any]
    author: str
    created_at: str | None


class BandView(TypedDict):
    """Leads whose completeness is from so many percent on, up to the next band."""

    from_percent: int
    leads: int
    converted: int
    conversion: float


class BandList(TypedDict):
    """The least complete first; `next_cursor` is always null."""

    items: list[BandView]
    next_cursor: str | None


class Filled(TypedDict):
    """What was found, by field; nothing is kept until somebody sets it."""

    fields: dict[str, str]


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of growth."""

    @api.route("POST", "/v1/leads/{lead_id}/fields", GrowthView, tag="leads", extra=KEYED)
    async def edit_lead(call: Call, lead_id: str, body: LeadEdit) -> Answer:
        """Sets fields of a lead; one of a stage that is not open is refused with what opens it (75)."""
        request = pb.EditLeadRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            lead_id=lead_id,
            fields=body.fields,
            reason=body.reason,
        )
        reply = await leads.channel.unary(leads.intake.EditLead, request, retryable=bool(request.idempotency.key))
        return answer(_growth_view(reply.growth), replayed=reply.replayed)

    @api.route("GET", "/v1/leads/{lead_id}/growth", GrowthView, tag="leads")
    async def get_growth(call: Call, lead_id: str) -> Answer:
        """How far a lead has come, how complete it is, and what opens its next stage (76, 78)."""
        request = pb.GetGrowthRequest(actor=actor_to(call.actor), lead_id=lead_id)
        reply = await leads.channel.unary(leads.intake.GetGrowth, request, retryable=True)
        return answer(_growth_view(reply.growth))

    @api.route("GET", "/v1/growth", DocumentView, tag="leads")
    async def get_growth_stages(call: Call) -> Answer:
        """The growth stages and the fields that each unlocks."""
        request = pb.GetGrowthStagesRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.intake.GetGrowthStages, request, retryable=True)
        return answer(document_view(reply.stages))

    @api.route("PUT", "/v1/growth", DocumentView, tag="leads")
    async def put_growth_stages(call: Call, body: NewDocument) -> Answer:
        """Validates growth stages and puts them in force as a new version."""
        request = pb.PutGrowthStagesRequest(
            actor=actor_to(call.actor), document=struct_of(body.document), expected_version=body.expected_version
        )
        reply = await leads.channel.unary(leads.intake.PutGrowthStages, request)
        return answer(document_view(reply.stages))

    @api.route("GET", "/v1/growth/completeness", BandList, tag="leads")
    async def get_completeness(call: Call, query: Annotated[SinceQuery, Query()]) -> Answer:
        """How often leads of each completeness are converted (78)."""
        request = pb.GetCompletenessRequest(actor=actor_to(call.actor), since=stamp_of(query.since))
        reply = await leads.channel.unary(leads.intake.GetCompleteness, request, retryable=True)
        found: BandList = {
            "items": [
                {
                    "from_percent": each.from_percent,
                    "leads": each.leads,
                    "converted": each.converted,
                    "conversion": round(each.converted / each.leads, 4) if each.leads else 0.0,
                }
                for each in reply.bands
            ],
            "next_cursor": None,
        }
        return answer(found)

    @api.route("POST", "/v1/autofill", Filled, tag="leads")
    async def autofill(call: Call, body: Known) -> Answer:
        """Title and department from a signature, fields from minutes, a preference from page views (77)."""
        request = pb.AutofillRequest(
            actor=actor_to(call.actor), signature=body.signature, minutes=body.minutes, page_views=body.page_views
        )
        reply = await leads.channel.unary(leads.intake.Autofill, request, retryable=True)
        filled: Filled = {"fields": dict(reply.fields)}
        return answer(filled)


def document_view(document: pb.IntakeDocument) -> DocumentView:
    """A version of a document as callers see it."""
    return {
        "version": document.version,
        "document": document_of(document.document),
        "author": document.author,
        "created_at": rfc3339(document.created_at),
    }


def _growth_view(growth: pb.Growth) -> GrowthView:
    return {
        "lead": lead_view(growth.lead),
        "stages": [
            {"name": each.name, "title": each.title, "open": each.open, "fields": list(each.fields)}
            for each in growth.stages
        ],
        "completeness": growth.completeness,
        "missing": list(growth.missing),
    }
