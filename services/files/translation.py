"""Specs and jobs between the domain and the proto: for the API and for the events of the gateway."""

from breakwater.files.v1 import files_pb2 as pb
from services.files.exports.domain import Job, Spec


def spec_from_wire(message: pb.ExportSpec) -> Spec:
    """What the proto asks for."""
    return Spec(message.dataset, message.format, tuple(message.fields), dict(message.filter))


def job_to_wire(job: Job) -> pb.ExportJob:
    """The job as the proto has it."""
    message = pb.ExportJob(export_id=job.id, state=job.state, rows_done=job.rows_done, rows_total=job.rows_total)
    message.queue_moves = job.queue_moves
    if job.artifact is not None:
        message.size_bytes, message.sha256 = job.artifact.size_bytes, job.artifact.sha256
    if job.failure is not None:
        message.failure = job.failure.reason
    if job.finished_at is not None:
        message.finished_at.FromDatetime(job.finished_at)
    return message
