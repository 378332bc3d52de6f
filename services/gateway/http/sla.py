"""First-touch limits and calendars, clocks of leads, and how fast leads are answered (2, 5, 7, 43, 63, 117)."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import sla_pb2 as pb
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.periods import PeriodQuery, stamp_of
from services.gateway.http.routes import Input, ShortText
from services.gateway.http.structs import document_of, struct_of

_STAGES = {0: None, 1: "claim", 2: "work"}


class NewPolicies(Input):
    """Limits and calendars to put in force. `expected_version` is the version the author has seen; another one is 409."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "document": {
                        "policies": [{"claim_min": 15, "claim_remind_min": 5, "work_min": 120, "work_remind_min": 30}],
                        "calendars": [
                            {
                                "team": "sales",
                                "time_zone": "Asia/Shanghai",
                                "week": {"mon": ["09:00-12:00", "13:30-18:00"]},
                                "public_holidays": "cn",
                            }
                        ],
                    },
                    "expected_version": 1,
                }
            ]
        }
    )

    document: dict[str, Any]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Pause(Input):
    """Why the clock is stopped."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "等待客户提供第三方检测报告"}]})

    reason: ShortText


class HolidaysView(TypedDict):
    """Until when public holidays are known; past it holidays count as the week says."""

    known_until: str
    known: bool


class PoliciesView(TypedDict):
    """A version of the policies."""

    version: int
    document: dict[str, Any]
    author: str
    created_at: str | None
    holidays: HolidaysView


class PauseView(TypedDict):
    """A time the clock stood; without an end while it stands, and where the lead was given to somebody else meanwhile."""

    paused_at: str | None
    paused_by: str
    reason: str
    resumed_at: str | None
    resumed_by: str | None


class ClockView(TypedDict):
    """A lead's clock. `stage` is claim, work, or null when nothing will be due."""

    lead_id: str
    stage: str | None
    due_at: str | None
    remind_at: str | None
    paused_at: str | None
    pauses: list[PauseView]
    silent_since: str | None
    alarms: int


class CountsView(TypedDict):
    """Leads of a period, by what became of them, as boards count them; the duty desk is nobody."""

    team_id: str | None
    leads: int
    assigned_in_time: int
    assigned_late: int
    duty_desk_first: int
    contact_in_time: int
    contact_late: int
    claimed_in_time: int
    claimed_late: int
    answered: int
    answered_in_5_min: int
    answered_in_2_h: int
    response_mean_s: float | None
    silent: int
    alarmed: int


class CheckView(TypedDict):
    """A measured check by its id in the catalogue: 43 assigned, 63 first contact, 117 alarms. Null: nothing to measure yet."""

    id: int
    met_by: int
    of: int
    share: float | None
    target: float
    met: bool | None


