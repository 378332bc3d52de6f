"""Follow-ups as they are read from PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from asyncpg import Record

from breakwater.chassis.database import Database, Reader
from services.leads.documents.store import Newest
from services.leads.followups.domain import FollowUp, LastFollowUp
from services.leads.followups.playbook import Playbook
from services.leads.followups.reading import Counts, Place, Sight
from services.leads.followups.usecases import KeptFollowUp
from services.leads.intake.capture import Lead
from services.leads.intake.domain import is_id
from services.leads.intake.reads import PostgresLeadReader
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots

_RECORD = (
    *("goal", "customer_words", "next_action", "next_action_due", "objection", "our_response", "blocker", "pain_tags"),
    *("stage", "source", "first_touch_at", "action_code"),
)
_PAGE = f"""
    SELECT f.id::text, f.lead_id::text, f.customer_id::text, f.author_id, coalesce(p.name, f.author_id) AS author_name,
           {", ".join(f"f.{name}" for name in _RECORD)}, f.created_at
    FROM follow_ups AS f LEFT JOIN people AS p ON p.id = f.author_id
    WHERE {{condition}} AND ($2::timestamptz IS NULL OR (f.created_at, f.id) < ($2, $3::uuid))
    ORDER BY f.created_at DESC, f.id DESC LIMIT $4
"""  # noqa: S608 - names of ours

_COUNT = """
    WITH records AS (
        SELECT f.author_id AS person_id, f.next_action <> '' AS planned,
               f.next_action_due <= $3 AND (l.stage IN ('new', 'contacted', 'qualified') OR answered.at IS NOT NULL) AS due,
               answered.at <= f.next_action_due AS in_time,
               EXISTS (SELECT FROM unnest($5::text[]) AS word WHERE position(word IN f.next_action || f.our_response) > 0)
                   AS vague
        FROM follow_ups AS f JOIN leads AS l ON l.id = f.lead_id, LATERAL (
            SELECT min(n.created_at) AS at FROM follow_ups AS n WHERE n.lead_id = f.lead_id AND n.id > f.id
        ) AS answered
        WHERE f.created_at >= $1 AND f.created_at < $2 AND ($4::text[] IS NULL OR f.author_id = ANY($4))
        UNION ALL
        SELECT owner_id, false, false, false, false FROM activities
        WHERE occurred_at >= $1 AND occurred_at < $2 AND import_id <> '' AND owner_id <> ''
              AND ($4::text[] IS NULL OR owner_id = ANY($4))
    )
    SELECT person_id, count(*) AS records, count(*) FILTER (WHERE planned) AS planned, count(*) FILTER (WHERE due) AS due,
           count(*) FILTER (WHERE due AND in_time) AS done_in_time, count(*) FILTER (WHERE vague) AS vague
    FROM records GROUP BY person_id
"""
_WORDS = """
    SELECT f.author_id, word, count(*) AS records
    FROM follow_ups AS f JOIN unnest($4::text[]) AS word ON position(word IN f.next_action || f.our_response) > 0
    WHERE f.created_at >= $1 AND f.created_at < $2 AND ($3::text[] IS NULL OR f.author_id = ANY($3))
    GROUP BY f.author_id, word ORDER BY records DESC, word
"""


class PostgresFollowUpReader:
    """The `FollowUpReader` of one connection."""

    def __init__(self, reader: Reader, snapshots: Snapshots, playbooks: Newest[Playbook]) -> None:
        self._reader = reader
        self._leads = PostgresLeadReader(reader, snapshots)
        self._playbooks = playbooks

    @classmethod
    @asynccontextmanager
    async def begin(
        cls, database: Database, snapshots: Snapshots, playbooks: Newest[Playbook]
    ) -> AsyncIterator["PostgresFollowUpReader"]:
        async with database.read() as reader:
            yield cls(reader, snapshots, playbooks)

    async def snapshot(self) -> Snapshot:
        return await self._leads.snapshot()

    async def playbook(self) -> Playbook:
        return await self._playbooks.current(self._reader)

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None:
        return await self._leads.lead(lead_id, owners)

    async def last(self, lead_id: str) -> LastFollowUp | None:
        row = await self._reader.fetchrow(
            """
            SELECT created_at AS at, author_id, next_action, next_action_due
            FROM follow_ups WHERE lead_id = $1 ORDER BY id DESC LIMIT 1
            """,
            lead_id,
        )
        return LastFollowUp(**row) if row else None

    async def sight(self, customer_id: str, owners: Sequence[str] | None) -> Sight | None:
        return await sight_of(self._reader, customer_id, owners)

    async def of_lead(self, lead_id: str, before: Place | None, limit: int) -> list[KeptFollowUp]:
        return await self._page(_PAGE.format(condition="f.lead_id = $1"), lead_id, before, limit)

    async def of_customer(
        self, customer_id: str, owners: Sequence[str] | None, before: Place | None, limit: int
    ) -> list[KeptFollowUp]:
        if owners is None:
            return await self._page(_PAGE.format(condition="f.customer_id = $1"), customer_id, before, limit)
        condition = "f.lead_id IN (SELECT id FROM leads WHERE customer_id = $1 AND owner_id = ANY($5::text[]))"
        return await self._page(_PAGE.format(condition=condition), customer_id, before, limit, owners)

    async def count(
        self, since: datetime, until: datetime, now: datetime, people: Sequence[str] | None, words: Sequence[str]
    ) -> Mapping[str, Counts]:
        counts = {
            row["person_id"]: Counts(**{name: value for name, value in row.items() if name != "person_id"})
            for row in await self._reader.fetch(_COUNT, since, until, now, people, words)
        }
        for row in await self._reader.fetch(_WORDS, since, until, people, words):
            # A record that came between the two statements is left out.
            if row["author_id"] in counts:
                counts[row["author_id"]].words[row["word"]] = row["records"]
        return counts

    async def _page(
        self, sql: str, record_id: str, before: Place | None, limit: int, *more: object
    ) -> list[KeptFollowUp]:
        at, last_id = (before.at, before.id) if before else (None, None)
        return [_kept(row) for row in await self._reader.fetch(sql, record_id, at, last_id, limit, *more)]


async def sight_of(reader: Reader, customer_id: str, owners: Sequence[str] | None) -> Sight | None:
    """What these owners may see of a customer; None: nothing, or there is no such customer."""
    if not is_id(customer_id):
        return None
    row = await reader.fetchrow(
        """
        WITH RECURSIVE chain AS (
            SELECT id, merged_into, owner_id, 0 AS step FROM customers WHERE id = $1
            UNION ALL
            SELECT c.id, c.merged_into, c.owner_id, step + 1
            FROM customers AS c JOIN chain ON c.id = chain.merged_into WHERE step < 20
        ), kept AS (
            SELECT id, owner_id FROM chain ORDER BY step DESC LIMIT 1
        )
        SELECT kept.id::text AS customer_id, coalesce($2::text[] IS NULL OR kept.owner_id = ANY($2), false) AS whole
        FROM kept
        WHERE $2::text[] IS NULL OR kept.owner_id = ANY($2)
              OR EXISTS (SELECT FROM leads AS l WHERE l.customer_id = kept.id AND l.owner_id = ANY($2))
        """,
        customer_id,
        owners,
    )
    return Sight(**row) if row else None


def _kept(row: Record) -> KeptFollowUp:
    values = {name: row[name] for name in _RECORD}
    record = FollowUp(**{**values, "pain_tags": tuple(row["pain_tags"])})
    return KeptFollowUp(
        **{name: row[name] for name in ("id", "lead_id", "customer_id", "author_id", "author_name", "created_at")},
        record=record,
    )
