"""Documents in PostgreSQL, and the newest one as a process keeps it in memory."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import orjson

from breakwater.chassis.database import Database, Reader, Transaction
from services.leads.documents.domain import KeptDocument
from services.leads.rows import jsonb

Meaning = TypeVar("Meaning")


class PostgresDocumentStore:
    """The `DocumentStore` of one transaction."""

    def __init__(self, tx: Transaction, kind: str) -> None:
        self._tx = tx
        self._kind = kind

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, kind: str) -> AsyncIterator["PostgresDocumentStore"]:
        async with database.transaction() as tx:
            yield cls(tx, kind)

    async def lock(self) -> None:
        # The first version, which is always there: a lock on the newest one would not see the next.
        await self._tx.execute("SELECT FROM documents WHERE kind = $1 AND version = 1 FOR UPDATE", self._kind)

    async def newest(self) -> KeptDocument:
        row = await self._tx.fetchrow(
            """
            SELECT version, document, author, created_at FROM documents
            WHERE kind = $1 ORDER BY version DESC LIMIT 1
            """,
            self._kind,
        )
        if row is None:
            raise RuntimeError(f"there is no {self._kind}: the migrations were not applied")
        return KeptDocument(**{**row, "document": orjson.loads(row["document"])})

    async def add(self, document: KeptDocument) -> None:
        await self._tx.execute(
            "INSERT INTO documents (kind, version, document, author, created_at) VALUES ($1, $2, $3::jsonb, $4, $5)",
            self._kind,
            document.version,
            jsonb(document.document),
            document.author,
            document.created_at,
        )


class Newest(Generic[Meaning]):
    """What the newest document of a kind means; it is read again when a newer one is there, so a change is in force at once."""

    def __init__(self, kind: str, read: Callable[[Mapping[str, Any], int], Meaning]) -> None:
        self._kind = kind
        self._read = read
        self._version = 0
        self._meaning: Meaning | None = None

    async def current(self, reader: Reader) -> Meaning:
        """The meaning of the newest version `reader` sees."""
        row = await reader.fetchrow(
            """
            SELECT version, CASE WHEN version <> $2 THEN document END AS document FROM documents
            WHERE kind = $1 ORDER BY version DESC LIMIT 1
            """,
            self._kind,
            self._version,
        )
        if row is None:
            raise RuntimeError(f"there is no {self._kind}: the migrations were not applied")
        if self._meaning is None or row["document"] is not None:
            # Told apart by the version alone, so both are set without a pause between them.
            self._meaning = self._read(orjson.loads(row["document"]), row["version"])
            self._version = row["version"]
        return self._meaning
