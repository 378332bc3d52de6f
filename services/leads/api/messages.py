"""Leads, decisions, people and rules in their protobuf form, and requests as use cases take them."""

import base64
import binascii
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.telemetry import current_traceparent
from breakwater.identity.v1 import identity_pb2
from breakwater.leads.v1 import leads_pb2 as pb
from services.leads.followups.domain import LiveStatus
from services.leads.idempotence import Keyed
from services.leads.intake.capture import Lead
from services.leads.intake.domain import Attachment, LeadDraft, money, normalise
from services.leads.intake.usecases import KeptAssignment, KnownCustomer
from services.leads.routing.assignment import Assignment
from services.leads.routing.domain import Candidate
from services.leads.routing.usecases import KeptRules
from services.leads.timestamps import timestamp


def keyed(route: str, actor: identity_pb2.Actor, idempotency: identity_pb2.Idempotency) -> Keyed:
    """By what a replay of the request is told."""
    return Keyed(actor.sub, route, idempotency.key, idempotency.body_hmac)


def draft_from(request: pb.CreateLeadRequest) -> LeadDraft:
    """A normalised draft; raises InvalidRequestError naming every field that cannot be taken."""
    errors: list[FieldError] = []
    budget = None
    if request.budget:
        try:
            budget = money(request.budget)
        except ValueError as error:
            errors.append(FieldError("budget", str(error)))
    utm: dict[str, str] = {}
    if request.HasField("utm"):
        for key, value in MessageToDict(request.utm).items():
            if isinstance(value, str):
                utm[key] = value
            else:
                errors.append(FieldError(f"utm.{key[:60]}", "is not a text"))
    draft = LeadDraft(
        name=request.name,
        source=request.source,
        company=request.company,
        phone=request.phone,
        email=request.email,
        city_code=request.city_code,
        region=request.region,
        industry=request.industry,
        budget=budget,
        urgency=request.urgency,
        need=request.need,
        utm=utm,
        anonymous_id=request.anonymous_id,
        details=dict(request.details),
        attachments=tuple(Attachment(each.name, each.reference, each.media_type) for each in request.attachments),
        by=request.actor.sub,
        traceparent=current_traceparent(),
    )
    try:
        draft = normalise(draft)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.detail, errors=[*errors, *error.errors]) from None
    if errors:
        raise InvalidRequestError("The lead has fields that cannot be taken.", errors=errors)
    return draft


def lead_to(lead: Lead) -> pb.Lead:
    """The lead as the proto has it."""
    draft = lead.draft
    return pb.Lead(
        id=lead.id,
        customer_id=lead.customer_id,
        name=draft.name,
        company=draft.company,
        phone=draft.phone,
        email=draft.email,
        website=draft.website,
        city_code=draft.city_code,
        region=draft.region,
        industry=draft.industry,
        source=draft.source,
        budget=decimal_text(draft.budget),
        urgency=draft.urgency,
        need=draft.need,
        utm=struct(draft.utm) if draft.utm else None,
        anonymous_id=draft.anonymous_id,
        stage=draft.stage,
        source_status=draft.source_status,
        owner_id=lead.owner_id or "",
        created_at=timestamp(lead.created_at),
        claim_by=timestamp(lead.claim_by) if lead.claim_by else None,
        claimed_at=timestamp(lead.claimed_at) if lead.claimed_at else None,
        external_id=draft.external_id,
        details=draft.details,
        attachments=[
            pb.Attachment(name=each.name, reference=each.reference, media_type=each.media_type)
            for each in draft.attachments
        ],
        form=draft.form,
    )


def status_to(status: LiveStatus) -> pb.LiveStatus:
    """How a lead stands (104)."""
    last = status.last
    return pb.LiveStatus(
        state=status.state,
        overdue=status.overdue,
        due_at=timestamp(status.due_at) if status.due_at else None,
        last_follow_up_at=timestamp(last.at) if last else None,
        last_follow_up_by=last.author_id if last else "",
        next_action=last.next_action if last else "",
    )


def decision_to(assignment: Assignment) -> pb.Assignment:
    """A fresh decision; its candidates are left to ListAssignments, so that creating stays small."""
    decision = assignment.decision
    return pb.Assignment(
        id=assignment.id,
        lead_id=assignment.lead_id,
        owner_id=decision.owner_id or "",
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        priority=decision.priority,
        claim_by=timestamp(assignment.claim_by) if assignment.claim_by else None,
        reason=decision.reason,
        decided_at=timestamp(assignment.decided_at),
        score=decimal_text(decision.score),
    )


def decimal_text(number: Decimal | None) -> str:
    """A decimal number, written out; empty for None."""
    return "" if number is None else format(number, "f")


def assignment_to(assignment: KeptAssignment) -> pb.Assignment:
    """A decision with its candidates (8)."""
    return pb.Assignment(
        id=assignment.id,
        lead_id=assignment.lead_id,
        owner_id=assignment.owner_id or "",
        rule_id=assignment.rule_id,
        rule_version=assignment.rule_version,
        priority=assignment.priority,
        claim_by=timestamp(assignment.claim_by) if assignment.claim_by else None,
        reason=assignment.reason,
        candidates=[_candidate_to(each) for each in assignment.candidates],
        decided_at=timestamp(assignment.decided_at),
        score=decimal_text(assignment.score),
    )


def _candidate_to(candidate: Candidate) -> pb.Candidate:
    return pb.Candidate(
        person_id=candidate.person_id,
        name=candidate.name,
        chosen=candidate.chosen,
        rejected_because=candidate.rejected_because,
    )


def customer_to(customer: KnownCustomer) -> pb.Customer:
    """The customer with its visible leads."""
    return pb.Customer(
        id=customer.id,
        name=customer.name,
        company=customer.company,
        phone=customer.phone,
        email=customer.email,
        owner_id=customer.owner_id or "",
        created_at=timestamp(customer.created_at),
        leads=[lead_to(lead) for lead in customer.leads],
        pain_tags=[
            pb.PainTag(tag=each.tag, records=each.records, last_at=timestamp(each.last_at))
            for each in customer.pain_tags
        ],
    )


def rules_to(rules: KeptRules) -> pb.RuleSet:
    """A version of the rules."""
    return pb.RuleSet(
        version=rules.version,
        document=struct(rules.document),
        author=rules.author,
        created_at=timestamp(rules.created_at),
    )


def struct(document: Mapping[str, Any]) -> Struct:
    """A JSON object."""
    message = Struct()
    message.update(document)
    return message


def cursor_to(place: str | None) -> str:
    """Where the next page goes on, opaque; empty at the end."""
    return base64.urlsafe_b64encode(place.encode()).decode() if place else ""


def cursor_from(cursor: str) -> str:
    """The place a cursor names; raises InvalidRequestError for one we did not give."""
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequestError(
            "The cursor is not one we gave.", errors=[FieldError("cursor", "is not one we gave")]
        ) from None
