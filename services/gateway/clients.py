"""The services behind the gateway: each one's stubs over its one guarded channel, and what exports ask of them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from breakwater.chassis import wire
from breakwater.chassis.channels import Channel
from breakwater.chassis.errors import BreakwaterError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.files.v1 import files_pb2
from breakwater.files.v1.files_pb2_grpc import FilesServiceStub
from breakwater.health.v1.health_pb2_grpc import HealthScoringServiceStub
from breakwater.leads.v1 import leads_pb2
from breakwater.leads.v1.boards_pb2_grpc import BoardsServiceStub
from breakwater.leads.v1.customers_pb2_grpc import CustomersServiceStub
from breakwater.leads.v1.followups_pb2_grpc import FollowUpServiceStub
from breakwater.leads.v1.intake_pb2_grpc import IntakeServiceStub
from breakwater.leads.v1.leads_pb2_grpc import (
    ImportServiceStub,
    LeadsServiceStub,
    OrganisationServiceStub,
    RoutingServiceStub,
)
from breakwater.leads.v1.organisation_pb2_grpc import DirectoryServiceStub
from breakwater.leads.v1.sla_pb2_grpc import SlaServiceStub
from breakwater.leads.v1.story_pb2_grpc import StoryServiceStub
from breakwater.leads.v1.tagging_pb2_grpc import TaggingServiceStub
from breakwater.notify.v1.channels_pb2_grpc import ChannelServiceStub
from breakwater.notify.v1.notify_pb2_grpc import NotifyServiceStub
from breakwater.notify.v1.templates_pb2_grpc import TemplateServiceStub
from breakwater.notify.v1.workorders_pb2_grpc import WorkOrderServiceStub
from breakwater.resilience import Deadline
from services.gateway.exports.domain import Column, ColumnKind, Export, File, Job, JobState
from services.gateway.exports.engine import Head
from services.gateway.exports.snapshots import CELL_END, ROW_END, Person
from services.gateway.translation import document_from_wire, spec_to_wire

if TYPE_CHECKING:
    # Types that only the stub files of mypy-protobuf know.
    from breakwater.files.v1.files_pb2_grpc import FilesServiceAsyncStub
    from breakwater.health.v1.health_pb2_grpc import HealthScoringServiceAsyncStub
    from breakwater.leads.v1.boards_pb2_grpc import BoardsServiceAsyncStub
    from breakwater.leads.v1.customers_pb2_grpc import CustomersServiceAsyncStub
    from breakwater.leads.v1.followups_pb2_grpc import FollowUpServiceAsyncStub
    from breakwater.leads.v1.intake_pb2_grpc import IntakeServiceAsyncStub
    from breakwater.leads.v1.leads_pb2_grpc import (
        ImportServiceAsyncStub,
        LeadsServiceAsyncStub,
        OrganisationServiceAsyncStub,
        RoutingServiceAsyncStub,
    )
    from breakwater.leads.v1.organisation_pb2_grpc import DirectoryServiceAsyncStub
    from breakwater.leads.v1.sla_pb2_grpc import SlaServiceAsyncStub
    from breakwater.leads.v1.story_pb2_grpc import StoryServiceAsyncStub
    from breakwater.leads.v1.tagging_pb2_grpc import TaggingServiceAsyncStub
    from breakwater.notify.v1.channels_pb2_grpc import ChannelServiceAsyncStub
    from breakwater.notify.v1.notify_pb2_grpc import NotifyServiceAsyncStub
    from breakwater.notify.v1.templates_pb2_grpc import TemplateServiceAsyncStub
    from breakwater.notify.v1.workorders_pb2_grpc import WorkOrderServiceAsyncStub


Reply = TypeVar("Reply")

_CLAIM_DEADLINE_S = 0.9
"""Retries included: the local engine needs the rest of the two seconds that a requester waits (37)."""
_CLAIMS_MAX = 8
"""Jobs handed over or looked at at a time. Fifty requests of one moment at once made files seem slow, and the local engine,
in our own process, took over what only had to wait."""
_CONTENT_IDLE_S = 10.0
_ROWS_IDLE_S = 5.0
PEOPLE_MAX = 10_000
"""So many people's teams a snapshot knows."""
_PEOPLE_PAGE = 200
_EVERYTHING = Actor("gateway", Role.SERVICE, Scope.ALL)


