"""The gRPC face of files: translates, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from breakwater.chassis import wire
from breakwater.files.v1 import files_pb2 as pb
from breakwater.files.v1.files_pb2_grpc import FilesServiceServicer
from services.files.exports.usecases.requests import Exports
from services.files.translation import job_to_wire, spec_from_wire


class FilesApi(FilesServiceServicer):
    """`FilesService` over the export use cases. Who may see an export is the gateway's to say: it owns the request."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def StartExport(self, request: pb.StartExportRequest, context: Any) -> pb.StartExportResponse:
        actor = wire.actor_from(request.actor)
        spec = spec_from_wire(request.spec, request.sealed_password)
        job = await self._exports.start(request.export_id, actor, spec)
        return pb.StartExportResponse(job=job_to_wire(job))

    async def GetExport(self, request: pb.GetExportRequest, context: Any) -> pb.GetExportResponse:
        return pb.GetExportResponse(job=job_to_wire(await self._exports.get(request.export_id)))

    async def ReadContent(self, request: pb.ReadContentRequest, context: Any) -> AsyncIterator[pb.ReadContentResponse]:
        async with aclosing(self._exports.read(request.export_id, request.offset, request.length)) as pieces:
            async for piece in pieces:
                yield pb.ReadContentResponse(content=piece)
