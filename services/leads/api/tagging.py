"""`TaggingService`."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from google.protobuf.json_format import MessageToDict

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import tagging_pb2 as pb
from breakwater.leads.v1.tagging_pb2_grpc import TaggingServiceServicer
from services.leads.api.messages import keyed, struct
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import BeginDocuments, get_document, put_document
from services.leads.tagging.domain import FoundTag, Highlight, Transcript, read_dictionary
from services.leads.tagging.usecases import (
    BeginTagReading,
    BeginTranscripts,
    NewText,
    add_transcript,
    get_transcript,
    preview_tags,
)
from services.leads.timestamps import timestamp


class TaggingApi(TaggingServiceServicer):
    """Texts and their tags; the dictionary."""

    def __init__(
        self,
        begin_transcripts: BeginTranscripts,
        begin_reading: BeginTagReading,
        begin_dictionary: BeginDocuments,
        clock: Clock,
    ) -> None:
        self._begin_transcripts = begin_transcripts
        self._begin_reading = begin_reading
        self._begin_dictionary = begin_dictionary
        self._clock = clock

    async def AddTranscript(self, request: pb.AddTranscriptRequest, context: Any) -> pb.AddTranscriptResponse:
        occurred_at = request.occurred_at.ToDatetime(UTC) if request.HasField("occurred_at") else None
        answer = await add_transcript(
            self._begin_transcripts,
            keyed("AddTranscript", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            NewText(request.kind, request.text, occurred_at),
            now=self._clock.now(),
            encode=lambda kept, stage: pb.AddTranscriptResponse(
                transcript=_transcript_to(kept, with_text=False), stage=stage
            ).SerializeToString(),
        )
        response = pb.AddTranscriptResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def GetTranscript(self, request: pb.GetTranscriptRequest, context: Any) -> pb.GetTranscriptResponse:
        kept = await get_transcript(self._begin_reading, wire.actor_from(request.actor), request.lead_id, request.id)
        return pb.GetTranscriptResponse(transcript=_transcript_to(kept, with_text=True))

    async def PreviewTags(self, request: pb.PreviewTagsRequest, context: Any) -> pb.PreviewTagsResponse:
        tagged = await preview_tags(self._begin_reading, wire.actor_from(request.actor), request.text)
        return pb.PreviewTagsResponse(
            dictionary_version=tagged.dictionary_version,
            tags=_tags_to(tagged.tags),
            highlights=_highlights_to(tagged.highlights, request.text),
        )

    async def GetDictionary(self, request: pb.GetDictionaryRequest, context: Any) -> pb.GetDictionaryResponse:
        kept = await get_document(self._begin_dictionary, wire.actor_from(request.actor))
        return pb.GetDictionaryResponse(dictionary=_dictionary_to(kept))

    async def PutDictionary(self, request: pb.PutDictionaryRequest, context: Any) -> pb.PutDictionaryResponse:
        kept = await put_document(
            self._begin_dictionary,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.expected_version,
            read_dictionary,
            now=self._clock.now(),
        )
        return pb.PutDictionaryResponse(dictionary=_dictionary_to(kept))


def _transcript_to(kept: Transcript, *, with_text: bool) -> pb.Transcript:
    return pb.Transcript(
        id=kept.id,
        lead_id=kept.lead_id,
        customer_id=kept.customer_id,
        author_id=kept.author_id,
        kind=kept.kind,
        occurred_at=timestamp(kept.occurred_at),
        text=kept.text if with_text else "",
        dictionary_version=kept.dictionary_version,
        tags=_tags_to(kept.tags),
        highlights=_highlights_to(kept.highlights, kept.text),
    )


def _tags_to(tags: Sequence[FoundTag]) -> list[pb.FoundTag]:
    return [pb.FoundTag(id=tag.id, title=tag.title, count=tag.count) for tag in tags]


def _highlights_to(highlights: Sequence[Highlight], text: str) -> list[pb.Highlight]:
    return [
        pb.Highlight(tag=each.tag, start=each.start, end=each.end, text=text[each.start : each.end])
        for each in highlights
    ]


def _dictionary_to(kept: KeptDocument) -> pb.DictionaryVersion:
    return pb.DictionaryVersion(
        version=kept.version,
        document=struct(kept.document),
        author=kept.author,
        created_at=timestamp(kept.created_at),
    )
