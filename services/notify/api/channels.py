"""Channels over gRPC."""

from datetime import time
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.notify.v1 import channels_pb2 as pb
from breakwater.notify.v1.channels_pb2_grpc import ChannelServiceServicer
from services.notify.channels.domain import Preferences, Profile
from services.notify.channels.usecases import FINDINGS_DEFAULT, Channels


class ChannelApi(ChannelServiceServicer):
    """`ChannelService` over the use cases."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def GetChannels(self, request: pb.GetChannelsRequest, context: Any) -> pb.GetChannelsResponse:
        profile = await self._channels.show(wire.actor_from(request.actor), request.person_id)
        return pb.GetChannelsResponse(channels=_to_wire(profile))

    async def BindChannel(self, request: pb.BindChannelRequest, context: Any) -> pb.BindChannelResponse:
        profile = await self._channels.bind(
            wire.actor_from(request.actor), request.person_id, request.channel, request.address, request.robot
        )
        return pb.BindChannelResponse(channels=_to_wire(profile))

    async def UnbindChannel(self, request: pb.UnbindChannelRequest, context: Any) -> pb.UnbindChannelResponse:
        profile = await self._channels.unbind(wire.actor_from(request.actor), request.person_id, request.channel)
        return pb.UnbindChannelResponse(channels=_to_wire(profile))

    async def SetPreferences(self, request: pb.SetPreferencesRequest, context: Any) -> pb.SetPreferencesResponse:
        said = request.preferences
        wish = Preferences(
            language=said.language,
            order=tuple(said.order),
            muted=frozenset(said.muted),
            quiet_from=_time("quiet_from", said.quiet_from),
            quiet_to=_time("quiet_to", said.quiet_to),
        )
        profile = await self._channels.prefer(wire.actor_from(request.actor), request.person_id, wish)
        return pb.SetPreferencesResponse(channels=_to_wire(profile))

    async def ListFindings(self, request: pb.ListFindingsRequest, context: Any) -> pb.ListFindingsResponse:
        found = await self._channels.findings(wire.actor_from(request.actor), request.cursor, request.limit)
        people = [each for each in found if each.kind == "unbound"]
        full = len(people) == (request.limit or FINDINGS_DEFAULT)
        return pb.ListFindingsResponse(
            findings=[pb.Finding(kind=each.kind, subject=each.subject, detail=each.detail) for each in found],
            next_cursor=people[-1].subject if full else "",
        )


def _to_wire(profile: Profile) -> pb.PersonChannels:
    wish = profile.preferences
    return pb.PersonChannels(
        person_id=profile.person_id,
        bindings=[
            pb.Binding(channel=each.channel, address=each.address, robot=each.robot, by_directory=each.by_directory)
            for each in profile.chain(critical=True)
        ],
        preferences=pb.Preferences(
            language=wish.language,
            order=wish.order,
            muted=sorted(wish.muted),
            quiet_from=f"{wish.quiet_from:%H:%M}" if wish.quiet_from else "",
            quiet_to=f"{wish.quiet_to:%H:%M}" if wish.quiet_to else "",
        ),
    )


def _time(field: str, text: str) -> time | None:
    try:
        return time.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidRequestError("a time is wrong", errors=[FieldError(field, "is HH:MM")]) from None
