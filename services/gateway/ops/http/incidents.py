"""Incidents: what is broken, who has it in hand, and a report of it."""

from pydantic import Field
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from services.gateway.http.answers import Answer, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input
from services.gateway.ops.console import Console
from services.gateway.ops.http.views import IncidentView, incident_view
from services.gateway.ops.incidents.domain import NOTE_CHARS_MAX, PERSON_CHARS_MAX
from services.gateway.ops.incidents.report import render


class HandOverInput(Input):
    """To whom, and what they must know."""

    to: str = Field(min_length=1, max_length=PERSON_CHARS_MAX)
    note: str = Field(min_length=1, max_length=NOTE_CHARS_MAX)


class IncidentsView(TypedDict):
    """The open ones first, the worst before the others; then the resolved, newest first."""

    items: list[IncidentView]
    next_cursor: str | None


class ReportView(TypedDict):
    """A document to hand on."""

    id: str
    markdown: str


def add_routes(api: Api, console: Console, clock: Clock) -> None:
    """Adds the routes."""

    @api.route("GET", "/v1/incidents", IncidentsView, tag="incidents")
    async def list_incidents() -> Answer:
        """One for each cause: the deepest edge that fails, with what it drags along."""
        items = [incident_view(incident) for incident in console.incidents()]
        return answer(IncidentsView(items=items, next_cursor=None))

    @api.route("GET", "/v1/incidents/{incident_id}", IncidentView, tag="incidents")
    async def show_incident(incident_id: str) -> Answer:
        """One incident, open or resolved."""
        return answer(incident_view(console.incident(incident_id)))

    @api.route("POST", "/v1/incidents/{incident_id}/ack", IncidentView, tag="incidents")
    async def acknowledge_incident(incident_id: str, call: Call) -> Answer:
        """Somebody has it in hand."""
        return answer(incident_view(console.acknowledge(call.actor, incident_id)))

    @api.route("POST", "/v1/incidents/{incident_id}/hand-over", IncidentView, tag="incidents")
    async def hand_over_incident(incident_id: str, call: Call, body: HandOverInput) -> Answer:
        """Somebody else has it in hand from now on, and knows what there is to know."""
        return answer(incident_view(console.hand_over(call.actor, incident_id, to=body.to, note=body.note)))

    @api.route("GET", "/v1/incidents/{incident_id}/report", ReportView, tag="incidents")
    async def report_incident(incident_id: str) -> Answer:
        """The incident with its timeline as a document."""
        incident = console.incident(incident_id)
        markdown = render(incident, console.entries_of(incident), clock.now())
        return answer(ReportView(id=incident.id, markdown=markdown))
