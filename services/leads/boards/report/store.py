"""The leads a report counts, in PostgreSQL: the boards' leads, and since when nobody has followed them up."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from breakwater.chassis.database import Database
from services.leads.boards.domain import LeadTimes
from services.leads.boards.report.domain import Watched
from services.leads.boards.store import PostgresBoardReader
from services.leads.boards.usecases import Selection
from services.leads.routing.store import Snapshots

# Not asked of `silences` alone: a lead whose row is missing is the fault that the check has to show (117).
_SILENCE = """
    given.owner_id = ANY($3::text[]),
    CASE WHEN l.stage IN ('new', 'contacted', 'qualified') AND contact.at IS NULL
         THEN coalesce(given.decided_at, l.captured_at) END,
    coalesce(s.times, 0)
"""
_GIVEN = """
    LEFT JOIN LATERAL (SELECT owner_id, decided_at FROM assignments
                       WHERE lead_id = l.id AND owner_id IS NOT NULL ORDER BY id LIMIT 1) given ON true
    LEFT JOIN silences s ON s.lead_id = l.id
"""


class PostgresReportReader(PostgresBoardReader):
    """`ReportReader` on one snapshot."""

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresReportReader"]:
        async with database.snapshot() as tx:
            yield cls(tx, snapshots)

    async def watched(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[Watched], None]:
        async for chunk in self._taken_in(selection, rows_max, _SILENCE, _GIVEN):
            yield [
                Watched(LeadTimes(*times), bool(desk_first), silent_since, alarms)
                for *times, desk_first, silent_since, alarms in chunk
            ]
