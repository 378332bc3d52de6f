"""`OrganisationService` and `DirectoryService`."""

from datetime import UTC, time
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.leads.v1 import leads_pb2, organisation_pb2
from breakwater.leads.v1.leads_pb2_grpc import OrganisationServiceServicer
from breakwater.leads.v1.organisation_pb2_grpc import DirectoryServiceServicer
from services.leads.api.messages import cursor_from, cursor_to, keyed
from services.leads.organisation.changes import (
    BeginChanging,
    add_leave,
    put_demands,
    put_person,
    put_team,
    remove_leave,
)
from services.leads.organisation.domain import ON_TIME_WEIGHT_MIN, Demands, Leave, Person, Team
from services.leads.organisation.duty import MINUTES_PER_DAY, Shift, minute_of
from services.leads.organisation.usecases import (
    BeginReading,
    PersonAtWork,
    TeamOfPeople,
    get_demands,
    get_person,
    list_findings,
    list_people,
    list_teams,
)
from services.leads.timestamps import timestamp


class OrganisationApi(OrganisationServiceServicer):
    """The people leads are routed to."""

    def __init__(self, begin: BeginReading, clock: Clock) -> None:
        self._begin = begin
        self._clock = clock

    async def ListPeople(self, request: leads_pb2.ListPeopleRequest, context: Any) -> leads_pb2.ListPeopleResponse:
        people, next_place = await list_people(
            self._begin,
            wire.actor_from(request.actor),
            cursor_from(request.cursor),
            request.limit,
            now=self._clock.now(),
        )
        return leads_pb2.ListPeopleResponse(
            people=[_person_to(each) for each in people], next_cursor=cursor_to(next_place)
        )


