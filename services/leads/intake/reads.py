"""Leads and customers as they are read."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import orjson
from asyncpg import Record

from breakwater.chassis.database import Database, Reader
from services.leads.intake.capture import Lead
from services.leads.intake.domain import Attachment, LeadDraft, Stage, is_id
from services.leads.intake.usecases import KeptAssignment, KnownCustomer, LeadFilter, PainTag
from services.leads.routing.domain import Candidate
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots

LEAD_COLUMNS = """
    id::text, customer_id::text, name, company, phone, email, website, city_code, region, industry, source, budget,
    urgency, need, utm, anonymous_id, stage, source_status, coalesce(external_id, '') AS external_id,
    imported_owner_id, owner_id,
    created_at, claim_by, claimed_at, details, attachments, form
"""
_DRAFT_TEXTS = (
    *("name", "company", "phone", "email", "website", "city_code", "region", "industry", "source", "urgency", "need"),
    *("anonymous_id", "source_status", "external_id"),
)
_CUSTOMER_LEADS_MAX = 200

# The profile is read from the newest records (12): there is nothing to keep in step when customers are merged.
_PAIN_TAGS = """
    WITH records AS (
        (SELECT created_at AS at, pain_tags FROM follow_ups WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 500)
        UNION ALL
        (SELECT a.occurred_at, t.pain_tags FROM activities AS a JOIN transcripts AS t ON t.activity_id = a.id
         WHERE a.customer_id = $1 ORDER BY a.occurred_at DESC LIMIT 500)
    )
    SELECT tag, count(*) AS records, max(at) AS last_at FROM records, unnest(pain_tags) AS tag
    WHERE tag <> '无' GROUP BY tag ORDER BY records DESC, last_at DESC, tag LIMIT 50
"""


def lead_from(row: Record) -> Lead:
    """A lead from a row of `LEAD_COLUMNS`."""
    return Lead(
        id=row["id"],
        customer_id=row["customer_id"],
        draft=LeadDraft(
            **{name: row[name] for name in _DRAFT_TEXTS},
            budget=row["budget"],
            utm=orjson.loads(row["utm"]),
            stage=Stage(row["stage"]),
            owner_id=row["imported_owner_id"],
            created_at=row["created_at"],
            details=orjson.loads(row["details"]),
            attachments=tuple(Attachment(*each) for each in orjson.loads(row["attachments"])),
            form=row["form"],
        ),
        owner_id=row["owner_id"],
        created_at=row["created_at"],
        claim_by=row["claim_by"],
        claimed_at=row["claimed_at"],
    )


class PostgresLeadReader:
    """The `LeadReader` of one connection."""

    def __init__(self, reader: Reader, snapshots: Snapshots) -> None:
        self._reader = reader
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator[Self]:
        async with database.read() as reader:
            yield cls(reader, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._reader)

    async def lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None:
        if not is_id(lead_id):
            return None
        row = await self._reader.fetchrow(
            f"SELECT {LEAD_COLUMNS} FROM leads WHERE id = $1 AND ($2::text[] IS NULL OR owner_id = ANY($2))",  # noqa: S608
            lead_id,
            owners,
        )
        return lead_from(row) if row else None

    async def leads(
        self, owners: Sequence[str] | None, criteria: LeadFilter, before: str | None, limit: int
    ) -> list[Lead]:
        # Only what is asked stands in the statement, so that each combination gets a plan of its own; a single owner is
        # an equality, for an index gives no order over several.
        alone = owners[0] if owners is not None and len(owners) == 1 else None
        conditions, args = ["true"], []
        for condition, value in (
            ("owner_id = ${}", alone),
            ("owner_id = ANY(${}::text[])", owners if alone is None else None),
            ("stage = ${}", criteria.stage or None),
            ("owner_id = ${}", criteria.owner_id or None),
            ("source = ${}", criteria.source or None),
            ("id < ${}::uuid", before),
        ):
            if value is not None:
                args.append(value)
                conditions.append(condition.format(len(args)))
        sql = f"SELECT {LEAD_COLUMNS} FROM leads WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT {limit:d}"  # noqa: S608
        return [lead_from(row) for row in await self._reader.fetch(sql, *args)]

    async def assignments(self, lead_id: str) -> list[KeptAssignment]:
        rows = await self._reader.fetch(
            """
            SELECT id::text, lead_id::text, owner_id, rule_id, rule_version, priority, reason, candidates, claim_by,
                   decided_at, score
            FROM assignments WHERE lead_id = $1 ORDER BY id
            """,
            lead_id,
        )
        return [
            KeptAssignment(
                **{name: value for name, value in row.items() if name != "candidates"},
                candidates=tuple(Candidate(*entry) for entry in orjson.loads(row["candidates"])),
            )
            for row in rows
        ]

    async def customer(self, customer_id: str, owners: Sequence[str] | None) -> KnownCustomer | None:
        if not is_id(customer_id):
            return None
        # Who was merged is who they were merged into, however often.
        row = await self._reader.fetchrow(
            """
            WITH RECURSIVE chain AS (
                SELECT id, merged_into, 0 AS step FROM customers WHERE id = $1
                UNION ALL
                SELECT c.id, c.merged_into, step + 1 FROM customers c JOIN chain ON c.id = chain.merged_into WHERE step < 20
            )
            SELECT id::text, name, company, phone, email, owner_id, created_at
            FROM customers WHERE id = (SELECT id FROM chain ORDER BY step DESC LIMIT 1)
            """,
            customer_id,
        )
        if row is None:
            return None
        customer_id = row["id"]
        leads = await self._reader.fetch(
            f"""
            SELECT {LEAD_COLUMNS} FROM leads
            WHERE customer_id = $1 AND ($2::text[] IS NULL OR owner_id = ANY($2))
            ORDER BY id DESC LIMIT {_CUSTOMER_LEADS_MAX}
            """,  # noqa: S608
            customer_id,
            owners,
        )
        if owners is not None and row["owner_id"] not in owners and not leads:
            return None
        pains = await self._reader.fetch(_PAIN_TAGS, customer_id)
        return KnownCustomer(
            **dict(row),
            leads=tuple(lead_from(lead) for lead in leads),
            pain_tags=tuple(PainTag(**pain) for pain in pains),
        )
