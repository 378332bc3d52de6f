"""Specs and jobs between the domain and the proto: for the API and for the events of the gateway."""

from breakwater.files.v1 import files_pb2 as pb
from services.files.documents.domain import Stamp
from services.files.exports.domain import Job, Letter, Spec


def spec_from_wire(message: pb.ExportSpec, sealed_password: bytes = b"") -> Spec:
    """What the proto asks for."""
    letter = None
    if message.HasField("letter"):
        letter = Letter(tuple(message.letter.highlights), message.letter.offer, message.letter.offer_until)
    return Spec(
        message.dataset,
        message.format,
        tuple(message.fields),
        dict(message.filter),
        template_version=message.template_version,
        letter=letter,
        sealed_password=sealed_password or None,
    )


def job_to_wire(job: Job) -> pb.ExportJob:
    """The job as the proto has it."""
    message = pb.ExportJob(
        export_id=job.id,
        state=job.state,
        rows_done=job.rows_done,
        rows_total=job.rows_total,
        queue_moves=job.queue_moves,
        encrypted=job.spec.is_encrypted,
    )
    if job.artifact is not None:
        message.size_bytes, message.sha256 = job.artifact.size_bytes, job.artifact.sha256
        if (document := job.artifact.document) is not None:
            message.document.CopyFrom(document_to_wire(document))
    if job.failure is not None:
        message.failure, message.failure_code = job.failure.reason, job.failure.code
    if job.finished_at is not None:
        message.finished_at.FromDatetime(job.finished_at)
    return message


def document_to_wire(stamp: Stamp) -> pb.Document:
    """What a PDF was made by, as the proto has it."""
    return pb.Document(template=stamp.template, version=stamp.version, template_sha256=stamp.sha256)
