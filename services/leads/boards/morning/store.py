"""When teams are due, and who was told of what, in PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from breakwater.chassis import outbox
from breakwater.chassis.database import Database
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import BoardReady
from services.leads.boards.morning.domain import Told
from services.leads.boards.morning.usecases import Morning
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.routing.store import Snapshots
from services.leads.rows import jsonb

KEPT = timedelta(days=30)
"""So long it is known who was told; a day is told on that day alone."""


class PostgresMorningStore(PostgresPersonalReader):
    """The `MorningStore` of one transaction."""

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresMorningStore"]:
        # Long: adding up boards is no measure of how PostgreSQL is.
        async with database.transaction(long=True) as tx:
            yield cls(tx, snapshots)

    async def add_teams(self, due: Mapping[str, datetime]) -> None:
        await self._tx.execute(
            """
            INSERT INTO board_mornings (team_id, due_at) SELECT x->>0, (x->>1)::timestamptz
            FROM jsonb_array_elements($1::jsonb) AS x
            WHERE NOT EXISTS (SELECT FROM board_mornings WHERE team_id = x->>0)
            ON CONFLICT (team_id) DO NOTHING
            """,
            jsonb(due.items()),
        )

    async def take_due(self, now: datetime, limit: int) -> list[Morning]:
        rows = await self._tx.fetch(
            """
            SELECT team_id, due_at FROM board_mornings WHERE due_at <= $1 ORDER BY due_at LIMIT $2
            FOR UPDATE SKIP LOCKED
            """,
            now,
            limit,
        )
        return [Morning(row["team_id"], row["due_at"]) for row in rows]

    async def tell(self, told: Sequence[Told], now: datetime) -> None:
        if not told:
            return
        rows = await self._tx.fetch(
            """
            INSERT INTO boards_told (board, recipient_id, day) SELECT x->>0, x->>1, (x->>2)::date
            FROM jsonb_array_elements($1::jsonb) AS x
            ON CONFLICT DO NOTHING RETURNING board, recipient_id
            """,
            jsonb((each.board, each.recipient_id, each.day) for each in told),
        )
        new = {(row["board"], row["recipient_id"]) for row in rows}
        await self._tx.execute("DELETE FROM boards_told WHERE day < $1", told[0].day - KEPT)
        await outbox.add(self._tx, [_event(each, now) for each in told if (each.board, each.recipient_id) in new])

    async def move(self, team_id: str, due_at: datetime) -> None:
        await self._tx.execute("UPDATE board_mornings SET due_at = $2 WHERE team_id = $1", team_id, due_at)


def _event(told: Told, now: datetime) -> OutboxEvent:
    event = BoardReady(
        board=told.board,
        day=told.day.isoformat(),
        recipient_id=told.recipient_id,
        title=told.title,
        body=told.body,
    )
    # A board of a person is what changes from day to day.
    return OutboxEvent.of(
        event,
        subject_id=f"{told.board}:{told.recipient_id}",
        sequence=told.day.toordinal(),
        occurred_at=now,
        urgent=False,
    )
