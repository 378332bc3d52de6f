"""Leads: `/v1/leads`."""

from decimal import Decimal
from typing import Annotated, Literal, NotRequired, cast

from fastapi import Query
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.routes import PRINTABLE, Identifier, Input, LongText, PageQuery, ShortText

LiveState = Literal["unassigned", "unclaimed", "working", "overdue", "ended"]
Stage = Literal["new", "contacted", "qualified", "converted", "lost", "closed"]


FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
DetailText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=PRINTABLE)]


class NewAttachment(Input):
    """A photo or file that is kept elsewhere."""

    name: ShortText
    reference: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=PRINTABLE)]
    media_type: Annotated[str, StringConstraints(max_length=100, pattern=PRINTABLE)] = ""


class NewLead(Input):
    """What is known of somebody who may become a customer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "王芳",
                    "company": "苏州恒力精密机械有限公司",
                    "phone": "13812345678",
                    "region": "华东",
                    "industry": "制造业",
                    "source": "website",
                    "budget": "800000",
                    "utm": {"source": "baidu", "medium": "cpc"},
                }
            ]
        }
    )

    name: ShortText
    company: ShortText | None = None
    phone: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=40)] | None = None
    """As it came; it is normalised to find the customer again (53)."""
    email: (
        Annotated[
            str, StringConstraints(strip_whitespace=True, pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}$")
        ]
        | None
    ) = None
    city_code: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,12}$")] | None = None
    region: ShortText | None = None
    industry: ShortText | None = None
    source: ShortText
    """The channel it came through (54)."""
    budget: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=2)] | None = None
    """Yuan; a number or a text."""
    urgency: ShortText | None = None
    need: LongText | None = None
    utm: Annotated[dict[Identifier, ShortText], Field(max_length=20)] | None = None
    """Campaign parameters of the first touch (30)."""
    anonymous_id: Identifier | None = None
    details: Annotated[dict[FieldName, DetailText], Field(max_length=40)] | None = None
    """What the open growth stages ask for beside the fields above (54, 75)."""
    attachments: Annotated[tuple[NewAttachment, ...], Field(max_length=10)] = ()
    """Photos and files by reference (79)."""


class AttachmentView(TypedDict):
    """A photo or file by reference."""

    name: str
    reference: str
    media_type: str | None


class LeadView(TypedDict):
    """A lead."""

    id: str
    customer_id: str
    name: str
    company: str | None
    phone: str | None
    email: str | None
    website: str | None
    city_code: str | None
    region: str | None
    industry: str | None
    source: str
    budget: str | None
    urgency: str | None
    need: str | None
    utm: dict[str, str]
    anonymous_id: str | None
    stage: str
    source_status: str | None
    owner_id: str | None
    external_id: str | None
    details: dict[str, str]
    attachments: list[AttachmentView]
    form: str | None
    created_at: str | None
    claim_by: str | None
    claimed_at: str | None


class LiveStatusView(TypedDict):
    """How a lead stands, derived from what was done (104)."""

    state: LiveState
    overdue: bool
    due_at: str | None
    """What is past its time, or due next: the claim, or the next action."""
    last_follow_up_at: str | None
    last_follow_up_by: str | None
    next_action: str | None


class LeadNow(LeadView):
    """A lead and how it stands; null from a leads service that does not tell yet."""

    status: LiveStatusView | None


class CandidateView(TypedDict):
    """A person a decision considered."""

    person_id: str
    name: str
    chosen: bool
    rejected_because: str | None


class AssignmentView(TypedDict):
    """Where a lead went and why (8)."""

    id: str
    owner_id: str | None
    rule_id: str
    rule_version: int
    priority: str | None
    score: str | None
    claim_by: str | None
    reason: str
    decided_at: str | None
    candidates: list[CandidateView]


class AssignmentSummary(TypedDict):
    """The decision a new lead got."""

    owner_id: str | None
    rule_id: str
    rule_version: int
    claim_by: str | None
    reason: str


class LeadCreated(TypedDict):
    """The stored lead; `duplicate_of` names the earlier lead of the same customer (53)."""

    id: str
    customer_id: str
    stage: str
    assignment: AssignmentSummary
    duplicate_of: NotRequired[str]


class LeadPage(TypedDict):
    """Newest first."""

    items: list[LeadView]
    next_cursor: str | None


class AssignmentList(TypedDict):
    """Oldest first; `next_cursor` is always null, for a lead has few decisions."""

    items: list[AssignmentView]
    next_cursor: str | None


class LeadsQuery(PageQuery):
    """Narrows the list."""

    stage: Stage | Literal[""] = ""
    owner_id: Identifier | Literal[""] = ""
    source: Annotated[str, StringConstraints(max_length=200)] = ""


class StageChange(Input):
    """The stage asked for."""

    stage: Stage
    reason: LongText | None = None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of leads."""

    @api.route("POST", "/v1/leads", LeadCreated, status=201, tag="leads", extra=KEYED)
    async def create_lead(call: Call, body: NewLead) -> Answer:
        """Takes a lead, finds or makes its customer and routes it to a person, with the reason."""
        request = leads_pb2.CreateLeadRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            name=body.name,
            company=body.company or "",
            phone=body.phone or "",
            email=body.email or "",
            city_code=body.city_code or "",
            region=body.region or "",
            industry=body.industry or "",
            source=body.source,
            budget="" if body.budget is None else format(body.budget, "f"),
            urgency=body.urgency or "",
            need=body.need or "",
            utm=ParseDict(body.utm, Struct()) if body.utm else None,
            anonymous_id=body.anonymous_id or "",
            details=body.details,
            attachments=[
                leads_pb2.Attachment(name=each.name, reference=each.reference, media_type=each.media_type)
                for each in body.attachments
            ],
        )
        reply = await leads.channel.unary(leads.leads.CreateLead, request, retryable=bool(request.idempotency.key))
        return lead_created(reply)

    @api.route("GET", "/v1/leads/{lead_id}", LeadNow, tag="leads")
    async def get_lead(call: Call, lead_id: str) -> Answer:
        """One lead the caller may see, and how it stands."""
        request = leads_pb2.GetLeadRequest(actor=actor_to(call.actor), id=lead_id)
        reply = await leads.channel.unary(leads.leads.GetLead, request, retryable=True)
        view: LeadNow = {**lead_view(reply.lead), "status": _status_view(reply)}
        return answer(view)

    @api.route("GET", "/v1/leads", LeadPage, tag="leads")
    async def list_leads(call: Call, query: Annotated[LeadsQuery, Query()]) -> Answer:
        """A page of the leads the caller may see, newest first."""
        request = leads_pb2.ListLeadsRequest(
            actor=actor_to(call.actor),
            limit=query.limit,
            cursor=query.cursor,
            filter=leads_pb2.LeadFilter(stage=query.stage, owner_id=query.owner_id, source=query.source),
        )
        reply = await leads.channel.unary(leads.leads.ListLeads, request, retryable=True)
        page: LeadPage = {"items": [lead_view(lead) for lead in reply.leads], "next_cursor": reply.next_cursor or None}
        return answer(page)

    @api.route("GET", "/v1/leads/{lead_id}/assignments", AssignmentList, tag="leads")
    async def list_assignments(call: Call, lead_id: str) -> Answer:
        """Every routing decision with its candidates and why each was rejected."""
        request = leads_pb2.ListAssignmentsRequest(actor=actor_to(call.actor), lead_id=lead_id)
        reply = await leads.channel.unary(leads.leads.ListAssignments, request, retryable=True)
        found: AssignmentList = {"items": [_assignment_view(each) for each in reply.assignments], "next_cursor": None}
        return answer(found)

    @api.route("POST", "/v1/leads/{lead_id}/claim", LeadView, tag="leads", extra=KEYED)
    async def claim_lead(call: Call, lead_id: str) -> Answer:
        """The caller accepts a lead that was assigned to them, which ends its first timer (5)."""
        request = leads_pb2.ClaimLeadRequest(
            actor=actor_to(call.actor), idempotency=idempotency_of(call), lead_id=lead_id
        )
        reply = await leads.channel.unary(leads.leads.ClaimLead, request, retryable=bool(request.idempotency.key))
        return answer(lead_view(reply.lead), replayed=reply.replayed)

    @api.route("POST", "/v1/leads/{lead_id}/stage", LeadView, tag="leads", extra=KEYED)
    async def change_stage(call: Call, lead_id: str, body: StageChange) -> Answer:
        """Moves a lead to another stage."""
        request = leads_pb2.ChangeStageRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            lead_id=lead_id,
            stage=body.stage,
            reason=body.reason or "",
        )
        reply = await leads.channel.unary(leads.leads.ChangeStage, request, retryable=bool(request.idempotency.key))
        return answer(lead_view(reply.lead), replayed=reply.replayed)


