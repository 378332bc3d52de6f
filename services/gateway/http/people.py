"""The people leads are routed to, their hours and leave, and what keeps leads from them: `/v1/people` (4, 118, 119)."""

from typing import Annotated

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import leads_pb2, organisation_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.periods import stamp_of
from services.gateway.http.routes import Input, Moment, PageQuery, ShortText
from services.gateway.http.wallclock import Clock, clock_of, minute_of

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""Of a person or team; it may come from another system, so it may be any text."""
Bound = Annotated[int, Field(ge=0, le=1_000_000)] | None
_SHOWN_OTHERWISE = {"duty", "open_leads_max"}
Words = Annotated[tuple[ShortText, ...], Field(max_length=100)]


class ShiftInput(Input):
    """Hours of one weekday; hours past midnight are two shifts."""

    weekday: Annotated[int, Field(ge=1, le=7)]
    """1 is Monday."""
    start: Clock
    end: Clock


class PersonInput(Input):
    """A person as they are to be: what is left out has its default. Leave and channels have routes of their own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "王芳",
                    "team_id": "sales",
                    "rank": 6,
                    "regions": ["华东"],
                    "duty": [{"weekday": 1, "start": "09:00", "end": "18:00"}],
                    "open_leads_max": 40,
                    "leads_per_day_max": 12,
                }
            ]
        }
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    team_id: Id
    email: Annotated[str, StringConstraints(max_length=254)] = ""
    supervisor_id: Annotated[str, StringConstraints(max_length=64)] = ""
    """Empty: the team's supervisor."""
    rank: Annotated[int, Field(ge=0, le=100)] = 0
    """职级: the higher the more senior."""
    regions: Words = ()
    city_codes: Words = ()
    skills: Words = ()
    active: bool = True
    """在职; who is not gives all leads away."""
    has_account: bool = True
    may_follow_up: bool = True
    on_duty: bool = True
    duty: Annotated[tuple[ShiftInput, ...], Field(max_length=42)] = ()
    """The weekly schedule in the team's zone; none means any hour."""
    works_holidays: bool = False
    open_leads_max: Bound = None
    """0 means no limit, as it is shown."""
    leads_per_day_max: Bound = None
    leads_per_week_max: Bound = None
    weight: Annotated[int, Field(ge=0, le=1_000)] = 1
    expected_sequence: Annotated[int, Field(ge=0, le=2**53)] = 0
    """The `sequence` the author has seen; another one in force is 409. 0: not checked."""


class LeaveInput(Input):
    """A time somebody is away, its end excluded."""

    starts_at: Moment
    ends_at: Moment
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""


class ShiftView(TypedDict):
    """Hours of one weekday."""

    weekday: int
    start: str
    end: str


class LeaveView(TypedDict):
    """A time somebody is away."""

    id: str
    starts_at: str | None
    ends_at: str | None
    reason: str


class PersonView(TypedDict):
    """Somebody leads are routed to."""

    id: str
    name: str
    email: str | None
    team_id: str | None
    supervisor_id: str | None
    own_supervisor_id: str | None
    rank: int
    regions: list[str]
    city_codes: list[str]
    skills: list[str]
    active: bool
    has_account: bool
    may_follow_up: bool
    channels: list[str]
    on_duty: bool
    duty: list[ShiftView]
    works_holidays: bool
    leave: list[LeaveView]
    open_leads: int
    open_leads_max: int
    leads_today: int
    leads_per_day_max: int | None
    leads_this_week: int
    leads_per_week_max: int | None
    weight: int
    reason_against: str | None
    sequence: int


class PersonPage(TypedDict):
    """By id."""

    items: list[PersonView]
    next_cursor: str | None


class FindingView(TypedDict):
    """Something to put right; `person_id` is null for one about a team."""

    kind: str
    person_id: str | None
    team_id: str | None
    detail: str
    keeps_from_leads: bool


class FindingPage(TypedDict):
    """By kind."""

    items: list[FindingView]
    next_cursor: str | None