class DirectoryApi(DirectoryServiceServicer):
    """Changing the organisation."""

    def __init__(self, begin_reading: BeginReading, begin_changing: BeginChanging, clock: Clock) -> None:
        self._begin_reading = begin_reading
        self._begin_changing = begin_changing
        self._clock = clock

    async def GetPerson(
        self, request: organisation_pb2.GetPersonRequest, context: Any
    ) -> organisation_pb2.GetPersonResponse:
        person = await get_person(
            self._begin_reading, wire.actor_from(request.actor), request.id, now=self._clock.now()
        )
        return organisation_pb2.GetPersonResponse(person=_person_to(person))

    async def PutPerson(
        self, request: organisation_pb2.PutPersonRequest, context: Any
    ) -> organisation_pb2.PutPersonResponse:
        person, created = await put_person(
            self._begin_changing,
            wire.actor_from(request.actor),
            _person_from(request),
            request.expected_sequence,
            now=self._clock.now(),
        )
        return organisation_pb2.PutPersonResponse(person=_person_to(person), created=created)

    async def AddLeave(
        self, request: organisation_pb2.AddLeaveRequest, context: Any
    ) -> organisation_pb2.AddLeaveResponse:
        if not request.HasField("starts_at") or not request.HasField("ends_at"):
            raise InvalidRequestError("A leave has a start and an end.", errors=[FieldError("ends_at", "is mandatory")])
        leave = Leave(request.starts_at.ToDatetime(UTC), request.ends_at.ToDatetime(UTC), reason=request.reason)
        answer = await add_leave(
            self._begin_changing,
            keyed("AddLeave", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.person_id,
            leave,
            now=self._clock.now(),
            encode=lambda added: organisation_pb2.AddLeaveResponse(leave=_leave_to(added)).SerializeToString(),
        )
        response = organisation_pb2.AddLeaveResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def RemoveLeave(
        self, request: organisation_pb2.RemoveLeaveRequest, context: Any
    ) -> organisation_pb2.RemoveLeaveResponse:
        await remove_leave(self._begin_changing, wire.actor_from(request.actor), request.person_id, request.leave_id)
        return organisation_pb2.RemoveLeaveResponse()

    async def ListFindings(
        self, request: organisation_pb2.ListFindingsRequest, context: Any
    ) -> organisation_pb2.ListFindingsResponse:
        found, next_place = await list_findings(
            self._begin_reading, wire.actor_from(request.actor), cursor_from(request.cursor), request.limit
        )
        findings = [
            organisation_pb2.Finding(
                kind=each.kind,
                person_id=each.person_id,
                team_id=each.team_id,
                detail=each.detail,
                keeps_from_leads=each.keeps_from_leads,
            )
            for each in found
        ]
        return organisation_pb2.ListFindingsResponse(findings=findings, next_cursor=cursor_to(next_place))

    async def ListTeams(
        self, request: organisation_pb2.ListTeamsRequest, context: Any
    ) -> organisation_pb2.ListTeamsResponse:
        teams, next_place = await list_teams(
            self._begin_reading, wire.actor_from(request.actor), cursor_from(request.cursor), request.limit
        )
        return organisation_pb2.ListTeamsResponse(
            teams=[_team_to(each) for each in teams], next_cursor=cursor_to(next_place)
        )

    async def PutTeam(self, request: organisation_pb2.PutTeamRequest, context: Any) -> organisation_pb2.PutTeamResponse:
        team, created = await put_team(self._begin_changing, wire.actor_from(request.actor), _team_from(request.team))
        return organisation_pb2.PutTeamResponse(team=_team_to(team), created=created)

    async def GetOrganisation(
        self, request: organisation_pb2.GetOrganisationRequest, context: Any
    ) -> organisation_pb2.GetOrganisationResponse:
        demands = await get_demands(self._begin_reading, wire.actor_from(request.actor))
        return organisation_pb2.GetOrganisationResponse(organisation=_demands_to(demands))

    async def PutOrganisation(
        self, request: organisation_pb2.PutOrganisationRequest, context: Any
    ) -> organisation_pb2.PutOrganisationResponse:
        wanted = request.organisation
        weight = wanted.on_time_weight if wanted.HasField("on_time_weight") else ON_TIME_WEIGHT_MIN
        demands = await put_demands(
            self._begin_changing,
            wire.actor_from(request.actor),
            Demands(frozenset(wanted.channels_required), weight),
        )
        return organisation_pb2.PutOrganisationResponse(organisation=_demands_to(demands))


def _demands_to(demands: Demands) -> organisation_pb2.Organisation:
    return organisation_pb2.Organisation(
        channels_required=sorted(demands.channels_required), on_time_weight=demands.on_time_weight
    )


def _person_to(entry: PersonAtWork) -> leads_pb2.Person:
    """The person; no limit of open leads is 0, as it was released."""
    person = entry.person
    return leads_pb2.Person(
        id=person.id,
        name=person.name,
        email=person.email,
        team_id=person.team_id,
        supervisor_id=entry.supervisor_id,
        own_supervisor_id=person.supervisor_id,
        rank=person.rank,
        regions=person.regions,
        city_codes=person.city_codes,
        skills=person.skills,
        active=person.active,
        has_account=person.has_account,
        may_follow_up=person.may_follow_up,
        on_duty=person.on_duty,
        duty=[
            leads_pb2.Shift(weekday=shift.weekday, start_min=shift.start_min, end_min=shift.end_min)
            for shift in person.duty
        ],
        works_holidays=person.works_holidays,
        open_leads=entry.open_leads,
        open_leads_max=person.open_leads_max or 0,
        leads_per_day_max=person.leads_per_day_max,
        leads_per_week_max=person.leads_per_week_max,
        leads_today=entry.taken.in_day,
        leads_this_week=entry.taken.in_week,
        weight=person.weight,
        leave=[_leave_to(leave) for leave in person.leave],
        channels=sorted(person.bound),
        reason_against=entry.reason_against,
        sequence=entry.sequence,
    )


def _person_from(request: organisation_pb2.PutPersonRequest) -> Person:
    return Person(
        id=request.id,
        name=request.name,
        email=request.email,
        team_id=request.team_id,
        supervisor_id=request.supervisor_id,
        rank=request.rank,
        regions=tuple(request.regions),
        city_codes=tuple(request.city_codes),
        skills=tuple(request.skills),
        active=request.active,
        has_account=request.has_account,
        may_follow_up=request.may_follow_up,
        on_duty=request.on_duty,
        duty=tuple(sorted(Shift(shift.weekday, shift.start_min, shift.end_min) for shift in request.duty)),
        works_holidays=request.works_holidays,
        open_leads_max=request.open_leads_max if request.HasField("open_leads_max") else None,
        leads_per_day_max=request.leads_per_day_max if request.HasField("leads_per_day_max") else None,
        leads_per_week_max=request.leads_per_week_max if request.HasField("leads_per_week_max") else None,
        weight=request.weight,
    )


def _leave_to(leave: Leave) -> leads_pb2.Leave:
    return leads_pb2.Leave(
        id=leave.id,
        starts_at=timestamp(leave.starts_at),
        ends_at=timestamp(leave.ends_at),
        reason=leave.reason,
    )


def _team_to(entry: TeamOfPeople) -> organisation_pb2.Team:
    team = entry.team
    return organisation_pb2.Team(
        id=team.id,
        name=team.name,
        supervisor_id=team.supervisor_id,
        parent_id=team.parent_id,
        time_zone=team.time_zone,
        work_start_min=minute_of(team.work_start),
        work_end_min=minute_of(team.work_end),
        lunch_start_min=None if team.lunch_start is None else minute_of(team.lunch_start),
        lunch_end_min=None if team.lunch_end is None else minute_of(team.lunch_end),
        members=entry.members,
    )


def _team_from(team: organisation_pb2.Team) -> Team:
    return Team(
        id=team.id,
        name=team.name,
        supervisor_id=team.supervisor_id,
        time_zone=team.time_zone,
        work_start=_time_of("work_start", team.work_start_min),
        work_end=_time_of("work_end", team.work_end_min),
        lunch_start=_time_of("lunch_start", team.lunch_start_min) if team.HasField("lunch_start_min") else None,
        lunch_end=_time_of("lunch_end", team.lunch_end_min) if team.HasField("lunch_end_min") else None,
        parent_id=team.parent_id,
    )


def _time_of(name: str, minute: int) -> time:
    if not 0 <= minute < MINUTES_PER_DAY:
        raise InvalidRequestError("A time is one of a day.", errors=[FieldError(name, "is no minute of a day")])
    return time(*divmod(minute, 60))
