"""Keeping texts of a lead with their tags (11, 71), and trying a dictionary on a text."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from breakwater.chassis.errors import FieldError, InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor
from breakwater.chassis.ids import uuid7
from services.leads.followups.domain import further
from services.leads.followups.usecases import Work, WorkStore, lead_to_work_on, touch
from services.leads.idempotence import Answer, Keyed, answer_once
from services.leads.intake.capture import Lead
from services.leads.intake.domain import Stage
from services.leads.intake.usecases import SnapshotReader, owners_of, permit
from services.leads.tagging.domain import Dictionary, Kind, Tagged, Transcript, check_text


@dataclass(frozen=True, slots=True)
class NewText:
    """A text as it comes."""

    kind: str
    text: str
    occurred_at: datetime | None
    """None: now."""


class TranscriptStore(WorkStore, Protocol):
    """What keeping a text needs of one open transaction."""

    async def dictionary(self) -> Dictionary: ...

    async def keep(self, transcript: Transcript) -> None:
        """The activity, its text and its event."""
        ...


class TagReader(SnapshotReader, Protocol):
    """Reading texts and the dictionary."""

    async def dictionary(self) -> Dictionary: ...

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None: ...

    async def transcript(self, lead_id: str, transcript_id: str) -> Transcript | None: ...


BeginTranscripts = Callable[[], AbstractAsyncContextManager[TranscriptStore]]
BeginTagReading = Callable[[], AbstractAsyncContextManager[TagReader]]


async def add_transcript(
    begin: BeginTranscripts,
    request: Keyed,
    actor: Actor,
    lead_id: str,
    given: NewText,
    *,
    now: datetime,
    encode: Callable[[Transcript, Stage], bytes],
) -> Answer:
    """Keeps a text with its tags; words of a group chat move an open lead on, never back (71).

    Raises InvalidRequestError naming the field, ConflictError `owned_by_another` (116).
    """
    permit(actor)
    text = check_text(given.text)
    if given.kind not in set(Kind):
        raise InvalidRequestError("No such kind.", errors=[FieldError("kind", f"is none of {', '.join(Kind)}")])
    kind = Kind(given.kind)
    if given.occurred_at is not None and given.occurred_at > now:
        raise InvalidRequestError("It has not happened yet.", errors=[FieldError("occurred_at", "is in the future")])
    async with begin() as store:

        async def work() -> bytes:
            lead, _ = await lead_to_work_on(store, actor, lead_id)
            tagged = (await store.dictionary()).tag(text)
            transcript = Transcript(
                id=uuid7(),
                lead_id=lead.id,
                customer_id=lead.customer_id,
                author_id=actor.sub,
                kind=kind,
                text=text,
                occurred_at=given.occurred_at or now,
                dictionary_version=tagged.dictionary_version,
                tags=tagged.tags,
                highlights=tagged.highlights,
                pain_tags=tagged.pain_tags,
            )
            await store.keep(transcript)
            lead = await _work_on(store, actor, lead, tagged if kind is Kind.CHAT else None, now)
            return encode(transcript, lead.draft.stage)

        return await answer_once(store, request, work)


async def _work_on(store: TranscriptStore, actor: Actor, lead: Lead, chat: Tagged | None, now: datetime) -> Lead:
    present = lead.draft.stage
    touched, claims = touch(lead, actor, now)
    stage = further(present, chat.stage) if chat else None
    if stage is not None and chat is not None:
        touched = replace(touched, draft=replace(lead.draft, stage=stage))
        reason = f"群聊关键词：{'、'.join(chat.stage_tags)}"[:500]
        await store.write(Work(touched, now, actor.sub, claimed=claims, moved_from=present, reason=reason))
    elif claims:
        await store.write(Work(touched, now, actor.sub, claimed=True))
    return touched


async def get_transcript(begin: BeginTagReading, actor: Actor, lead_id: str, transcript_id: str) -> Transcript:
    """A kept text; one of another's lead is not found."""
    permit(actor)
    async with begin() as reader:
        if await reader.lead(lead_id, await owners_of(reader, actor)) is None:
            raise NotFoundError("There is no such lead.")
        transcript = await reader.transcript(lead_id, transcript_id)
    if transcript is None:
        raise NotFoundError("The lead has no such text.")
    return transcript


async def preview_tags(begin: BeginTagReading, actor: Actor, text: str) -> Tagged:
    """What the dictionary in force finds in a text."""
    permit(actor)
    check_text(text)
    async with begin() as reader:
        dictionary = await reader.dictionary()
    return dictionary.tag(text)
