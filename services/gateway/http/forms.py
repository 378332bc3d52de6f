"""Forms by configuration (69, 121): `/v1/forms`."""

from typing import Annotated

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import intake_pb2 as pb
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.growth import DocumentView, NewDocument, document_view
from services.gateway.http.leads import DetailText, FieldName, LeadCreated, lead_created
from services.gateway.http.routes import Input
from services.gateway.http.structs import struct_of


class FormAnswer(Input):
    """What somebody filled in, by field."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"values": {"name": "王芳", "phone": "13812345678"}}]})

    values: Annotated[dict[FieldName, DetailText], Field(max_length=20)]


class FormView(TypedDict):
    """A form in force; docs in services/leads/README.md."""

    name: str
    form: DocumentView


class BoardRowView(TypedDict):
    """A form with its board row: a count of leads, or a share of them from 0 to 1, in the last `days`."""

    name: str
    form: DocumentView
    title: str
    figure: str
    days: int
    leads: int
    value: float


class FormList(TypedDict):
    """By name; `next_cursor` is always null, for forms are few."""

    items: list[BoardRowView]
    next_cursor: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of forms."""

    @api.route("PUT", "/v1/forms/{name}", FormView, tag="forms")
    async def put_form(call: Call, name: str, body: NewDocument) -> Answer:
        """Validates a form with its alert and its board row and puts it in force: the next answer is taken by it."""
        request = pb.PutFormRequest(
            actor=actor_to(call.actor),
            name=name,
            document=struct_of(body.document),
            expected_version=body.expected_version,
        )
        reply = await leads.channel.unary(leads.intake.PutForm, request)
        return answer(_form_view(reply.form))

    @api.route("GET", "/v1/forms/{name}", FormView, tag="forms")
    async def get_form(call: Call, name: str) -> Answer:
        """A form in force."""
        request = pb.GetFormRequest(actor=actor_to(call.actor), name=name)
        reply = await leads.channel.unary(leads.intake.GetForm, request, retryable=True)
        return answer(_form_view(reply.form))

    @api.route("GET", "/v1/forms", FormList, tag="forms")
    async def list_forms(call: Call) -> Answer:
        """Every form with its board row, counted now."""
        request = pb.ListFormsRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.intake.ListForms, request, retryable=True)
        found: FormList = {
            "items": [
                {
                    "name": each.form.name,
                    "form": document_view(each.form.document),
                    "title": each.title,
                    "figure": each.figure,
                    "days": each.days,
                    "leads": each.leads,
                    "value": each.value,
                }
                for each in reply.forms
            ],
            "next_cursor": None,
        }
        return answer(found)

    @api.route("POST", "/v1/forms/{name}/leads", LeadCreated, status=201, tag="forms", extra=KEYED)
    async def submit_form(call: Call, name: str, body: FormAnswer) -> Answer:
        """Takes an answer to a form as a lead, which is routed, and alarms whom the form says."""
        request = pb.SubmitFormRequest(
            actor=actor_to(call.actor), idempotency=idempotency_of(call), form=name, values=body.values
        )
        reply = await leads.channel.unary(leads.intake.SubmitForm, request, retryable=bool(request.idempotency.key))
        return lead_created(reply.created)


def _form_view(form: pb.Form) -> FormView:
    return {"name": form.name, "form": document_view(form.document)}
