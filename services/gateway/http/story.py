"""A customer's whole story in one call (15): `/v1/customers/{customer_id}/story`."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import story_pb2 as pb
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import QueryInput


class StoryQuery(QueryInput):
    """A page of up to 1,000 entries; a cursor keeps the order it began with."""

    order: Literal["oldest", "newest"] = "oldest"
    limit: Annotated[int, Field(ge=1, le=1_000)] = 200
    cursor: Annotated[str, StringConstraints(max_length=500)] = ""


class EntryView(TypedDict):
    """One thing that happened; `detail` by kind, as texts."""

    at: str | None
    kind: str
    id: str
    lead_id: str | None
    actor_id: str | None
    actor_name: str | None
    sentence: str
    detail: dict[str, str]


class StoryView(TypedDict):
    """A page of the story; what was recorded after its first page was asked for is not in it."""

    items: list[EntryView]
    next_cursor: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the route of stories."""

    @api.route("GET", "/v1/customers/{customer_id}/story", StoryView, tag="customers")
    async def get_story(call: Call, customer_id: str, query: Annotated[StoryQuery, Query()]) -> Answer:
        """What happened with a customer, by time: for a handover, or a complaint (15)."""
        request = pb.GetStoryRequest(
            actor=actor_to(call.actor),
            customer_id=customer_id,
            order=query.order,
            limit=query.limit,
            cursor=query.cursor,
        )
        reply = await leads.channel.unary(leads.stories.GetStory, request, retryable=True)
        view: StoryView = {
            "items": [_entry_view(each) for each in reply.entries],
            "next_cursor": reply.next_cursor or None,
        }
        return answer(view)


def _entry_view(entry: pb.StoryEntry) -> EntryView:
    return {
        "at": rfc3339(entry.at),
        "kind": entry.kind,
        "id": entry.id,
        "lead_id": entry.lead_id or None,
        "actor_id": entry.actor_id or None,
        "actor_name": entry.actor_name or None,
        "sentence": entry.sentence,
        "detail": dict(entry.detail),
    }