@dataclass(frozen=True, slots=True)
class Leads:
    """The leads service."""

    channel: Channel
    leads: "LeadsServiceAsyncStub"
    imports: "ImportServiceAsyncStub"
    routing: "RoutingServiceAsyncStub"
    organisation: "OrganisationServiceAsyncStub"
    follow_ups: "FollowUpServiceAsyncStub"
    customers: "CustomersServiceAsyncStub"
    intake: "IntakeServiceAsyncStub"
    sla: "SlaServiceAsyncStub"
    boards: "BoardsServiceAsyncStub"
    tagging: "TaggingServiceAsyncStub"
    directory: "DirectoryServiceAsyncStub"
    stories: "StoryServiceAsyncStub"

    @classmethod
    def over(cls, channel: Channel) -> "Leads":
        return cls(
            channel,
            LeadsServiceStub(channel.grpc),
            ImportServiceStub(channel.grpc),
            RoutingServiceStub(channel.grpc),
            OrganisationServiceStub(channel.grpc),
            FollowUpServiceStub(channel.grpc),
            CustomersServiceStub(channel.grpc),
            IntakeServiceStub(channel.grpc),
            SlaServiceStub(channel.grpc),
            BoardsServiceStub(channel.grpc),
            TaggingServiceStub(channel.grpc),
            DirectoryServiceStub(channel.grpc),
            StoryServiceStub(channel.grpc),
        )


@dataclass(frozen=True, slots=True)
class Health:
    """The health service."""

    channel: Channel
    scoring: "HealthScoringServiceAsyncStub"

    @classmethod
    def over(cls, channel: Channel) -> "Health":
        return cls(channel, HealthScoringServiceStub(channel.grpc))


@dataclass(frozen=True, slots=True)
class Notify:
    """The notify service."""

    channel: Channel
    notifications: "NotifyServiceAsyncStub"
    channels: "ChannelServiceAsyncStub"
    templates: "TemplateServiceAsyncStub"
    work_orders: "WorkOrderServiceAsyncStub"

    @classmethod
    def over(cls, channel: Channel) -> "Notify":
        return cls(
            channel,
            NotifyServiceStub(channel.grpc),
            ChannelServiceStub(channel.grpc),
            TemplateServiceStub(channel.grpc),
            WorkOrderServiceStub(channel.grpc),
        )


class FilesClient:
    """What exports ask of files. While it fails, an export falls back to the local engine, which the policy counts."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub: "FilesServiceAsyncStub" = FilesServiceStub(channel.grpc)  # noqa: UP037 - only the stub file knows it
        self._turns = asyncio.Semaphore(_CLAIMS_MAX)

    async def claim(self, export: Export) -> Job:
        """Has files take the job. Raises `BreakwaterError`."""
        request = files_pb2.StartExportRequest(
            export_id=export.job_id,
            actor=wire.actor_to(export.requester),
            spec=spec_to_wire(export.spec),
            sealed_password=export.sealed_password or b"",
        )
        bridge = _Bridge(export, files_pb2.StartExportResponse())
        async with self._turns:
            reply = await self._channel.unary(
                self._stub.StartExport, request, retryable=True, deadline=_soon(), fallback=bridge.fallback
            )
        bridge.raise_failure()
        return _job(reply.job)

    async def look(self, export: Export) -> Job:
        """How far the job is. Raises `BreakwaterError`, `NotFoundError` when files does not know it."""
        request = files_pb2.GetExportRequest(export_id=export.job_id)
        bridge = _Bridge(export, files_pb2.GetExportResponse())
        async with self._turns:
            reply = await self._channel.unary(
                self._stub.GetExport, request, retryable=True, deadline=_soon(), fallback=bridge.fallback
            )
        bridge.raise_failure()
        return _job(reply.job)

    async def content(self, job_id: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Part of a finished file. Raises `BreakwaterError`."""
        request = files_pb2.ReadContentRequest(export_id=job_id, offset=offset, length=length)
        async with aclosing(
            self._channel.stream(self._stub.ReadContent, request, idle_timeout_s=_CONTENT_IDLE_S)
        ) as chunks:
            async for chunk in chunks:
                yield chunk.content


