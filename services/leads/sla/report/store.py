"""What a report counts, in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import datetime

from breakwater.chassis.database import Database, Reader
from services.leads.organisation.domain import DUTY_DESK
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.sla.report.domain import Counts, Targets


class PostgresReportStore:
    """The `ReportStore` of one reading."""

    def __init__(self, reader: Reader, snapshots: Snapshots) -> None:
        self._reader = reader
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresReportStore"]:
        async with database.read() as reader:
            yield cls(reader, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._reader)

    async def counts(
        self, since: datetime, until: datetime, owners: Sequence[str] | None, targets: Targets, now: datetime
    ) -> list[tuple[str, Counts]]:
        rows = await self._reader.fetch(
            _COUNTS,
            *(since, until, owners, now),
            *(targets.assigned_within, targets.contact_within, targets.alarm_within),
            DUTY_DESK,
        )
        return [(row["owner"], Counts(**{name: row[name] for name in _NAMES})) for row in rows]


_NAMES = tuple(each.name for each in fields(Counts))

# Leads that came as ended have no decision and are not counted.
_COUNTS = """
WITH seen AS (
    SELECT coalesce(l.owner_id, '') AS owner, l.captured_at, l.stage IN ('new', 'contacted', 'qualified') AS open,
           first.decided_at AS assigned_at, first.owner_id AS first_owner, first.claim_by, claims.claimed_at,
           contact.at AS contact_at, s.times,
           least(claims.claimed_at, contact.at) - l.captured_at AS response
    FROM leads l
    LEFT JOIN silences s ON s.lead_id = l.id
    LEFT JOIN LATERAL (
        SELECT decided_at, owner_id, claim_by FROM assignments
        WHERE lead_id = l.id AND owner_id IS NOT NULL ORDER BY decided_at, id LIMIT 1
    ) AS first ON true
    LEFT JOIN LATERAL (SELECT min(created_at) AS at FROM follow_ups WHERE lead_id = l.id) AS contact ON true
    LEFT JOIN LATERAL (SELECT min(at) AS claimed_at FROM lead_steps WHERE lead_id = l.id AND kind = 'claimed') AS claims
        ON true
    WHERE l.captured_at >= $1 AND l.captured_at < $2 AND ($3::text[] IS NULL OR l.owner_id = ANY($3))
          AND (first.decided_at IS NOT NULL OR l.stage IN ('new', 'contacted', 'qualified'))
)
SELECT owner,
       count(*) AS leads,
       count(*) FILTER (WHERE assigned_at <= captured_at + $5::interval) AS assigned_in_time,
       count(*) FILTER (WHERE coalesce(assigned_at, $4) > captured_at + $5) AS assigned_late,
       count(*) FILTER (WHERE first_owner = $8) AS duty_desk_first,
       count(*) FILTER (WHERE contact_at <= captured_at + $6::interval) AS contact_in_time,
       count(*) FILTER (WHERE coalesce(contact_at, $4) > captured_at + $6) AS contact_late,
       count(*) FILTER (WHERE claimed_at <= claim_by) AS claimed_in_time,
       count(*) FILTER (WHERE coalesce(claimed_at, $4) > claim_by) AS claimed_late,
       count(response) AS answered,
       count(*) FILTER (WHERE response <= interval '5 minutes') AS answered_in_5_min,
       count(*) FILTER (WHERE response <= interval '2 hours') AS answered_in_2_h,
       coalesce(sum(extract(epoch FROM response)), 0)::float8 AS response_s,
       count(*) FILTER (WHERE open AND contact_at IS NULL AND assigned_at + $7::interval < $4) AS silent,
       count(*) FILTER (WHERE open AND contact_at IS NULL AND assigned_at + $7 < $4 AND times > 0) AS alarmed
FROM seen GROUP BY owner
"""