class LeaveRemoved(TypedDict):
    """The leave that was taken back."""

    id: str


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of people."""
    _add_people(api, leads)
    _add_changes(api, leads)


def _add_people(api: Api, leads: Leads) -> None:
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

    @api.route("GET", "/v1/people/findings", FindingPage, tag="organisation")
    async def list_findings(call: Call, query: Annotated[PageQuery, Query()]) -> Answer:
        """What keeps people from getting leads, step by step, and what is wrong in the organisation (119)."""
        request = organisation_pb2.ListFindingsRequest(
            actor=actor_to(call.actor), limit=query.limit, cursor=query.cursor
        )
        reply = await leads.channel.unary(leads.directory.ListFindings, request, retryable=True)
        page: FindingPage = {
            "items": [
                {
                    "kind": finding.kind,
                    "person_id": finding.person_id or None,
                    "team_id": finding.team_id or None,
                    "detail": finding.detail,
                    "keeps_from_leads": finding.keeps_from_leads,
                }
                for finding in reply.findings
            ],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)

    @api.route("GET", "/v1/people/{person_id}", PersonView, tag="organisation")
    async def get_person(call: Call, person_id: str) -> Answer:
        """One person the caller may see."""
        request = organisation_pb2.GetPersonRequest(actor=actor_to(call.actor), id=person_id)
        reply = await leads.channel.unary(leads.directory.GetPerson, request, retryable=True)
        return answer(_person_view(reply.person))


def _add_changes(api: Api, leads: Leads) -> None:
    @api.route("PUT", "/v1/people/{person_id}", PersonView, tag="organisation")
    async def put_person(call: Call, person_id: str, body: PersonInput) -> Answer:
        """Adds or changes a person; the leads of one who is made inactive go to others at once."""
        request = organisation_pb2.PutPersonRequest(
            actor=actor_to(call.actor),
            id=person_id,
            duty=[
                leads_pb2.Shift(weekday=each.weekday, start_min=minute_of(each.start), end_min=minute_of(each.end))
                for each in body.duty
            ],
            **body.model_dump(exclude=_SHOWN_OTHERWISE, exclude_none=True),
            open_leads_max=body.open_leads_max or None,
        )
        reply = await leads.channel.unary(leads.directory.PutPerson, request, retryable=True)
        return answer(_person_view(reply.person), status=201 if reply.created else 200)

    @api.route("POST", "/v1/people/{person_id}/leave", LeaveView, status=201, tag="organisation", extra=KEYED)
    async def add_leave(call: Call, person_id: str, body: LeaveInput) -> Answer:
        """Adds a time the person is away: new leads go to others, those they have stay."""
        request = organisation_pb2.AddLeaveRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            person_id=person_id,
            starts_at=stamp_of(body.starts_at),
            ends_at=stamp_of(body.ends_at),
            reason=body.reason,
        )
        reply = await leads.channel.unary(leads.directory.AddLeave, request, retryable=bool(request.idempotency.key))
        return answer(_leave_view(reply.leave), status=201, replayed=reply.replayed)

    @api.route("DELETE", "/v1/people/{person_id}/leave/{leave_id}", LeaveRemoved, tag="organisation")
    async def remove_leave(call: Call, person_id: str, leave_id: str) -> Answer:
        """Takes a leave back."""
        request = organisation_pb2.RemoveLeaveRequest(
            actor=actor_to(call.actor), person_id=person_id, leave_id=leave_id
        )
        await leads.channel.unary(leads.directory.RemoveLeave, request)
        removed: LeaveRemoved = {"id": leave_id}
        return answer(removed)


def _person_view(person: leads_pb2.Person) -> PersonView:
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email or None,
        "team_id": person.team_id or None,
        "supervisor_id": person.supervisor_id or None,
        "own_supervisor_id": person.own_supervisor_id or None,
        "rank": person.rank,
        "regions": list(person.regions),
        "city_codes": list(person.city_codes),
        "skills": list(person.skills),
        "active": person.active,
        "has_account": person.has_account,
        "may_follow_up": person.may_follow_up,
        "channels": list(person.channels),
        "on_duty": person.on_duty,
        "duty": [
            {"weekday": shift.weekday, "start": clock_of(shift.start_min), "end": clock_of(shift.end_min)}
            for shift in person.duty
        ],
        "works_holidays": person.works_holidays,
        "leave": [_leave_view(leave) for leave in person.leave],
        "open_leads": person.open_leads,
        "open_leads_max": person.open_leads_max,
        "leads_today": person.leads_today,
        "leads_per_day_max": person.leads_per_day_max if person.HasField("leads_per_day_max") else None,
        "leads_this_week": person.leads_this_week,
        "leads_per_week_max": person.leads_per_week_max if person.HasField("leads_per_week_max") else None,
        "weight": person.weight,
        "reason_against": person.reason_against or None,
        "sequence": person.sequence,
    }


def _leave_view(leave: leads_pb2.Leave) -> LeaveView:
    return {
        "id": leave.id,
        "starts_at": rfc3339(leave.starts_at),
        "ends_at": rfc3339(leave.ends_at),
        "reason": leave.reason,
    }
