"""Forms in PostgreSQL: documents of the kind `form:NAME`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import orjson
from asyncpg import Record

from breakwater.chassis.database import Database, Transaction
from services.leads.documents.domain import KeptDocument
from services.leads.intake.forms.usecases import Counted, KeptForm
from services.leads.rows import jsonb

_LOCK = 0x666F726D
"""Of the advisory lock that whoever puts a form holds."""
_KIND = "form:"


class PostgresFormStore:
    """The `FormStore` of one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator["PostgresFormStore"]:
        async with database.transaction() as tx:
            yield cls(tx)

    async def form(self, name: str) -> KeptForm | None:
        row = await self._tx.fetchrow(
            """
            SELECT kind, version, document, author, created_at FROM documents
            WHERE kind = $1 ORDER BY version DESC LIMIT 1
            """,
            _KIND + name,
        )
        return _kept(row) if row else None

    async def forms(self) -> list[KeptForm]:
        rows = await self._tx.fetch(
            """
            SELECT DISTINCT ON (kind) kind, version, document, author, created_at FROM documents
            WHERE kind LIKE 'form:%' ORDER BY kind, version DESC
            """
        )
        return [_kept(row) for row in rows]

    async def lock(self) -> None:
        await self._tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)

    async def add(self, name: str, kept: KeptDocument) -> None:
        await self._tx.execute(
            "INSERT INTO documents (kind, version, document, author, created_at) VALUES ($1, $2, $3::jsonb, $4, $5)",
            *(_KIND + name, kept.version, jsonb(kept.document), kept.author, kept.created_at),
        )

    async def count(self, name: str, since: datetime) -> Counted:
        row = await self._tx.fetchrow(
            """
            SELECT count(*) AS leads, count(*) FILTER (WHERE stage = 'converted') AS converted,
                   count(*) FILTER (WHERE first_assigned.at <= captured_at + interval '15 minutes') AS assigned_in_time
            FROM leads LEFT JOIN LATERAL (
                SELECT min(decided_at) AS at FROM assignments WHERE lead_id = leads.id AND owner_id IS NOT NULL
            ) AS first_assigned ON true
            WHERE form = $1 AND form <> '' AND captured_at >= $2
            """,
            *(name, since),
        )
        return Counted(**row) if row else Counted(0, 0, 0)


def _kept(row: Record) -> KeptForm:
    return KeptForm(
        row["kind"].removeprefix(_KIND),
        KeptDocument(row["version"], orjson.loads(row["document"]), row["author"], row["created_at"]),
    )
