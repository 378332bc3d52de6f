"""`IntakeService`."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.chassis.telemetry import current_traceparent
from breakwater.leads.v1 import intake_pb2 as pb
from breakwater.leads.v1 import leads_pb2
from breakwater.leads.v1.intake_pb2_grpc import IntakeServiceServicer
from services.leads.api.leads import Creations
from services.leads.api.messages import keyed, lead_to, struct
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import BeginDocuments, get_document, put_document
from services.leads.intake.domain import normalise
from services.leads.intake.forms.usecases import BeginForms, KeptForm, answered, board, get_form, put_form
from services.leads.intake.growth.autofill import from_minutes, from_page_views, from_signature
from services.leads.intake.growth.domain import read_growth
from services.leads.intake.growth.usecases import (
    BeginGrowth,
    BeginGrowthReading,
    Grown,
    edit_lead,
    get_bands,
    get_grown,
)
from services.leads.intake.usecases import CreateRequest, permit
from services.leads.timestamps import timestamp

COMPLETENESS_DAYS = 90
"""Leads of so many days are counted where nothing else is asked for."""


class IntakeApi(IntakeServiceServicer):
    """More of a lead as it grows, and forms."""

    def __init__(
        self,
        creations: Creations,
        begin_growth: BeginGrowth,
        begin_growth_reading: BeginGrowthReading,
        begin_stages: BeginDocuments,
        begin_forms: BeginForms,
        clock: Clock,
    ) -> None:
        self._creations = creations
        self._begin_growth = begin_growth
        self._begin_growth_reading = begin_growth_reading
        self._begin_stages = begin_stages
        self._begin_forms = begin_forms
        self._clock = clock

    # ---- growth ----

    async def EditLead(self, request: pb.EditLeadRequest, context: Any) -> pb.EditLeadResponse:
        answer = await edit_lead(
            self._begin_growth,
            keyed("EditLead", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            dict(request.fields),
            request.reason,
            now=self._clock.now(),
            encode=lambda grown: pb.EditLeadResponse(growth=_growth_to(grown)).SerializeToString(),
        )
        response = pb.EditLeadResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def GetGrowth(self, request: pb.GetGrowthRequest, context: Any) -> pb.GetGrowthResponse:
        grown = await get_grown(self._begin_growth_reading, wire.actor_from(request.actor), request.lead_id)
        return pb.GetGrowthResponse(growth=_growth_to(grown))

    async def GetCompleteness(self, request: pb.GetCompletenessRequest, context: Any) -> pb.GetCompletenessResponse:
        since = self._clock.now() - timedelta(days=COMPLETENESS_DAYS)
        if request.HasField("since"):
            since = request.since.ToDatetime(UTC)
        bands = await get_bands(self._begin_growth_reading, wire.actor_from(request.actor), since)
        return pb.GetCompletenessResponse(
            bands=[
                pb.CompletenessBand(from_percent=each.from_percent, leads=each.leads, converted=each.converted)
                for each in bands
            ]
        )

    async def GetGrowthStages(self, request: pb.GetGrowthStagesRequest, context: Any) -> pb.GetGrowthStagesResponse:
        kept = await get_document(self._begin_stages, wire.actor_from(request.actor))
        return pb.GetGrowthStagesResponse(stages=_document_to(kept))

    async def PutGrowthStages(self, request: pb.PutGrowthStagesRequest, context: Any) -> pb.PutGrowthStagesResponse:
        kept = await put_document(
            self._begin_stages,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.expected_version,
            read_growth,
            now=self._clock.now(),
        )
        return pb.PutGrowthStagesResponse(stages=_document_to(kept))

    async def Autofill(self, request: pb.AutofillRequest, context: Any) -> pb.AutofillResponse:
        permit(wire.actor_from(request.actor))
        fields = from_page_views(request.page_views)
        if request.minutes:
            fields |= from_minutes(request.minutes)
        if request.signature:
            fields |= from_signature(request.signature)
        return pb.AutofillResponse(fields=fields)

    # ---- forms ----

    async def PutForm(self, request: pb.PutFormRequest, context: Any) -> pb.PutFormResponse:
        kept = await put_form(
            self._begin_forms,
            wire.actor_from(request.actor),
            request.name,
            MessageToDict(request.document),
            request.expected_version,
            now=self._clock.now(),
        )
        return pb.PutFormResponse(form=_form_to(kept))

    async def GetForm(self, request: pb.GetFormRequest, context: Any) -> pb.GetFormResponse:
        kept = await get_form(self._begin_forms, wire.actor_from(request.actor), request.name)
        return pb.GetFormResponse(form=_form_to(kept))

    async def ListForms(self, request: pb.ListFormsRequest, context: Any) -> pb.ListFormsResponse:
        figures = await board(self._begin_forms, wire.actor_from(request.actor), days_ago=self._days_ago)
        return pb.ListFormsResponse(
            forms=[
                pb.FormFigure(
                    form=_form_to(each.form),
                    title=each.row.title,
                    figure=each.row.figure,
                    days=each.row.days,
                    leads=each.leads,
                    value=each.value,
                )
                for each in figures
            ]
        )

    async def SubmitForm(self, request: pb.SubmitFormRequest, context: Any) -> pb.SubmitFormResponse:
        actor = wire.actor_from(request.actor)
        draft = await answered(
            self._begin_forms, actor, request.form, dict(request.values), traceparent=current_traceparent()
        )
        answer = await self._creations.submit(
            CreateRequest(keyed("SubmitForm", request.actor, request.idempotency), normalise(draft))
        )
        created = leads_pb2.CreateLeadResponse.FromString(answer.content)
        created.replayed = answer.replayed
        return pb.SubmitFormResponse(created=created)

    def _days_ago(self, days: int) -> datetime:
        return self._clock.now() - timedelta(days=days)


def _growth_to(grown: Grown) -> pb.Growth:
    return pb.Growth(
        lead=lead_to(grown.lead),
        stages=[
            pb.GrowthStage(name=stage.name, title=stage.title, open=number < grown.open_stages, fields=stage.fields)
            for number, stage in enumerate(grown.growth.stages)
        ],
        completeness=grown.completeness,
        missing=grown.missing,
    )


def _document_to(kept: KeptDocument) -> pb.IntakeDocument:
    return pb.IntakeDocument(
        version=kept.version,
        document=struct(kept.document),
        author=kept.author,
        created_at=timestamp(kept.created_at),
    )


def _form_to(kept: KeptForm) -> pb.Form:
    return pb.Form(name=kept.name, document=_document_to(kept.kept))
