"""Silent leads in PostgreSQL: found by what triggers keep (migration 0130), told by one worker each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from breakwater.chassis import outbox
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import LeadSilent
from services.leads.organisation.domain import Directory
from services.leads.organisation.store import read_directory
from services.leads.rows import jsonb
from services.leads.sla.silence.domain import Silence
from services.leads.sla.silence.usecases import ToldSilence
from services.leads.timestamps import timestamp


class PostgresSilenceStore:
    """The `SilenceStore` of one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database) -> AsyncIterator["PostgresSilenceStore"]:
        async with database.transaction() as tx:
            yield cls(tx)

    async def take_silent(self, counted_until: datetime, limit: int) -> list[Silence]:
        rows = await self._tx.fetch(
            """
            SELECT l.id::text AS lead_id, l.customer_id::text, l.owner_id, l.name AS lead_name, l.company, l.sequence,
                   s.since, s.counted_from, s.times
            FROM leads l JOIN silences s ON s.lead_id = l.id
            WHERE s.counted_from <= $1 ORDER BY s.counted_from LIMIT $2
            FOR UPDATE SKIP LOCKED
            """,
            counted_until,
            limit,
        )
        return [Silence(**dict(row)) for row in rows]

    async def directory(self) -> Directory:
        return await read_directory(self._tx)

    async def write(self, told: Sequence[ToldSilence], now: datetime) -> None:
        await self._tx.execute(
            """
            WITH told AS (
                UPDATE silences SET times = times + 1, counted_from = (x->>1)::timestamptz
                FROM jsonb_array_elements($1::jsonb) AS x WHERE silences.lead_id = (x->>0)::uuid
            )
            UPDATE leads SET sequence = sequence + 1
            FROM jsonb_array_elements($1::jsonb) AS x WHERE leads.id = (x->>0)::uuid
            """,
            jsonb((each.silence.lead_id, each.counted_from) for each in told),
        )
        await outbox.add(self._tx, [_silent(each, now) for each in told])


def _silent(told: ToldSilence, now: datetime) -> OutboxEvent:
    silence = told.silence
    event = LeadSilent(
        lead_id=silence.lead_id,
        customer_id=silence.customer_id,
        owner_id=silence.owner_id or "",
        supervisor_id=told.supervisor_id,
        assigned_at=timestamp(silence.since),
        lead_name=silence.lead_name,
        company=silence.company,
        times=silence.times + 1,
    )
    return OutboxEvent.of(event, subject_id=silence.lead_id, sequence=silence.sequence + 1, occurred_at=now)
