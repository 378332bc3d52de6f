"""`FollowUpService`."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import followups_pb2 as pb
from breakwater.leads.v1.followups_pb2_grpc import FollowUpServiceServicer
from services.leads.api.messages import cursor_from, cursor_to, keyed, struct
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import BeginDocuments, get_document, put_document
from services.leads.followups.playbook import read_playbook
from services.leads.followups.reading import (
    BeginFollowUps,
    Counts,
    Measured,
    Place,
    get_quality,
    list_follow_ups,
)
from services.leads.followups.usecases import BeginWork, KeptFollowUp, add_quick_follow_up
from services.leads.timestamps import timestamp


class FollowUpsApi(FollowUpServiceServicer):
    """Follow-ups read back, made by code, and measured; the playbook."""

    def __init__(
        self, begin_work: BeginWork, begin_follow_ups: BeginFollowUps, begin_playbook: BeginDocuments, clock: Clock
    ) -> None:
        self._begin_work = begin_work
        self._begin_follow_ups = begin_follow_ups
        self._begin_playbook = begin_playbook
        self._clock = clock

    async def ListFollowUps(self, request: pb.ListFollowUpsRequest, context: Any) -> pb.ListFollowUpsResponse:
        found, next_place = await list_follow_ups(
            self._begin_follow_ups,
            wire.actor_from(request.actor),
            request.lead_id,
            request.customer_id,
            Place.of(cursor_from(request.cursor)) if request.cursor else None,
            request.limit,
        )
        return pb.ListFollowUpsResponse(
            follow_ups=[_follow_up_to(each) for each in found],
            next_cursor=cursor_to(str(next_place) if next_place else None),
        )

    async def AddQuickFollowUp(self, request: pb.AddQuickFollowUpRequest, context: Any) -> pb.AddQuickFollowUpResponse:
        answer = await add_quick_follow_up(
            self._begin_work,
            keyed("AddQuickFollowUp", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.lead_id,
            request.code,
            request.keyword,
            now=self._clock.now(),
            encode=lambda kept: pb.AddQuickFollowUpResponse(follow_up=_follow_up_to(kept)).SerializeToString(),
        )
        response = pb.AddQuickFollowUpResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def GetFollowUpQuality(
        self, request: pb.GetFollowUpQualityRequest, context: Any
    ) -> pb.GetFollowUpQualityResponse:
        quality = await get_quality(
            self._begin_follow_ups,
            wire.actor_from(request.actor),
            _moment(request.since) if request.HasField("since") else None,
            _moment(request.until) if request.HasField("until") else None,
            now=self._clock.now(),
        )
        return pb.GetFollowUpQualityResponse(
            all=_quality_to(Measured("", "", "", quality.all)),
            people=[_quality_to(each) for each in quality.people],
            teams=[_quality_to(each) for each in quality.teams],
        )

    async def GetPlaybook(self, request: pb.GetPlaybookRequest, context: Any) -> pb.GetPlaybookResponse:
        kept = await get_document(self._begin_playbook, wire.actor_from(request.actor))
        return pb.GetPlaybookResponse(playbook=_playbook_to(kept))

    async def PutPlaybook(self, request: pb.PutPlaybookRequest, context: Any) -> pb.PutPlaybookResponse:
        kept = await put_document(
            self._begin_playbook,
            wire.actor_from(request.actor),
            MessageToDict(request.document),
            request.expected_version,
            partial(read_playbook, strict=True),
            now=self._clock.now(),
        )
        return pb.PutPlaybookResponse(playbook=_playbook_to(kept))


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _follow_up_to(kept: KeptFollowUp) -> pb.FollowUp:
    record = kept.record
    return pb.FollowUp(
        id=kept.id,
        lead_id=kept.lead_id,
        customer_id=kept.customer_id,
        author_id=kept.author_id,
        author_name=kept.author_name,
        goal=record.goal,
        customer_words=record.customer_words,
        our_response=record.our_response,
        next_action=record.next_action,
        next_action_due=timestamp(record.next_action_due) if record.next_action_due else None,
        blocker=record.blocker,
        objection=record.objection,
        pain_tags=record.pain_tags,
        created_at=timestamp(kept.created_at),
        source=record.source,
        first_touch_at=timestamp(record.first_touch_at) if record.first_touch_at else None,
        stage=record.stage,
        action_code=record.action_code,
    )


def _quality_to(measured: Measured) -> pb.FollowUpQuality:
    counts: Counts = measured.counts
    words = sorted(counts.words.items(), key=lambda entry: (-entry[1], entry[0]))
    return pb.FollowUpQuality(
        id=measured.id,
        name=measured.name,
        team_id=measured.team_id,
        records=counts.records,
        with_next_action_and_due=counts.planned,
        share=counts.share,
        due=counts.due,
        done_in_time=counts.done_in_time,
        vague=counts.vague,
        vague_words=[pb.WordCount(word=word, records=records) for word, records in words],
    )


def _playbook_to(kept: KeptDocument) -> pb.PlaybookVersion:
    return pb.PlaybookVersion(
        version=kept.version,
        document=struct(kept.document),
        author=kept.author,
        created_at=timestamp(kept.created_at),
    )
