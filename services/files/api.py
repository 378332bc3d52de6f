"""The gRPC face of files: translates, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from breakwater.chassis import wire
from breakwater.files.v1 import files_pb2 as pb
from breakwater.files.v1.files_pb2_grpc import FilesServiceServicer
from services.files.exports.domain import Job, Spec
from services.files.exports.usecases import Exports


class FilesApi(FilesServiceServicer):
    """`FilesService` over the export use cases. Who may see an export is the gateway's to say: it owns the request."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def StartExport(self, request: pb.StartExportRequest, context: Any) -> pb.StartExportResponse:
        actor = wire.actor_from(request.actor)
        job = await self._exports.start(request.export_id, actor, spec_from_wire(request.spec))
        return pb.StartExportResponse(job=job_to_wire(job))

    async def GetExport(self, request: pb.GetExportRequest, context: Any) -> pb.GetExportResponse:
        return pb.GetExportResponse(job=job_to_wire(await self._exports.get(request.export_id)))

    async def ReadContent(self, request: pb.ReadContentRequest, context: Any) -> AsyncIterator[pb.ReadContentResponse]:
        async with aclosing(self._exports.read(request.export_id, request.offset, request.length)) as pieces:
            async for piece in pieces:
                yield pb.ReadContentResponse(content=piece)


def spec_from_wire(message: pb.ExportSpec) -> Spec:
    """What the proto asks for."""
    return Spec(message.dataset, message.format, tuple(message.fields), dict(message.filter))


def job_to_wire(job: Job) -> pb.ExportJob:
    """The job as the proto has it."""
    message = pb.ExportJob(export_id=job.id, state=job.state, rows_done=job.rows_done, rows_total=job.rows_total)
    if job.artifact is not None:
        message.size_bytes, message.sha256 = job.artifact.size_bytes, job.artifact.sha256
    if job.failure is not None:
        message.failure = job.failure.reason
    if job.finished_at is not None:
        message.finished_at.FromDatetime(job.finished_at)
    return message
