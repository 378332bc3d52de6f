"""Fields of leads in PostgreSQL. The customer is locked before its lead, as everybody does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Self

from breakwater.chassis import idempotency
from breakwater.chassis.database import Database, Reader, Transaction
from services.leads.documents.store import Newest
from services.leads.idempotence import Keyed
from services.leads.intake.capture import Lead
from services.leads.intake.changes.store import attribute
from services.leads.intake.customers import Identity, strong_keys
from services.leads.intake.domain import LeadDraft, is_id
from services.leads.intake.growth.domain import COLUMNS, Growth
from services.leads.intake.growth.usecases import Band
from services.leads.intake.reads import LEAD_COLUMNS, PostgresLeadReader, lead_from
from services.leads.intake.store import keyed_request
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb

_CUSTOMERS_OWN = ("name", "company", "phone", "email")


class PostgresGrowthReader(PostgresLeadReader):
    """The `GrowthReader` of one connection."""

    def __init__(self, reader: Reader, snapshots: Snapshots, growths: Newest[Growth]) -> None:
        super().__init__(reader, snapshots)
        self._growths = growths

    @classmethod
    @asynccontextmanager
    async def begin_growth(
        cls, database: Database, snapshots: Snapshots, growths: Newest[Growth]
    ) -> AsyncIterator[Self]:
        async with database.read() as reader:
            yield cls(reader, snapshots, growths)

    async def growth(self) -> Growth:
        return await self._growths.current(self._reader)

    async def bands(self, growth: Growth, since: datetime, owners: Sequence[str] | None) -> list[Band]:
        columns = [name for name in growth.fields if name in COLUMNS]
        details = [name for name in growth.fields if name not in COLUMNS]
        # Names are columns of ours; details go as a parameter.
        known = " + ".join(f"(coalesce({name}::text, '') <> '')::integer" for name in columns) or "0"
        rows = await self._reader.fetch(
            f"""
            SELECT least(80, percent - percent % 20) AS from_percent, count(*) AS leads,
                   count(*) FILTER (WHERE stage = 'converted') AS converted
            FROM (
                SELECT stage, 100 * (
                    {known} + (SELECT count(*) FROM unnest($3::text[]) AS d WHERE coalesce(details->>d, '') <> '')
                )::integer / $4::integer AS percent
                FROM leads WHERE captured_at >= $1 AND ($2::text[] IS NULL OR owner_id = ANY($2))
            ) AS counted
            GROUP BY 1 ORDER BY 1
            """,  # noqa: S608 - see above
            since,
            owners,
            details,
            max(1, len(growth.fields)),
        )
        return [Band(**row) for row in rows]


class PostgresGrowthStore(PostgresGrowthReader):
    """The `GrowthStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots, growths: Newest[Growth]) -> None:
        super().__init__(tx, snapshots, growths)
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin_growth(
        cls, database: Database, snapshots: Snapshots, growths: Newest[Growth]
    ) -> AsyncIterator[Self]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots, growths)

    async def first_answer(self, request: Keyed) -> bytes | None:
        return await idempotency.replay(self._tx, keyed_request(request))

    async def keep_answer(self, request: Keyed, content: bytes) -> None:
        await idempotency.store(self._tx, keyed_request(request), content)

    async def lock_lead(self, lead_id: str, owners: Sequence[str] | None) -> Lead | None:
        if not is_id(lead_id):
            return None
        # The customer first, as everybody does: what is told of the lead is told of the customer too.
        await self._tx.execute(
            "SELECT FROM customers WHERE id = (SELECT customer_id FROM leads WHERE id = $1) FOR UPDATE", lead_id
        )
        row = await self._tx.fetchrow(
            f"SELECT {LEAD_COLUMNS} FROM leads WHERE id = $1 AND ($2::text[] IS NULL OR owner_id = ANY($2)) FOR UPDATE",  # noqa: S608
            lead_id,
            owners,
        )
        return lead_from(row) if row else None

    async def edit(
        self, lead: Lead, draft: LeadDraft, changed: Sequence[str], by: str, reason: str, now: datetime
    ) -> None:
        await attribute(self._tx, by, reason)
        own = [name for name in _CUSTOMERS_OWN if name in changed and getattr(draft, name)]
        if own:
            # A customer that said what its lead said says what the lead says now; what it knows better stays.
            sets = ", ".join(
                f"{name} = CASE WHEN {name} IN ('', ${4 + 2 * at}) THEN ${3 + 2 * at} ELSE {name} END"
                for at, name in enumerate(own)
            )
            values = [value for name in own for value in (getattr(draft, name), getattr(lead.draft, name))]
            await self._tx.execute(
                f"UPDATE customers SET updated_at = $2, {sets} WHERE id = $1",  # noqa: S608 - names are columns of ours
                *(lead.customer_id, now, *values),
            )
            # A key that is somebody else's stays theirs: that the two may be one is found by comparing.
            keys = strong_keys(Identity(draft.name, phone=draft.phone, email=draft.email))
            await self._tx.execute(
                """
                INSERT INTO customer_keys (key, customer_id) SELECT unnest($1::text[]), $2::uuid
                ON CONFLICT (key) DO NOTHING
                """,
                *(keys, lead.customer_id),
            )
        columns = [name for name in changed if name in COLUMNS]
        sets = "".join(f", {name} = ${at}" for at, name in enumerate(columns, 3))
        await self._tx.execute(
            f"UPDATE leads SET details = $2::jsonb{sets} WHERE id = $1",  # noqa: S608 - names are columns of ours
            *(lead.id, jsonb(draft.details), *(getattr(draft, name) for name in columns)),
        )
