"""How people are reached: their channels, their wishes, and what keeps messages from them."""

import re
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.notify.v1 import channels_pb2 as pb
from services.gateway.clients import Notify
from services.gateway.http.answers import Answer, answer
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Identifier, Input, PageQuery

Channel = Literal["wecom", "dingtalk", "feishu", "email"]
_Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
_MOBILE = re.compile(r"^(1\d{2})\d{4}(\d{4})$")


class NewBinding(Input):
    """How the person is reached on the channel."""

    address: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    """A mail address, or the id or mobile number that a robot mentions."""
    robot: Identifier = "default"
    """The group robot that speaks; of no use for mail."""


class Wishes(Input):
    """All of a person's wishes; what is left out is as for everybody. What is critical passes over switches and quiet hours."""

    language: Literal["zh", "en"] = "zh"
    order: Annotated[tuple[Channel, ...], Field(max_length=4)] = ()
    """Channels in the order they are tried; the others follow."""
    muted: Annotated[tuple[Channel, ...], Field(max_length=4)] = ()
    """Channels that are switched off."""
    quiet_from: _Clock | None = None
    """HH:MM; with quiet_to or not at all."""
    quiet_to: _Clock | None = None


class BindingView(TypedDict):
    """One channel; the middle of a mobile number is not shown."""

    channel: str
    address: str
    robot: str | None
    by_directory: bool
    """It came with the person's record and nobody had to bind it."""


class PreferencesView(TypedDict):
    """What the person wishes."""

    language: str
    order: list[str]
    muted: list[str]
    quiet_from: str | None
    quiet_to: str | None


class PersonChannelsView(TypedDict):
    """A person's channels in the order they are tried, behind the inbox, which always has everything."""

    person_id: str
    bindings: list[BindingView]
    preferences: PreferencesView


class NotificationFindingView(TypedDict):
    """`unbound`: no robot reaches that person; `robot`: its key, sign or address is refused."""

    kind: str
    subject: str
    detail: str | None


class NotificationFindingPage(TypedDict):
    """Robots first, then people by id."""

    items: list[NotificationFindingView]
    next_cursor: str | None


def add_routes(api: Api, notify: Notify) -> None:
    """Adds the routes of people's channels."""

    @api.route("GET", "/v1/people/{person_id}/channels", PersonChannelsView, tag="notifications")
    async def get_channels(call: Call, person_id: str) -> Answer:
        """A person's channels and wishes."""
        request = pb.GetChannelsRequest(actor=actor_to(call.actor), person_id=person_id)
        reply = await notify.channel.unary(notify.channels.GetChannels, request, retryable=True)
        return answer(_channels_view(reply.channels))

    @api.route("PUT", "/v1/people/{person_id}/channels/{channel}", PersonChannelsView, tag="notifications")
    async def bind_channel(call: Call, person_id: str, channel: str, body: NewBinding) -> Answer:
        """Binds a channel, or binds it anew."""
        request = pb.BindChannelRequest(
            actor=actor_to(call.actor), person_id=person_id, channel=channel, address=body.address, robot=body.robot
        )
        reply = await notify.channel.unary(notify.channels.BindChannel, request, retryable=True)
        return answer(_channels_view(reply.channels))

    @api.route("DELETE", "/v1/people/{person_id}/channels/{channel}", PersonChannelsView, tag="notifications")
    async def unbind_channel(call: Call, person_id: str, channel: str) -> Answer:
        """Removes a binding."""
        request = pb.UnbindChannelRequest(actor=actor_to(call.actor), person_id=person_id, channel=channel)
        reply = await notify.channel.unary(notify.channels.UnbindChannel, request)
        return answer(_channels_view(reply.channels))

    @api.route("PUT", "/v1/people/{person_id}/notification-preferences", PersonChannelsView, tag="notifications")
    async def set_preferences(call: Call, person_id: str, body: Wishes) -> Answer:
        """Replaces language, order, switches and quiet hours."""
        wishes = pb.Preferences(
            language=body.language,
            order=body.order,
            muted=body.muted,
            quiet_from=body.quiet_from or "",
            quiet_to=body.quiet_to or "",
        )
        request = pb.SetPreferencesRequest(actor=actor_to(call.actor), person_id=person_id, preferences=wishes)
        reply = await notify.channel.unary(notify.channels.SetPreferences, request, retryable=True)
        return answer(_channels_view(reply.channels))

    @api.route("GET", "/v1/notification-findings", NotificationFindingPage, tag="notifications")
    async def list_notification_findings(call: Call, query: Annotated[PageQuery, Query()]) -> Answer:
        """Who cannot be reached by a robot, and which robots refuse; for those who see everybody."""
        request = pb.ListFindingsRequest(actor=actor_to(call.actor), limit=query.limit, cursor=query.cursor)
        reply = await notify.channel.unary(notify.channels.ListFindings, request, retryable=True)
        page: NotificationFindingPage = {
            "items": [
                {"kind": each.kind, "subject": each.subject, "detail": each.detail or None} for each in reply.findings
            ],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(page)


def _channels_view(channels: pb.PersonChannels) -> PersonChannelsView:
    wishes = channels.preferences
    return {
        "person_id": channels.person_id,
        "bindings": [
            {
                "channel": each.channel,
                "address": _MOBILE.sub(r"\1****\2", each.address),
                "robot": each.robot or None,
                "by_directory": each.by_directory,
            }
            for each in channels.bindings
        ],
        "preferences": {
            "language": wishes.language,
            "order": list(wishes.order),
            "muted": list(wishes.muted),
            "quiet_from": wishes.quiet_from or None,
            "quiet_to": wishes.quiet_to or None,
        },
    }
