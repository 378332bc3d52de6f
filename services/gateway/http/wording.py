"""The words of messages: `/v1/notification-templates`."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.notify.v1 import templates_pb2 as pb
from services.gateway.clients import Notify
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input, LongText, ShortText

_Title = Annotated[str, StringConstraints(max_length=200)]
_Body = Annotated[str, StringConstraints(max_length=4_000)]


class NewWords(Input):
    """Text with $name or ${name} for what is put in; $$ is a dollar sign. No code runs in it."""

    title: ShortText
    body: LongText


class TriedWords(Input):
    """As new words; what is left out is as it is in force."""

    title: _Title = ""
    body: _Body = ""


class TemplateView(TypedDict):
    """Version 0 came with the service."""

    name: str
    language: str
    version: int
    title: str
    body: str
    names: list[str]
    """What it may name."""
    changed_by: str | None
    changed_at: str | None


class TemplateList(TypedDict):
    """By name and language, or a template's versions, newest first."""

    items: list[TemplateView]


class PreviewView(TypedDict):
    """What somebody would read, with a sample's values."""

    title: str
    body: str


def add_routes(api: Api, notify: Notify) -> None:
    """Adds the routes of templates."""

    @api.route("GET", "/v1/notification-templates", TemplateList, tag="notifications")
    async def list_templates(call: Call) -> Answer:
        """Every template in force, in every language."""
        request = pb.ListTemplatesRequest(actor=actor_to(call.actor))
        reply = await notify.channel.unary(notify.templates.ListTemplates, request, retryable=True)
        return answer(_list(reply.templates))

    @api.route("GET", "/v1/notification-templates/{name}/{language}/versions", TemplateList, tag="notifications")
    async def list_template_versions(call: Call, name: str, language: str) -> Answer:
        """The changes of a template, the newest 50."""
        request = pb.ListTemplateVersionsRequest(actor=actor_to(call.actor), name=name, language=language)
        reply = await notify.channel.unary(notify.templates.ListTemplateVersions, request, retryable=True)
        return answer(_list(reply.templates))

    @api.route("POST", "/v1/notification-templates/{name}/{language}/preview", PreviewView, tag="notifications")
    async def preview_template(call: Call, name: str, language: str, body: TriedWords) -> Answer:
        """The words as they would look; changes nothing."""
        request = pb.PreviewTemplateRequest(
            actor=actor_to(call.actor), name=name, language=language, title=body.title, body=body.body
        )
        reply = await notify.channel.unary(notify.templates.PreviewTemplate, request, retryable=True)
        view: PreviewView = {"title": reply.title, "body": reply.body}
        return answer(view)

    @api.route("PUT", "/v1/notification-templates/{name}/{language}", TemplateView, tag="notifications")
    async def change_template(call: Call, name: str, language: str, body: NewWords) -> Answer:
        """The next version, in force at once; an earlier one comes back by being put again."""
        request = pb.ChangeTemplateRequest(
            actor=actor_to(call.actor), name=name, language=language, title=body.title, body=body.body
        )
        reply = await notify.channel.unary(notify.templates.ChangeTemplate, request)
        return answer(_view(reply.template))


def _list(templates: Iterable[pb.Template]) -> TemplateList:
    return {"items": [_view(each) for each in templates]}


def _view(template: pb.Template) -> TemplateView:
    return {
        "name": template.name,
        "language": template.language,
        "version": template.version,
        "title": template.title,
        "body": template.body,
        "names": list(template.names),
        "changed_by": template.changed_by or None,
        "changed_at": rfc3339(template.changed_at),
    }
