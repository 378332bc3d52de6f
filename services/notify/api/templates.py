"""Templates over gRPC."""

from typing import Any

from breakwater.chassis import wire
from breakwater.notify.v1 import templates_pb2 as pb
from breakwater.notify.v1.templates_pb2_grpc import TemplateServiceServicer
from services.notify.templates.domain import Template
from services.notify.templates.usecases import Wording
from services.notify.timestamps import timestamp


class TemplateApi(TemplateServiceServicer):
    """`TemplateService` over the use cases."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Any) -> pb.ListTemplatesResponse:
        words = await self._wording.show()
        return pb.ListTemplatesResponse(
            templates=[
                _to_wire(template, list(words.samples[template.name]))
                for _, template in sorted(words.templates.items())
            ]
        )

    async def ListTemplateVersions(
        self, request: pb.ListTemplateVersionsRequest, context: Any
    ) -> pb.ListTemplateVersionsResponse:
        versions = await self._wording.versions(request.name, request.language)
        return pb.ListTemplateVersionsResponse(templates=[_to_wire(each) for each in versions])

    async def PreviewTemplate(self, request: pb.PreviewTemplateRequest, context: Any) -> pb.PreviewTemplateResponse:
        title, body = await self._wording.preview(request.name, request.language, request.title, request.body)
        return pb.PreviewTemplateResponse(title=title, body=body)

    async def ChangeTemplate(self, request: pb.ChangeTemplateRequest, context: Any) -> pb.ChangeTemplateResponse:
        template = Template(request.name, request.language, request.title, request.body)
        changed = await self._wording.change(wire.actor_from(request.actor), template)
        return pb.ChangeTemplateResponse(template=_to_wire(changed))


def _to_wire(template: Template, names: list[str] | None = None) -> pb.Template:
    message = pb.Template(
        name=template.name,
        language=template.language,
        version=template.version,
        title=template.title,
        body=template.body,
        names=names or [],
        changed_by=template.changed_by,
    )
    if template.changed_at is not None:
        message.changed_at.CopyFrom(timestamp(template.changed_at))
    return message
