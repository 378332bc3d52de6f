"""One person's open leads in PostgreSQL."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from breakwater.chassis.database import Database
from services.leads.boards.personal.domain import OpenLead
from services.leads.boards.store import CHUNK_ROWS, PostgresBoardReader
from services.leads.routing.store import Snapshots

_OPEN = """
    SELECT l.id::text, l.name, l.company, l.industry, l.budget, l.stage, l.claimed_at, l.claim_by,
           coalesce(newest.next_action, ''), newest.next_action_due
    FROM leads l
    LEFT JOIN LATERAL (SELECT next_action, next_action_due FROM follow_ups WHERE lead_id = l.id
                       ORDER BY id DESC LIMIT 1) newest ON true
    WHERE l.owner_id = $1 AND l.stage IN ('new', 'contacted', 'qualified')
"""


class PostgresPersonalReader(PostgresBoardReader):
    """`PersonalReader` on one snapshot."""

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresPersonalReader"]:
        async with database.snapshot() as tx:
            yield cls(tx, snapshots)

    async def open_leads(self, person_id: str) -> AsyncGenerator[Sequence[OpenLead], None]:
        async for chunk in self._tx.stream(_OPEN, person_id, chunk_rows=CHUNK_ROWS):
            yield [OpenLead(*row) for row in chunk]
