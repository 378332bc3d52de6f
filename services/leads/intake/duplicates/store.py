"""Likenesses and found pairs in PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import orjson
from asyncpg import Record

from breakwater.chassis.database import Database, Reader, Transaction
from services.leads.intake.domain import is_id
from services.leads.intake.duplicates.domain import Judgement, Likeness, Reason
from services.leads.intake.duplicates.usecases import Found, KeptDuplicate, Resembling, SamePair
from services.leads.intake.reads import PostgresLeadReader
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb

_ONE_AT_A_TIME = 0x6475706C
"""Of the advisory lock that the comparing process holds."""
_RESEMBLING = "c.id::text, c.name, c.company, c.phone, c.email, c.owner_id"


async def alike(reader: Reader, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]:
    """For each id asked for ("" for somebody who is not there), whoever may be the same."""
    rows = await reader.fetch(
        f"""
        SELECT x->>0 AS asking, {_RESEMBLING}
        FROM jsonb_array_elements($1::jsonb) AS x
        CROSS JOIN LATERAL (
            SELECT DISTINCT customer_id FROM alike(nullif(x->>0, '')::uuid, x->>1, x->>2, x->>3, x->>4, $2)
        ) AS found
        JOIN customers c ON c.id = found.customer_id AND c.merged_into IS NULL
        """,  # noqa: S608 - a constant
        jsonb((asking, *_compared(likeness)) for asking, likeness in asked.items()),
        limit,
    )
    found: dict[str, list[Resembling]] = {}
    for row in rows:
        found.setdefault(row["asking"], []).append(_resembling(row))
    return found


class PostgresCheckStore:
    """The `CheckStore` of one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator["PostgresCheckStore"]:
        async with database.transaction() as tx:
            yield cls(tx)

    async def take(self, limit: int) -> list[Resembling] | None:
        if not await self._tx.fetchval("SELECT pg_try_advisory_xact_lock($1)", _ONE_AT_A_TIME):
            return None
        rows = await self._tx.fetch(
            f"""
            WITH taken AS (
                DELETE FROM duplicate_checks
                WHERE position IN (SELECT position FROM duplicate_checks ORDER BY position LIMIT $1)
                RETURNING customer_id
            )
            SELECT {_RESEMBLING} FROM customers c
            WHERE c.id IN (SELECT customer_id FROM taken) AND c.merged_into IS NULL ORDER BY c.id
            """,  # noqa: S608 - a constant
            limit,
        )
        return [_resembling(row) for row in rows] or None

    async def remember(self, customers: Mapping[str, Likeness]) -> None:
        await self._tx.execute(
            """
            INSERT INTO likenesses (customer_id, text, name_key, phone, email)
            SELECT (x->>0)::uuid, x->>1, x->>2, x->>3, x->>4 FROM jsonb_array_elements($1::jsonb) AS x
            ON CONFLICT (customer_id) DO UPDATE
            SET text = excluded.text, name_key = excluded.name_key, phone = excluded.phone, email = excluded.email
            """,
            jsonb((customer_id, *_compared(likeness)) for customer_id, likeness in customers.items()),
        )

    async def alike(self, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]:
        return await alike(self._tx, asked, limit)

    async def keep(self, checked: Sequence[str], found: Sequence[Found], now: datetime) -> None:
        await self._tx.execute(
            """
            DELETE FROM duplicates
            WHERE state IN ('suspected', 'same') AND (low_id = ANY($1::uuid[]) OR high_id = ANY($1::uuid[]))
            """,
            checked,
        )
        if not found:
            return
        await self._tx.execute(
            """
            INSERT INTO duplicates (low_id, high_id, state, score, reasons, found_at)
            SELECT least(x->>0, x->>1)::uuid, greatest(x->>0, x->>1)::uuid, x->>2, (x->>3)::integer, x->4, $2
            FROM jsonb_array_elements($1::jsonb) AS x
            ON CONFLICT (low_id, high_id) DO NOTHING
            """,
            jsonb(
                (
                    *(each.customer_id, each.other.id, each.verdict, each.judgement.score),
                    [(reason.field, reason.points, reason.text) for reason in each.judgement.reasons],
                )
                for each in found
            ),
            now,
        )

    async def same(self, limit: int) -> list[SamePair]:
        rows = await self._tx.fetch(
            """
            SELECT low_id::text, high_id::text, score, reasons FROM duplicates
            WHERE state = 'same' ORDER BY found_at, low_id LIMIT $1
            """,
            limit,
        )
        return [SamePair(row["low_id"], row["high_id"], _judgement(row)) for row in rows]

    async def ask(self, pair: SamePair) -> None:
        await self._tx.execute(
            "UPDATE duplicates SET state = 'suspected' WHERE low_id = $1 AND high_id = $2 AND state = 'same'",
            *(pair.low_id, pair.high_id),
        )


class PostgresDuplicateReader(PostgresLeadReader):
    """The `DuplicateReader` of one connection."""

    async def duplicates_of(self, customer_id: str) -> list[KeptDuplicate]:
        rows = await self._reader.fetch(
            f"""
            SELECT {_RESEMBLING}, d.state, d.score, d.reasons, d.found_at
            FROM (
                SELECT high_id AS other_id, * FROM duplicates WHERE low_id = $1
                UNION ALL
                SELECT low_id, * FROM duplicates WHERE high_id = $1
            ) AS d
            JOIN customers c ON c.id = d.other_id AND c.merged_into IS NULL
            WHERE d.state IN ('suspected', 'same') ORDER BY d.score DESC, c.id
            """,  # noqa: S608 - a constant
            customer_id,
        )
        return [
            KeptDuplicate(
                _resembling(row),
                row["state"],
                _judgement(row),
                row["found_at"],
            )
            for row in rows
        ]

    async def alike(self, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]:
        return await alike(self._reader, asked, limit)

    async def with_keys(self, keys: Sequence[str]) -> list[Resembling]:
        rows = await self._reader.fetch(
            f"""
            SELECT DISTINCT {_RESEMBLING} FROM customers c JOIN customer_keys k ON k.customer_id = c.id
            WHERE k.key = ANY($1::text[])
            """,  # noqa: S608 - a constant
            keys,
        )
        return [_resembling(row) for row in rows]


class PostgresDismissStore(PostgresLeadReader):
    """The `DismissStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        super().__init__(tx, snapshots)
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresDismissStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def dismiss(self, customer_id: str, other_id: str, by: str, now: datetime) -> bool:
        if not is_id(other_id):
            return False
        low, high = sorted((customer_id, other_id))
        tag = await self._tx.execute(
            """
            UPDATE duplicates SET state = 'dismissed', decided_by = $3, decided_at = $4
            WHERE low_id = $1 AND high_id = $2 AND state IN ('suspected', 'same', 'dismissed')
            """,
            low,
            high,
            by,
            now,
        )
        return tag == "UPDATE 1"


def _compared(likeness: Likeness) -> tuple[str, str, str, str]:
    return likeness.text, likeness.name.key, likeness.phone, likeness.email


def _judgement(row: Record) -> Judgement:
    return Judgement(row["score"], tuple(Reason(*each) for each in orjson.loads(row["reasons"])))


def _resembling(row: Record) -> Resembling:
    return Resembling(row["id"], row["name"], row["company"], row["phone"], row["email"], row["owner_id"])
