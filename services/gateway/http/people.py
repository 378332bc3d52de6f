"""The people leads are routed to: `/v1/people`."""

from typing import Annotated

from fastapi import Query
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import PageQuery


class PersonView(TypedDict):
    """Somebody leads are routed to."""

    id: str
    name: str
    email: str | None
    team_id: str | None
    supervisor_id: str | None
    regions: list[str]
    city_codes: list[str]
    skills: list[str]
    active: bool
    may_follow_up: bool
    open_leads: int
    open_leads_max: int


class PersonPage(TypedDict):
    """By id."""

    items: list[PersonView]
    next_cursor: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the route of people."""

    @api.route("GET", "/v1/people", PersonPage, tag="organisation")
    async def list_people(call: Call, query: Annotated[PageQuery, Query()]) -> Answer:
        """The people leads are routed to, with what each can be given."""
        request = leads_pb2.ListPeopleRequest(actor=actor_to(call.actor), limit=query.limit, cursor=query.cursor)
        reply = await leads.channel.unary(leads.organisation.ListPeople, request, retryable=True)
        page: PersonPage = {
            "items": [_person_view(person) for person in reply.people],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)


def _person_view(person: leads_pb2.Person) -> PersonView:
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email or None,
        "team_id": person.team_id or None,
        "supervisor_id": person.supervisor_id or None,
        "regions": list(person.regions),
        "city_codes": list(person.city_codes),
        "skills": list(person.skills),
        "active": person.active,
        "may_follow_up": person.may_follow_up,
        "open_leads": person.open_leads,
        "open_leads_max": person.open_leads_max,
    }