def lead_created(reply: leads_pb2.CreateLeadResponse) -> Answer:
    """The answer to whoever brought a lead."""
    assignment = reply.assignment
    view: LeadCreated = {
        "id": reply.lead.id,
        "customer_id": reply.lead.customer_id,
        "stage": reply.lead.stage,
        "assignment": {
            "owner_id": assignment.owner_id or None,
            "rule_id": assignment.rule_id,
            "rule_version": assignment.rule_version,
            "claim_by": rfc3339(assignment.claim_by),
            "reason": assignment.reason,
        },
    }
    if reply.duplicate_of:
        view["duplicate_of"] = reply.duplicate_of
    return answer(view, status=201, replayed=reply.replayed, location=f"/v1/leads/{reply.lead.id}")


def lead_view(lead: leads_pb2.Lead) -> LeadView:
    """A lead as callers see it; what is not known is null."""
    return {
        "id": lead.id,
        "customer_id": lead.customer_id,
        "name": lead.name,
        "company": lead.company or None,
        "phone": lead.phone or None,
        "email": lead.email or None,
        "website": lead.website or None,
        "city_code": lead.city_code or None,
        "region": lead.region or None,
        "industry": lead.industry or None,
        "source": lead.source,
        "budget": lead.budget or None,
        "urgency": lead.urgency or None,
        "need": lead.need or None,
        "utm": MessageToDict(lead.utm) if lead.HasField("utm") else {},
        "anonymous_id": lead.anonymous_id or None,
        "stage": lead.stage,
        "source_status": lead.source_status or None,
        "owner_id": lead.owner_id or None,
        "external_id": lead.external_id or None,
        "details": dict(lead.details),
        "attachments": [
            {"name": each.name, "reference": each.reference, "media_type": each.media_type or None}
            for each in lead.attachments
        ],
        "form": lead.form or None,
        "created_at": rfc3339(lead.created_at),
        "claim_by": rfc3339(lead.claim_by),
        "claimed_at": rfc3339(lead.claimed_at),
    }


def _status_view(reply: leads_pb2.GetLeadResponse) -> LiveStatusView | None:
    if not reply.HasField("status"):
        return None
    status = reply.status
    return {
        "state": cast("LiveState", status.state),
        "overdue": status.overdue,
        "due_at": rfc3339(status.due_at),
        "last_follow_up_at": rfc3339(status.last_follow_up_at),
        "last_follow_up_by": status.last_follow_up_by or None,
        "next_action": status.next_action or None,
    }


def _assignment_view(assignment: leads_pb2.Assignment) -> AssignmentView:
    return {
        "id": assignment.id,
        "owner_id": assignment.owner_id or None,
        "rule_id": assignment.rule_id,
        "rule_version": assignment.rule_version,
        "priority": assignment.priority or None,
        "score": assignment.score or None,
        "claim_by": rfc3339(assignment.claim_by),
        "reason": assignment.reason,
        "decided_at": rfc3339(assignment.decided_at),
        "candidates": [
            {
                "person_id": candidate.person_id,
                "name": candidate.name,
                "chosen": candidate.chosen,
                "rejected_because": candidate.rejected_because or None,
            }
            for candidate in assignment.candidates
        ],
    }
