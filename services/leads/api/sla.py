"""`SlaService`."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import sla_pb2 as pb
from breakwater.leads.v1.sla_pb2_grpc import SlaServiceServicer
from services.leads.api.messages import struct
from services.leads.boards.report.domain import Counts
from services.leads.boards.report.usecases import BeginReport, Report, get_report
from services.leads.boards.usecases import BoardOptions
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import get_document
from services.leads.sla.calendar import Holidays
from services.leads.sla.pauses.domain import LeadClock
from services.leads.sla.pauses.usecases import BeginClocks, get_clock, pause_clock, resume_clock
from services.leads.sla.policies.usecases import BeginPolicies, put_policies
from services.leads.timestamps import timestamp


@dataclass(frozen=True, slots=True)
class SlaStores:
    """How each of them begins."""

    policies: BeginPolicies
    clocks: BeginClocks
    report: BeginReport


class SlaApi(SlaServiceServicer):
    """Limits, calendars, clocks and the report."""

    def __init__(self, stores: SlaStores, holidays: Holidays, clock: Clock, boards: BoardOptions) -> None:
        self._stores = stores
        self._holidays = holidays
        self._clock = clock
        self._boards = boards

    async def GetSlaPolicies(self, request: pb.GetSlaPoliciesRequest, context: Any) -> pb.GetSlaPoliciesResponse:
        kept = await get_document(self._stores.policies, wire.actor_from(request.actor))
        return pb.GetSlaPoliciesResponse(policies=self._policies(kept))

    async def PutSlaPolicies(self, request: pb.PutSlaPoliciesRequest, context: Any) -> pb.PutSlaPoliciesResponse:
        kept = await put_policies(
            self._stores.policies,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.expected_version,
            holidays=self._holidays,
            now=self._clock.now(),
        )
        return pb.PutSlaPoliciesResponse(policies=self._policies(kept))

    async def GetLeadClock(self, request: pb.GetLeadClockRequest, context: Any) -> pb.GetLeadClockResponse:
        clock = await get_clock(self._stores.clocks, wire.actor_from(request.actor), request.lead_id)
        return pb.GetLeadClockResponse(clock=_clock(clock))

    async def PauseLeadClock(self, request: pb.PauseLeadClockRequest, context: Any) -> pb.PauseLeadClockResponse:
        actor = wire.actor_from(request.actor)
        clock = await pause_clock(self._stores.clocks, actor, request.lead_id, request.reason, now=self._clock.now())
        return pb.PauseLeadClockResponse(clock=_clock(clock))

    async def ResumeLeadClock(self, request: pb.ResumeLeadClockRequest, context: Any) -> pb.ResumeLeadClockResponse:
        actor = wire.actor_from(request.actor)
        clock = await resume_clock(self._stores.clocks, actor, request.lead_id, now=self._clock.now())
        return pb.ResumeLeadClockResponse(clock=_clock(clock))

    async def GetSlaReport(self, request: pb.GetSlaReportRequest, context: Any) -> pb.GetSlaReportResponse:
        report = await get_report(
            self._stores.report,
            wire.actor_from(request.actor),
            request.since.ToDatetime(UTC) if request.HasField("since") else None,
            request.until.ToDatetime(UTC) if request.HasField("until") else None,
            now=self._clock.now(),
            options=self._boards,
        )
        return _report(report)

    def _policies(self, kept: KeptDocument) -> pb.SlaPolicies:
        known_until = self._holidays.known_until
        return pb.SlaPolicies(
            version=kept.version,
            document=struct(kept.document),
            author=kept.author,
            created_at=timestamp(kept.created_at),
            holidays_known_until=known_until.isoformat(),
            holidays_known=self._clock.now().date() <= known_until,
        )


def _clock(clock: LeadClock) -> pb.LeadClock:
    running, silence = clock.running, clock.silence
    runs = running is not None and running.paused_at is None
    return pb.LeadClock(
        lead_id=clock.lead_id,
        stage=running.stage if running else 0,
        due_at=_stamp(running.due_at if running and runs else None),
        remind_at=_stamp(running.remind_at if running and runs else None),
        paused_at=_stamp(running.paused_at if running else None),
        pauses=[
            pb.ClockPause(
                paused_at=timestamp(pause.paused_at),
                paused_by=pause.paused_by,
                reason=pause.reason,
                resumed_at=_stamp(pause.resumed_at),
                resumed_by=pause.resumed_by,
            )
            for pause in clock.pauses
        ],
        silent_since=_stamp(silence.since if silence else None),
        alarms=silence.alarms if silence else 0,
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    return timestamp(moment) if moment is not None else None


def _report(report: Report) -> pb.GetSlaReportResponse:
    return pb.GetSlaReportResponse(
        since=timestamp(report.since),
        until=timestamp(report.until),
        all=_counts("", report.total),
        teams=[_counts(team_id, counts) for team_id, counts in report.teams.items()],
        checks=[
            pb.SlaCheck(id=check.id, met_by=check.met_by, of=check.of, target=check.target, met=check.met or False)
            for check in report.checks
        ],
    )


def _counts(team_id: str, counts: Counts) -> pb.SlaCounts:
    told = {each.name: getattr(counts, each.name) for each in fields(counts) if each.name != "response_s"}
    return pb.SlaCounts(team_id=team_id, response_mean_s=counts.response_mean_s or 0.0, **told)
