"""Texts and their tags in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Reader, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import ActivityRecorded
from services.leads.documents.store import Newest
from services.leads.followups.playbook import Playbook
from services.leads.followups.store import PostgresWorkStore
from services.leads.intake.capture import Lead
from services.leads.intake.domain import is_id
from services.leads.intake.reads import PostgresLeadReader
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb
from services.leads.tagging.domain import Dictionary, FoundTag, Highlight, Kind, Transcript
from services.leads.timestamps import timestamp

_SUBJECT_CHARS = 80


class PostgresTranscriptStore(PostgresWorkStore):
    """The `TranscriptStore` of one transaction."""

    def __init__(
        self, tx: Transaction, snapshots: Snapshots, playbooks: Newest[Playbook], dictionaries: Newest[Dictionary]
    ) -> None:
        super().__init__(tx, snapshots, playbooks)
        self._dictionaries = dictionaries

    @classmethod
    @asynccontextmanager
    async def begin_tagging(
        cls, database: Database, snapshots: Snapshots, playbooks: Newest[Playbook], dictionaries: Newest[Dictionary]
    ) -> AsyncIterator["PostgresTranscriptStore"]:
        """One transaction."""
        async with database.transaction() as tx:
            yield cls(tx, snapshots, playbooks, dictionaries)

    async def dictionary(self) -> Dictionary:
        return await self._dictionaries.current(self._tx)

    async def keep(self, transcript: Transcript) -> None:
        await self._tx.execute(
            """
            WITH activity AS (
                INSERT INTO activities (id, customer_id, refs, kind, subject, direction, purpose, owner_id, occurred_at,
                                        duration_s, import_id)
                VALUES ($1, $2, '{}', $3, $4, '', '', $5, $6, 0, '')
            )
            INSERT INTO transcripts (activity_id, lead_id, text, dictionary_version, tags, highlights, pain_tags)
            VALUES ($1, $7, $8, $9, $10::jsonb, $11::jsonb, $12)
            """,
            *(transcript.id, transcript.customer_id, transcript.kind, _subject(transcript.text)),
            *(transcript.author_id, transcript.occurred_at, transcript.lead_id, transcript.text),
            transcript.dictionary_version,
            jsonb((tag.id, tag.title, tag.count) for tag in transcript.tags),
            jsonb((each.tag, each.start, each.end) for each in transcript.highlights),
            transcript.pain_tags,
        )
        recorded = ActivityRecorded(
            activity_id=transcript.id,
            customer_id=transcript.customer_id,
            kind=transcript.kind,
            occurred_at=timestamp(transcript.occurred_at),
            owner_id=transcript.author_id,
        )
        await outbox.add(
            self._tx,
            [OutboxEvent.of(recorded, subject_id=transcript.id, sequence=1, occurred_at=transcript.occurred_at)],
        )


class PostgresTagReader:
    """The `TagReader` of one connection."""

    def __init__(self, reader: Reader, snapshots: Snapshots, dictionaries: Newest[Dictionary]) -> None:
        self._reader = reader
        self._leads = PostgresLeadReader(reader, snapshots)
        self._dictionaries = dictionaries

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, database: Database, snapshots: Snapshots, dictionaries: Newest[Dictionary]
    ) -> AsyncIterator["PostgresTagReader"]:
        async with database.read() as reader:
            yield cls(reader, snapshots, dictionaries)

    async def snapshot(self) -> Snapshot:
        return await self._leads.snapshot()

    async def dictionary(self) -> Dictionary:
        return await self._dictionaries.current(self._reader)

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None:
        return await self._leads.lead(lead_id, owners)

    async def transcript(self, lead_id: str, transcript_id: str) -> Transcript | None:
        if not is_id(transcript_id):
            return None
        row = await self._reader.fetchrow(
            """
            SELECT a.id::text, t.lead_id::text, a.customer_id::text, a.owner_id AS author_id, a.kind, t.text,
                   a.occurred_at, t.dictionary_version, t.tags, t.highlights, t.pain_tags
            FROM transcripts AS t JOIN activities AS a ON a.id = t.activity_id
            WHERE t.activity_id = $1 AND t.lead_id = $2
            """,
            transcript_id,
            lead_id,
        )
        if row is None:
            return None
        return Transcript(
            **{
                **row,
                "kind": Kind(row["kind"]),
                "tags": tuple(FoundTag(*entry) for entry in orjson.loads(row["tags"])),
                "highlights": tuple(Highlight(*entry) for entry in orjson.loads(row["highlights"])),
                "pain_tags": tuple(row["pain_tags"]),
            }
        )


def _subject(text: str) -> str:
    """The first words, for lists."""
    return " ".join(text[: 4 * _SUBJECT_CHARS].split())[:_SUBJECT_CHARS]
