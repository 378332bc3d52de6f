"""Teams with their calendars, and what the organisation asks of its people: `/v1/teams`, `/v1/organisation` (7, 118, 119)."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import organisation_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input, PageQuery
from services.gateway.http.wallclock import Clock, clock_of, minute_of


class TeamInput(Input):
    """A team as it is to be."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    supervisor_id: Annotated[str, StringConstraints(max_length=64)] = ""
    parent_id: Annotated[str, StringConstraints(max_length=64)] = ""
    time_zone: Annotated[str, StringConstraints(max_length=64)] = "Asia/Shanghai"
    work_start: Clock = "09:00"
    work_end: Clock = "18:00"
    lunch_start: Clock | None = None
    lunch_end: Clock | None = None


class OrganisationInput(Input):
    """What the organisation asks of its people."""

    channels_required: Annotated[list[Literal["wecom", "dingtalk", "feishu", "email"]], Field(max_length=4)]
    """One of them must be bound before somebody is given leads; none: in-app will do."""
    on_time_weight: Annotated[float, Field(ge=0.15, le=1)] = 0.15
    """Of the on-time share of first responses in a person's performance (7)."""


class TeamView(TypedDict):
    """A group with one supervisor and one calendar."""

    id: str
    name: str
    supervisor_id: str | None
    parent_id: str | None
    time_zone: str
    work_start: str
    work_end: str
    lunch_start: str | None
    lunch_end: str | None
    members: int


class TeamPage(TypedDict):
    """By id."""

    items: list[TeamView]
    next_cursor: str | None


class OrganisationView(TypedDict):
    """What the organisation asks of its people."""

    channels_required: list[str]
    on_time_weight: float


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of teams and the organisation."""

    @api.route("GET", "/v1/teams", TeamPage, tag="organisation")
    async def list_teams(call: Call, query: Annotated[PageQuery, Query()]) -> Answer:
        """Teams with their supervisor, place and calendar."""
        request = organisation_pb2.ListTeamsRequest(actor=actor_to(call.actor), limit=query.limit, cursor=query.cursor)
        reply = await leads.channel.unary(leads.directory.ListTeams, request, retryable=True)
        page: TeamPage = {
            "items": [_team_view(team) for team in reply.teams],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)

    @api.route("PUT", "/v1/teams/{team_id}", TeamView, tag="organisation")
    async def put_team(call: Call, team_id: str, body: TeamInput) -> Answer:
        """Adds or changes a team."""
        team = organisation_pb2.Team(
            id=team_id,
            name=body.name,
            supervisor_id=body.supervisor_id,
            parent_id=body.parent_id,
            time_zone=body.time_zone,
            work_start_min=minute_of(body.work_start),
            work_end_min=minute_of(body.work_end),
            lunch_start_min=None if body.lunch_start is None else minute_of(body.lunch_start),
            lunch_end_min=None if body.lunch_end is None else minute_of(body.lunch_end),
        )
        request = organisation_pb2.PutTeamRequest(actor=actor_to(call.actor), team=team)
        reply = await leads.channel.unary(leads.directory.PutTeam, request, retryable=True)
        return answer(_team_view(reply.team), status=201 if reply.created else 200)

    @api.route("GET", "/v1/organisation", OrganisationView, tag="organisation")
    async def get_organisation(call: Call) -> Answer:
        """What the organisation asks of its people."""
        request = organisation_pb2.GetOrganisationRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.directory.GetOrganisation, request, retryable=True)
        return answer(_organisation_view(reply.organisation))

    @api.route("PUT", "/v1/organisation", OrganisationView, tag="organisation")
    async def put_organisation(call: Call, body: OrganisationInput) -> Answer:
        """Says which channels keep somebody without any of them from getting leads (119), and what being on time weighs (7)."""
        wanted = organisation_pb2.Organisation(
            channels_required=body.channels_required, on_time_weight=body.on_time_weight
        )
        request = organisation_pb2.PutOrganisationRequest(actor=actor_to(call.actor), organisation=wanted)
        reply = await leads.channel.unary(leads.directory.PutOrganisation, request, retryable=True)
        return answer(_organisation_view(reply.organisation))


def _team_view(team: organisation_pb2.Team) -> TeamView:
    return {
        "id": team.id,
        "name": team.name,
        "supervisor_id": team.supervisor_id or None,
        "parent_id": team.parent_id or None,
        "time_zone": team.time_zone,
        "work_start": clock_of(team.work_start_min),
        "work_end": clock_of(team.work_end_min),
        "lunch_start": clock_of(team.lunch_start_min) if team.HasField("lunch_start_min") else None,
        "lunch_end": clock_of(team.lunch_end_min) if team.HasField("lunch_end_min") else None,
        "members": team.members,
    }


def _organisation_view(organisation: organisation_pb2.Organisation) -> OrganisationView:
    return {
        "channels_required": list(organisation.channels_required),
        "on_time_weight": organisation.on_time_weight,
    }