class DatasetRows:
    """What the local engine asks of leads."""

    def __init__(self, leads: Leads) -> None:
        self._leads = leads
        self._columns: dict[str, tuple[Column, ...]] = {}

    async def columns(self, export: Export) -> tuple[Column, ...]:
        """The columns of the full file, asked for once: they change with a release. Raises `BreakwaterError`."""
        known = self._columns.get(export.spec.dataset)
        if known is None:
            async with aclosing(self._stream(export, base_fields_only=False)) as messages:
                known = tuple(_column(column) for column in (await anext(messages)).columns)
            self._columns[export.spec.dataset] = known
        return known

    async def base_rows(self, export: Export) -> AsyncGenerator[Any, None]:
        """The base columns, then chunks of rows. Raises `BreakwaterError`."""
        async with aclosing(self._stream(export, base_fields_only=True)) as messages:
            first = await anext(messages)
            yield Head(tuple(_column(column) for column in first.columns))
            if first.rows:
                yield [list(row.cells) for row in first.rows]
            async for message in messages:
                yield [list(row.cells) for row in message.rows]

    def _stream(
        self, export: Export, *, base_fields_only: bool
    ) -> AsyncGenerator[leads_pb2.StreamDatasetResponse, None]:
        filters = export.spec.filter
        request = leads_pb2.StreamDatasetRequest(
            actor=wire.actor_to(export.requester),
            dataset=export.spec.rows_of,
            filter=leads_pb2.LeadFilter(
                stage=filters.get("stage", ""), owner_id=filters.get("owner_id", ""), source=filters.get("source", "")
            ),
            base_fields_only=base_fields_only,
        )
        return self._leads.channel.stream(self._leads.leads.StreamDataset, request, idle_timeout_s=_ROWS_IDLE_S)


class WholeDatasets:
    """What is asked of leads for snapshots: everything, as nobody but a service may."""

    def __init__(self, leads: Leads) -> None:
        self._leads = leads

    async def shape(self, dataset: str) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
        """The base columns and all columns. Raises `BreakwaterError`."""
        base, full = [await self._columns(dataset, base_fields_only=only) for only in (True, False)]
        return base, full

    async def people(self) -> list[Person]:
        """Everybody, up to `PEOPLE_MAX`. Raises `BreakwaterError`."""
        found: list[Person] = []
        cursor = ""
        while len(found) < PEOPLE_MAX:
            request = leads_pb2.ListPeopleRequest(actor=wire.actor_to(_EVERYTHING), limit=_PEOPLE_PAGE, cursor=cursor)
            reply = await self._leads.channel.unary(self._leads.organisation.ListPeople, request, retryable=True)
            found += [Person(each.id, each.team_id, each.supervisor_id) for each in reply.people]
            cursor = reply.next_cursor
            if not cursor:
                break
        return found

    async def rows(self, dataset: str, fields: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The rows of one moment, packed. Raises `BreakwaterError`."""
        async with aclosing(self._stream(dataset, fields=fields, packed=True)) as messages:
            async for message in messages:
                if message.packed_rows:
                    yield message.packed_rows
                elif message.rows:
                    # A leads older than 0.3.0 does not pack them.
                    yield b"".join(CELL_END.join(map(str.encode, row.cells)) + ROW_END for row in message.rows)

    async def _columns(self, dataset: str, *, base_fields_only: bool) -> tuple[Column, ...]:
        async with aclosing(self._stream(dataset, base_fields_only=base_fields_only)) as messages:
            return tuple(_column(column) for column in (await anext(messages)).columns)

    def _stream(
        self, dataset: str, *, fields: Sequence[str] = (), base_fields_only: bool = False, packed: bool = False
    ) -> AsyncGenerator[leads_pb2.StreamDatasetResponse, None]:
        request = leads_pb2.StreamDatasetRequest(
            actor=wire.actor_to(_EVERYTHING),
            dataset=dataset,
            fields=fields,
            base_fields_only=base_fields_only,
            packed=packed,
        )
        return self._leads.channel.stream(self._leads.leads.StreamDataset, request, idle_timeout_s=_ROWS_IDLE_S)


class _Bridge(Generic[Reply]):
    """Lets the policy count that a fallback answers, and hands the failure to the use case, which has the local engine.

    A follow-up has no fallback: it waits for files itself.
    """

    def __init__(self, export: Export, nothing: Reply) -> None:
        self._nothing = nothing
        self._failure: BreakwaterError | None = None
        self.fallback: Callable[[BreakwaterError], Awaitable[Reply]] | None = (
            None if export.is_follow_up else self._take
        )

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _take(self, failure: BreakwaterError) -> Reply:
        self._failure = failure
        return self._nothing


def _soon() -> Deadline:
    return Deadline.after(_CLAIM_DEADLINE_S)


def _job(job: files_pb2.ExportJob) -> Job:
    try:
        state = JobState(job.state)
    except ValueError:
        raise UnavailableError(
            "files answered what we do not understand", code="contract", dependency="files"
        ) from None
    file = None
    if state is JobState.COMPLETED:
        file = File(job.rows_done, job.size_bytes, job.sha256, document_from_wire(job))
    return Job(
        state,
        job.rows_done,
        job.rows_total,
        file,
        job.failure,
        failure_code=job.failure_code,
        encrypted=job.encrypted,
        queue_moves=job.queue_moves,
    )


def _column(column: leads_pb2.Column) -> Column:
    kind = leads_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()
    return Column(column.name, column.title, ColumnKind(kind) if kind != "unspecified" else ColumnKind.TEXT)
