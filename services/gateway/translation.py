"""Specs and documents between the domain of exports and the proto of files: for calls, for events, and for what is kept."""

from breakwater.files.v1 import events_pb2
from breakwater.files.v1 import files_pb2 as pb
from services.gateway.exports.domain import Document, Spec


def spec_to_wire(spec: Spec) -> pb.ExportSpec:
    """What is asked of files."""
    message = pb.ExportSpec(
        dataset=spec.dataset,
        format=spec.kind,
        fields=spec.fields,
        filter=dict(spec.filter),
        template_version=spec.template_version,
    )
    if spec.letter is not None:
        letter = spec.letter
        message.letter.CopyFrom(
            pb.Letter(highlights=letter.highlights, offer=letter.offer, offer_until=letter.offer_until)
        )
    return message


def document_from_wire(message: pb.ExportJob | events_pb2.ExportCompleted) -> Document | None:
    """What a finished PDF was made by; None for another file."""
    if not message.HasField("document"):
        return None
    made = message.document
    return Document(made.template, made.version, made.template_sha256)
