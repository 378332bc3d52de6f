"""`StoryService`."""

from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import story_pb2 as pb
from breakwater.leads.v1.story_pb2_grpc import StoryServiceServicer
from services.leads.api.messages import cursor_from, cursor_to
from services.leads.story.domain import Place
from services.leads.story.usecases import BeginStory, Told, get_story
from services.leads.timestamps import timestamp


class StoryApi(StoryServiceServicer):
    """One call for a customer's whole story (15)."""

    def __init__(self, begin: BeginStory, clock: Clock) -> None:
        self._begin = begin
        self._clock = clock

    async def GetStory(self, request: pb.GetStoryRequest, context: Any) -> pb.GetStoryResponse:
        entries, next_place = await get_story(
            self._begin,
            wire.actor_from(request.actor),
            request.customer_id,
            request.order,
            Place.of(cursor_from(request.cursor)) if request.cursor else None,
            request.limit,
            now=self._clock.now(),
        )
        return pb.GetStoryResponse(
            entries=[_entry_to(each) for each in entries],
            next_cursor=cursor_to(str(next_place) if next_place else None),
        )


def _entry_to(told: Told) -> pb.StoryEntry:
    entry = told.entry
    return pb.StoryEntry(
        at=timestamp(entry.at),
        kind=entry.kind,
        id=entry.id,
        lead_id=entry.lead_id,
        actor_id=entry.actor_id,
        actor_name=told.actor_name,
        sentence=told.sentence,
        detail=entry.detail,
    )
