"""Boards from one snapshot of PostgreSQL, read by a cursor: memory stays at one chunk."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Record

from breakwater.chassis.database import Database, Transaction
from services.leads.boards.domain import UNKNOWN, LeadTimes, LostLead, dwell_between
from services.leads.boards.usecases import BoardLead, LostFilter, Selection
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots

CHUNK_ROWS = 1_000
"""So much is decoded in one piece: a few milliseconds."""

# Parameters of every statement: $1 the end, $2 whose leads, $3 the duty desks, $4 the begin; a statement takes the first of them.
# A lead with the first decision that gave it to somebody. Its limit may have moved while it stayed with them; a clock that
# stands has none.
_TIMES = """
    l.id::text, coalesce(first.owner_id, '') AS owner_id, l.captured_at, first.decided_at AS assigned_at,
    CASE WHEN first.owner_id = l.owner_id AND l.claim_by IS NOT NULL THEN l.claim_by
         WHEN first.owner_id = l.owner_id
              AND EXISTS (SELECT FROM first_touch_timers WHERE lead_id = l.id AND paused_at IS NOT NULL) THEN NULL
         ELSE first.claim_by END AS due_at,
    least(l.claimed_at, claim.at, contact.at) AS responded_at, contact.at AS contacted_at
"""
_FIRST = """
    LEFT JOIN LATERAL (SELECT owner_id, decided_at, claim_by FROM assignments
                       WHERE lead_id = l.id AND owner_id <> ALL($3::text[]) ORDER BY id LIMIT 1) first ON true
    LEFT JOIN LATERAL (SELECT min(at) AS at FROM lead_steps WHERE lead_id = l.id AND kind = 'claimed') claim ON true
    LEFT JOIN LATERAL (SELECT min(created_at) AS at FROM follow_ups WHERE lead_id = l.id) contact ON true
"""
_TAKEN_IN = """
    l.captured_at >= $4 AND l.captured_at < $1
    AND EXISTS (SELECT FROM assignments WHERE lead_id = l.id)
    AND ($2::text[] IS NULL OR coalesce(first.owner_id, l.owner_id) = ANY($2))
"""
# Somebody's leads are found by their decisions: everybody's leads of these days are many more.
_OF_OWNERS = " AND l.id IN (SELECT lead_id FROM assignments WHERE owner_id = ANY($2) AND decided_at >= $4)"
_GONE = """
    JOIN (SELECT lead_id, max(at) AS at FROM lead_steps WHERE to_stage = 'lost' AND at >= {begin} AND at < $1
          GROUP BY lead_id) gone ON gone.lead_id = l.id
"""
_LOST = "l.stage = 'lost' AND ($2::text[] IS NULL OR l.owner_id = ANY($2))"
_UNASSIGNED = """
    l.waiting AND l.stage IN ('new', 'contacted', 'qualified') AND l.captured_at < $1
    AND ($2::text[] IS NULL OR l.owner_id = ANY($2))
"""
_SHOWN = "l.name, l.company, l.owner_id AS present_owner_id, l.stage, l.industry, l.source"


class PostgresBoardReader:
    """`BoardReader` on one snapshot."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresBoardReader"]:
        async with database.snapshot() as tx:
            yield cls(tx, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def times(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[LeadTimes], None]:
        async for chunk in self._taken_in(selection, rows_max):
            yield [LeadTimes(*row) for row in chunk]

    async def _taken_in(
        self, selection: Selection, rows_max: int, more: str = "", joined: str = ""
    ) -> AsyncGenerator[Sequence[Record], None]:
        """The times of leads taken in meanwhile, and `more` columns of what is `joined`."""
        sql = f"""
            SELECT {_TIMES}{f", {more}" if more else ""} FROM leads l {_FIRST} {joined}
            WHERE {_taken_in(selection)} LIMIT {rows_max:d}
        """  # noqa: S608
        async for chunk in self._tx.stream(sql, *_args(selection), chunk_rows=CHUNK_ROWS):
            yield chunk

    async def unassigned(self, selection: Selection) -> int:
        sql = f"SELECT count(*) FROM leads l WHERE {_UNASSIGNED}"  # noqa: S608
        found: int = await self._tx.fetchval(sql, *_args(selection)[:2])
        return found

    async def lost(self, selection: Selection, rows_max: int) -> AsyncGenerator[Sequence[LostLead], None]:
        sql = f"""
            SELECT l.industry, l.source, gone.at - l.captured_at FROM leads l {_GONE.format(begin="$3")}
            WHERE {_LOST} LIMIT {rows_max:d}
        """  # noqa: S608
        end, owners, _, begin = _args(selection)
        async for chunk in self._tx.stream(sql, end, owners, begin, chunk_rows=CHUNK_ROWS):
            yield [LostLead(*row) for row in chunk]

    async def leads(self, selection: Selection, before: str | None) -> AsyncGenerator[Sequence[BoardLead], None]:
        sql = f"""
            SELECT {_TIMES}, {_SHOWN}, NULL AS lost_at FROM leads l {_FIRST}
            WHERE {_taken_in(selection)} AND ($5::uuid IS NULL OR l.id < $5) ORDER BY l.id DESC
        """  # noqa: S608
        async for chunk in self._tx.stream(sql, *_args(selection), before, chunk_rows=CHUNK_ROWS):
            yield [_lead(row) for row in chunk]

    async def unassigned_leads(self, selection: Selection, before: str | None, limit: int) -> list[BoardLead]:
        return await self._page("", [_UNASSIGNED], list(_args(selection)[:3]), before, limit)

    async def lost_leads(
        self, selection: Selection, criteria: LostFilter, before: str | None, limit: int
    ) -> list[BoardLead]:
        conditions, args = [_LOST], list(_args(selection))

        def narrow(condition: str, value: Any) -> None:
            args.append(value)
            conditions.append(condition.format(len(args)))

        if criteria.industry:
            narrow("l.industry = ${}", "" if criteria.industry == UNKNOWN else criteria.industry)
        if criteria.source:
            narrow("l.source = ${}", criteria.source)
        if bounds := dwell_between(criteria.dwell):
            lower, upper = bounds
            if lower is not None:
                narrow("gone.at - l.captured_at >= ${}", lower)
            if upper is not None:
                narrow("gone.at - l.captured_at < ${}", upper)
        return await self._page(_GONE.format(begin="$4"), conditions, args, before, limit)

    async def _page(
        self, gone: str, conditions: list[str], args: list[Any], before: str | None, limit: int
    ) -> list[BoardLead]:
        args.append(before)
        sql = f"""
            SELECT {_TIMES}, {_SHOWN}, {"gone.at" if gone else "NULL"} AS lost_at FROM leads l {gone} {_FIRST}
            WHERE {" AND ".join(conditions)} AND (${len(args)}::uuid IS NULL OR l.id < ${len(args)})
            ORDER BY l.id DESC LIMIT {limit:d}
        """  # noqa: S608
        return [_lead(row) for row in await self._tx.fetch(sql, *args)]


def _taken_in(selection: Selection) -> str:
    return _TAKEN_IN if selection.owners is None else _TAKEN_IN + _OF_OWNERS


def _args(selection: Selection) -> tuple[Any, ...]:
    return (selection.end, selection.owners, selection.desks, selection.begin)


def _lead(row: Record) -> BoardLead:
    times = LeadTimes(*(row[name] for name in LeadTimes.__slots__))
    return BoardLead(
        *(times, row["name"], row["company"], row["present_owner_id"], row["stage"], row["industry"], row["source"]),
        lost_at=row["lost_at"],
    )