class ReportView(TypedDict):
    """What was counted of the leads captured in the period that the caller may see."""

    since: str | None
    until: str | None
    all: CountsView
    teams: list[CountsView]
    checks: list[CheckView]


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of first-touch limits, clocks and the report."""

    @api.route("GET", "/v1/sla/policies", PoliciesView, tag="sla")
    async def get_sla_policies(call: Call) -> Answer:
        """The limits and calendars in force."""
        request = pb.GetSlaPoliciesRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.sla.GetSlaPolicies, request, retryable=True)
        return answer(_policies_view(reply.policies))

    @api.route("PUT", "/v1/sla/policies", PoliciesView, tag="sla")
    async def put_sla_policies(call: Call, body: NewPolicies) -> Answer:
        """Validates limits and calendars and puts them in force as a new version."""
        request = pb.PutSlaPoliciesRequest(
            actor=actor_to(call.actor), document=struct_of(body.document), expected_version=body.expected_version
        )
        reply = await leads.channel.unary(leads.sla.PutSlaPolicies, request)
        return answer(_policies_view(reply.policies))

    @api.route("GET", "/v1/leads/{lead_id}/sla", ClockView, tag="sla")
    async def get_lead_clock(call: Call, lead_id: str) -> Answer:
        """How the first-touch clock of a lead stands."""
        request = pb.GetLeadClockRequest(actor=actor_to(call.actor), lead_id=lead_id)
        reply = await leads.channel.unary(leads.sla.GetLeadClock, request, retryable=True)
        return answer(_clock_view(reply.clock))

    @api.route("POST", "/v1/leads/{lead_id}/sla/pause", ClockView, tag="sla")
    async def pause_lead_clock(call: Call, lead_id: str, body: Pause) -> Answer:
        """Stops the first-touch clock of a lead, with a reason; the 24 h alarm goes on."""
        request = pb.PauseLeadClockRequest(actor=actor_to(call.actor), lead_id=lead_id, reason=body.reason)
        reply = await leads.channel.unary(leads.sla.PauseLeadClock, request, retryable=True)
        return answer(_clock_view(reply.clock))

    @api.route("POST", "/v1/leads/{lead_id}/sla/resume", ClockView, tag="sla")
    async def resume_lead_clock(call: Call, lead_id: str) -> Answer:
        """Lets the first-touch clock of a lead run on with what was left of its time."""
        request = pb.ResumeLeadClockRequest(actor=actor_to(call.actor), lead_id=lead_id)
        reply = await leads.channel.unary(leads.sla.ResumeLeadClock, request, retryable=True)
        return answer(_clock_view(reply.clock))

    @api.route("GET", "/v1/sla/report", ReportView, tag="sla")
    async def get_sla_report(call: Call, query: Annotated[PeriodQuery, Query()]) -> Answer:
        """How fast the leads of a period were assigned and answered, and whether the checks are met."""
        request = pb.GetSlaReportRequest(
            actor=actor_to(call.actor), since=stamp_of(query.since), until=stamp_of(query.until)
        )
        reply = await leads.channel.unary(leads.sla.GetSlaReport, request, retryable=True)
        report: ReportView = {
            "since": rfc3339(reply.since),
            "until": rfc3339(reply.until),
            "all": _counts_view(reply.all),
            "teams": [_counts_view(each) for each in reply.teams],
            "checks": [_check_view(each) for each in reply.checks],
        }
        return answer(report)


def _policies_view(policies: pb.SlaPolicies) -> PoliciesView:
    return {
        "version": policies.version,
        "document": document_of(policies.document),
        "author": policies.author,
        "created_at": rfc3339(policies.created_at),
        "holidays": {"known_until": policies.holidays_known_until, "known": policies.holidays_known},
    }


def _clock_view(clock: pb.LeadClock) -> ClockView:
    return {
        "lead_id": clock.lead_id,
        "stage": _STAGES.get(clock.stage),
        "due_at": rfc3339(clock.due_at),
        "remind_at": rfc3339(clock.remind_at),
        "paused_at": rfc3339(clock.paused_at),
        "pauses": [
            {
                "paused_at": rfc3339(pause.paused_at),
                "paused_by": pause.paused_by,
                "reason": pause.reason,
                "resumed_at": rfc3339(pause.resumed_at),
                "resumed_by": pause.resumed_by or None,
            }
            for pause in clock.pauses
        ],
        "silent_since": rfc3339(clock.silent_since),
        "alarms": clock.alarms,
    }


def _counts_view(counts: pb.SlaCounts) -> CountsView:
    return {
        "team_id": counts.team_id or None,
        "leads": counts.leads,
        "assigned_in_time": counts.assigned_in_time,
        "assigned_late": counts.assigned_late,
        "duty_desk_first": counts.duty_desk_first,
        "contact_in_time": counts.contact_in_time,
        "contact_late": counts.contact_late,
        "claimed_in_time": counts.claimed_in_time,
        "claimed_late": counts.claimed_late,
        "answered": counts.answered,
        "answered_in_5_min": counts.answered_in_5_min,
        "answered_in_2_h": counts.answered_in_2_h,
        "response_mean_s": counts.response_mean_s if counts.answered else None,
        "silent": counts.silent,
        "alarmed": counts.alarmed,
    }


def _check_view(check: pb.SlaCheck) -> CheckView:
    measured = check.of > 0
    return {
        "id": check.id,
        "met_by": check.met_by,
        "of": check.of,
        "share": check.met_by / check.of if measured else None,
        "target": check.target,
        "met": check.met if measured else None,
    }
