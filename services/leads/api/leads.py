"""`LeadsService`."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import BreakwaterError
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import LeadsServiceServicer
from services.leads.api.messages import (
    assignment_to,
    cursor_from,
    cursor_to,
    customer_to,
    decision_to,
    draft_from,
    keyed,
    lead_to,
    status_to,
)
from services.leads.boards.usecases import BoardOptions
from services.leads.datasets.domain import Column
from services.leads.datasets.usecases import DatasetReader, Head, stream_dataset, unpacked
from services.leads.followups.domain import FollowUp
from services.leads.followups.reading import BeginFollowUps, get_lead_now
from services.leads.followups.usecases import BeginWork, add_follow_up, change_stage, claim_lead
from services.leads.idempotence import Answer
from services.leads.intake.batching import Batcher
from services.leads.intake.capture import Captured, Lead
from services.leads.intake.growth.usecases import BeginGrowthReading, check_details
from services.leads.intake.usecases import (
    BeginReading,
    CreateRequest,
    CreateStore,
    LeadFilter,
    create_leads,
    get_customer,
    list_assignments,
    list_leads,
    permit,
)

Creations = Batcher[CreateRequest, Answer]


async def create_together(
    begin: Callable[[], AbstractAsyncContextManager[CreateStore]], clock: Clock, requests: Sequence[CreateRequest]
) -> list[Answer | BreakwaterError]:
    """What a batch of creations does: one transaction."""
    return await create_leads(begin, requests, now=clock.now(), encode=_created)


class LeadsApi(LeadsServiceServicer):
    """Intake, reading and work on leads."""

    def __init__(
        self,
        creations: Creations,
        begin_reading: BeginReading,
        begin_work: BeginWork,
        begin_follow_ups: BeginFollowUps,
        begin_dataset: Callable[[], AbstractAsyncContextManager[DatasetReader]],
        begin_growth: BeginGrowthReading,
        clock: Clock,
        boards: BoardOptions | None = None,
    ) -> None:
        self._creations = creations
        self._begin_reading = begin_reading
        self._begin_work = begin_work
        self._begin_follow_ups = begin_follow_ups
        self._begin_dataset = begin_dataset
        self._begin_growth = begin_growth
        self._clock = clock
        self._boards = boards or BoardOptions()

    async def CreateLead(self, request: pb.CreateLeadRequest, context: Any) -> pb.CreateLeadResponse:
        permit(wire.actor_from(request.actor))
        draft = draft_from(request)
        await check_details(self._begin_growth, draft)
        answer = await self._creations.submit(
            CreateRequest(keyed("CreateLead", request.actor, request.idempotency), draft)
        )
        response = pb.CreateLeadResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def GetLead(self, request: pb.GetLeadRequest, context: Any) -> pb.GetLeadResponse:
        lead, status = await get_lead_now(
            self._begin_follow_ups, wire.actor_from(request.actor), request.id, now=self._clock.now()
        )
        return pb.GetLeadResponse(lead=lead_to(lead), status=status_to(status))

    async def ListLeads(self, request: pb.ListLeadsRequest, context: Any) -> pb.ListLeadsResponse:
        before = cursor_from(request.cursor) if request.cursor else None
        leads, next_place = await list_leads(
            self._begin_reading, wire.actor_from(request.actor), _filter(request.filter), before, request.limit
        )
        return pb.ListLeadsResponse(leads=[lead_to(lead) for lead in leads], next_cursor=cursor_to(next_place))

    async def ListAssignments(self, request: pb.ListAssignmentsRequest, context: Any) -> pb.ListAssignmentsResponse:
        assignments = await list_assignments(self._begin_reading, wire.actor_from(request.actor), request.lead_id)
        return pb.ListAssignmentsResponse(assignments=[assignment_to(each) for each in assignments])

    async def GetCustomer(self, request: pb.GetCustomerRequest, context: Any) -> pb.GetCustomerResponse:
        customer = await get_customer(self._begin_reading, wire.actor_from(request.actor), request.id)
        return pb.GetCustomerResponse(customer=customer_to(customer))

    async def ClaimLead(self, request: pb.ClaimLeadRequest, context: Any) -> pb.ClaimLeadResponse:
        answer = await claim_lead(
            self._begin_work,
            keyed("ClaimLead", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            now=self._clock.now(),
            encode=lambda lead: pb.ClaimLeadResponse(lead=lead_to(lead)).SerializeToString(),
        )
        response = pb.ClaimLeadResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def AddFollowUp(self, request: pb.AddFollowUpRequest, context: Any) -> pb.AddFollowUpResponse:
        answer = await add_follow_up(
            self._begin_work,
            keyed("AddFollowUp", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            _follow_up(request),
            now=self._clock.now(),
            encode=lambda kept: pb.AddFollowUpResponse(id=kept.id).SerializeToString(),
        )
        response = pb.AddFollowUpResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def ChangeStage(self, request: pb.ChangeStageRequest, context: Any) -> pb.ChangeStageResponse:
        answer = await change_stage(
            self._begin_work,
            keyed("ChangeStage", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            request.stage,
            request.reason,
            now=self._clock.now(),
            encode=lambda lead: pb.ChangeStageResponse(lead=lead_to(lead)).SerializeToString(),
        )
        response = pb.ChangeStageResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def StreamDataset(
        self, request: pb.StreamDatasetRequest, context: Any
    ) -> AsyncIterator[pb.StreamDatasetResponse]:
        parts = stream_dataset(
            self._begin_dataset,
            wire.actor_from(request.actor),
            request.dataset,
            list(request.fields),
            _filter(request.filter),
            base_fields_only=request.base_fields_only,
            options=self._boards,
            now=self._clock.now(),
        )
        # Closed at once when the caller goes away: the snapshot holds a connection.
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Head):
                    columns = [_column(column) for column in part.columns]
                    yield pb.StreamDatasetResponse(columns=columns, rows_total=part.rows_total)
                elif request.packed:
                    yield pb.StreamDatasetResponse(packed_rows=part.encode())
                else:
                    yield pb.StreamDatasetResponse(rows=[pb.Row(cells=cells) for cells in unpacked(part)])


def _created(request: CreateRequest, captured: Captured, now: datetime) -> bytes:
    assignment = captured.assignment
    lead = Lead(
        id=captured.lead_id,
        customer_id=captured.customer_id,
        draft=request.draft,
        owner_id=captured.owner_id,
        created_at=now,
        claim_by=assignment.claim_by if assignment else None,
        claimed_at=None,
    )
    response = pb.CreateLeadResponse(
        lead=lead_to(lead),
        assignment=decision_to(assignment) if assignment else None,
        duplicate_of=captured.duplicate_of or "",
    )
    return response.SerializeToString()


def _filter(criteria: pb.LeadFilter) -> LeadFilter:
    return LeadFilter(criteria.stage, criteria.owner_id, criteria.source)


def _follow_up(request: pb.AddFollowUpRequest) -> FollowUp:
    due = request.next_action_due.ToDatetime(UTC) if request.HasField("next_action_due") else None
    return FollowUp(
        goal=request.goal,
        customer_words=request.customer_words,
        our_response=request.our_response,
        next_action=request.next_action,
        next_action_due=due,
        blocker=request.blocker,
        objection=request.objection,
        pain_tags=tuple(request.pain_tags),
        stage=request.stage,
    )


def _column(column: Column) -> pb.Column:
    return pb.Column(
        name=column.name, title=column.title, type=pb.ColumnType.Value(f"COLUMN_TYPE_{column.type.upper()}")
    )
