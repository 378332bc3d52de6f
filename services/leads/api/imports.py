"""`ImportService`."""

from collections.abc import AsyncIterator
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.errors import InvalidRequestError
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import ImportServiceServicer
from services.leads.api.messages import keyed
from services.leads.intake.imports.domain import Import, Rejection
from services.leads.intake.imports.usecases import Imports, Order
from services.leads.timestamps import timestamp


class ImportsApi(ImportServiceServicer):
    """Imports of files by mapping."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def StartImport(self, request: AsyncIterator[pb.StartImportRequest], context: Any) -> pb.StartImportResponse:
        head = await _head(request)
        started, replayed = await self._imports.start(
            wire.actor_from(head.actor),
            Order(head.filename, head.mapping, head.mapping_document, head.reassign),
            _content(request),
            keyed("StartImport", head.actor, head.idempotency),
        )
        return pb.StartImportResponse(**{"import": _import_to(started)}, replayed=replayed)

    async def GetImport(self, request: pb.GetImportRequest, context: Any) -> pb.GetImportResponse:
        found = await self._imports.get(wire.actor_from(request.actor), request.id)
        return pb.GetImportResponse(**{"import": _import_to(found)})

    async def ListRejections(self, request: pb.ListRejectionsRequest, context: Any) -> pb.ListRejectionsResponse:
        rejections, next_cursor = await self._imports.rejections(
            wire.actor_from(request.actor), request.import_id, request.limit, request.cursor
        )
        return pb.ListRejectionsResponse(
            rejections=[_rejection_to(each) for each in rejections], next_cursor=next_cursor
        )

    async def ListImportRows(self, request: pb.ListImportRowsRequest, context: Any) -> pb.ListImportRowsResponse:
        rows, next_cursor = await self._imports.report(
            wire.actor_from(request.actor), request.import_id, request.cursor
        )
        return pb.ListImportRowsResponse(
            rows=[
                pb.ImportRow(row=each.row, outcome=each.outcome, id=each.id, field=each.field, reason=each.reason)
                for each in rows
            ],
            next_cursor=next_cursor,
        )


async def _head(parts: AsyncIterator[pb.StartImportRequest]) -> pb.ImportHead:
    async for part in parts:
        if part.WhichOneof("part") == "head":
            return part.head
        break
    raise InvalidRequestError("An import begins with its head.")


async def _content(parts: AsyncIterator[pb.StartImportRequest]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.WhichOneof("part") != "content":
            raise InvalidRequestError("After its head an import has content only.")
        yield part.content


def _import_to(found: Import) -> pb.Import:
    return pb.Import(
        id=found.id,
        state=found.state,
        dataset=found.dataset,
        rows=found.rows,
        rows_done=found.rows_done,
        created=found.created,
        merged=found.merged,
        rejected=found.rejected,
        failure=found.failure,
        created_at=timestamp(found.created_at),
        finished_at=timestamp(found.finished_at) if found.finished_at else None,
        unlinked=found.unlinked,
    )


def _rejection_to(rejection: Rejection) -> pb.Rejection:
    return pb.Rejection(row=rejection.row, field=rejection.field, reason=rejection.reason, raw=rejection.raw)
