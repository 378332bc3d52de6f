"""Texts of a lead and their tags (11, 71), and the dictionary they are tagged by."""

from typing import Annotated, Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import tagging_pb2 as pb
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.routes import Input, Moment
from services.gateway.http.structs import document_of, struct_of

# Not stripped: offsets count in the text as it was given.
_Text = Annotated[
    str, StringConstraints(min_length=1, max_length=20_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")
]


class NewTranscript(Input):
    """A call's transcript, a mail, or a group chat's messages. Words of a chat move the lead's stage on, never back."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "call", "text": "客户说今年预算不够，要等老板批，想先看看报价。"}]}
    )

    kind: Literal["call", "email", "chat"]
    text: _Text
    occurred_at: Moment | None = None
    """Now when absent."""


class TextToTag(Input):
    """A text to try the dictionary on."""

    text: _Text


class NewDictionary(Input):
    """A dictionary to put in force. `expected_version` is the version the author has seen; another one in force is 409."""

    document: dict[str, Any]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class FoundTagView(TypedDict):
    """A tag and how often its words were found."""

    id: str
    title: str
    count: int


class HighlightView(TypedDict):
    """A word in the text; offsets count Unicode code points of the text as it was given, `end` outside of it."""

    tag: str
    start: int
    end: int
    text: str


class TagsView(TypedDict):
    """What was found, the most frequent tag first, highlights as they stand in the text."""

    dictionary_version: int
    tags: list[FoundTagView]
    highlights: list[HighlightView]


class TranscriptCreated(TagsView):
    """What was kept, and the lead's stage after it."""

    id: str
    lead_id: str
    stage: str


class TranscriptView(TagsView):
    """A kept text with its tags."""

    id: str
    lead_id: str
    customer_id: str
    author_id: str
    kind: str
    occurred_at: str | None
    text: str


class DictionaryView(TypedDict):
    """A version of the dictionary."""

    version: int
    document: dict[str, Any]
    author: str
    created_at: str | None


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of texts and tags."""

    @api.route("POST", "/v1/leads/{lead_id}/transcripts", TranscriptCreated, status=201, tag="tags", extra=KEYED)
    async def add_transcript(call: Call, lead_id: str, body: NewTranscript) -> Answer:
        """Keeps a text with its tags as an activity of the lead (11, 71)."""
        occurred_at = None
        if body.occurred_at is not None:
            occurred_at = Timestamp()
            occurred_at.FromDatetime(body.occurred_at)
        request = pb.AddTranscriptRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            lead_id=lead_id,
            kind=body.kind,
            text=body.text,
            occurred_at=occurred_at,
        )
        reply = await leads.channel.unary(leads.tagging.AddTranscript, request, retryable=bool(request.idempotency.key))
        kept = reply.transcript
        view: TranscriptCreated = {
            "id": kept.id,
            "lead_id": kept.lead_id,
            "stage": reply.stage,
            **_tags_view(kept),
        }
        return answer(view, status=201, replayed=reply.replayed, location=f"/v1/leads/{lead_id}/transcripts/{kept.id}")

    @api.route("GET", "/v1/leads/{lead_id}/transcripts/{transcript_id}", TranscriptView, tag="tags")
    async def get_transcript(call: Call, lead_id: str, transcript_id: str) -> Answer:
        """A kept text with the places of its words."""
        request = pb.GetTranscriptRequest(actor=actor_to(call.actor), lead_id=lead_id, id=transcript_id)
        kept = (await leads.channel.unary(leads.tagging.GetTranscript, request, retryable=True)).transcript
        view: TranscriptView = {
            "id": kept.id,
            "lead_id": kept.lead_id,
            "customer_id": kept.customer_id,
            "author_id": kept.author_id,
            "kind": kept.kind,
            "occurred_at": rfc3339(kept.occurred_at),
            "text": kept.text,
            **_tags_view(kept),
        }
        return answer(view)

    @api.route("POST", "/v1/tags/preview", TagsView, tag="tags")
    async def preview_tags(call: Call, body: TextToTag) -> Answer:
        """What a text would be tagged with; nothing is kept."""
        request = pb.PreviewTagsRequest(actor=actor_to(call.actor), text=body.text)
        reply = await leads.channel.unary(leads.tagging.PreviewTags, request, retryable=True)
        return answer(_tags_view(reply))

    @api.route("GET", "/v1/tags/dictionary", DictionaryView, tag="tags")
    async def get_dictionary(call: Call) -> Answer:
        """The words texts are tagged by."""
        request = pb.GetDictionaryRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.tagging.GetDictionary, request, retryable=True)
        return answer(_dictionary_view(reply.dictionary))

    @api.route("PUT", "/v1/tags/dictionary", DictionaryView, tag="tags")
    async def put_dictionary(call: Call, body: NewDictionary) -> Answer:
        """Validates a dictionary and puts it in force as a new version."""
        request = pb.PutDictionaryRequest(
            actor=actor_to(call.actor), document=struct_of(body.document), expected_version=body.expected_version
        )
        reply = await leads.channel.unary(leads.tagging.PutDictionary, request)
        return answer(_dictionary_view(reply.dictionary))


def _tags_view(tagged: pb.Transcript | pb.PreviewTagsResponse) -> TagsView:
    return {
        "dictionary_version": tagged.dictionary_version,
        "tags": [{"id": tag.id, "title": tag.title, "count": tag.count} for tag in tagged.tags],
        "highlights": [
            {"tag": each.tag, "start": each.start, "end": each.end, "text": each.text} for each in tagged.highlights
        ],
    }


def _dictionary_view(dictionary: pb.DictionaryVersion) -> DictionaryView:
    return {
        "version": dictionary.version,
        "document": document_of(dictionary.document),
        "author": dictionary.author,
        "created_at": rfc3339(dictionary.created_at),
    }
