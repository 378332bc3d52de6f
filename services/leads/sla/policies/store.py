"""Versions of the policies in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from breakwater.chassis.database import Database, Reader, Transaction
from services.leads.documents.domain import KeptDocument
from services.leads.organisation.domain import Directory
from services.leads.organisation.store import move_version, read_directory
from services.leads.rows import jsonb
from services.leads.sla.calendar import Holidays
from services.leads.sla.domain import FirstTouch
from services.leads.sla.policies.domain import read_policies


async def read_first_touch(reader: Reader, directory: Directory, holidays: Holidays) -> FirstTouch:
    """The limits in force and the calendar of each team."""
    row = await reader.fetchrow("SELECT version, document FROM sla_policies ORDER BY version DESC LIMIT 1")
    if row is None:
        raise RuntimeError("there are no first-touch policies: the migrations were not applied")
    return read_policies(orjson.loads(row["document"]), row["version"], list(directory.teams.values()), holidays)


class PostgresPolicyStore:
    """The `PolicyStore` of one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator["PostgresPolicyStore"]:
        async with database.transaction() as tx:
            yield cls(tx)

    async def directory(self) -> Directory:
        return await read_directory(self._tx)

    async def newest(self) -> KeptDocument:
        row = await self._tx.fetchrow(
            "SELECT version, document, author, created_at FROM sla_policies ORDER BY version DESC LIMIT 1"
        )
        if row is None:
            raise RuntimeError("there are no first-touch policies: the migrations were not applied")
        return KeptDocument(**{**row, "document": orjson.loads(row["document"])})

    async def lock(self) -> None:
        # What keeps the rules, too: both are in force together, by one version of the snapshot.
        await self._tx.execute("SELECT FROM snapshot_version FOR UPDATE")

    async def add(self, document: KeptDocument) -> None:
        await self._tx.execute(
            "INSERT INTO sla_policies (version, document, author, created_at) VALUES ($1, $2::jsonb, $3, $4)",
            *(document.version, jsonb(document.document), document.author, document.created_at),
        )
        await move_version(self._tx)
