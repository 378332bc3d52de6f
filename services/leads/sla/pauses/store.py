"""First-touch clocks in PostgreSQL, one lead at a time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from asyncpg import Record

from breakwater.chassis.database import Database, Transaction
from services.leads.intake.domain import is_id
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.sla.pauses.domain import LeadClock, Pause, RunningClock, Silence
from services.leads.sla.pauses.usecases import LockedClock

_TIMER = "t.stage, t.due_at, t.remind_at, t.started_at, t.used_ms, t.paused_at"


class PostgresClockStore:
    """The `ClockStore` of one transaction."""

    def __init__(self, tx: Transaction, snapshots: Snapshots) -> None:
        self._tx = tx
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresClockStore"]:
        async with database.transaction() as tx:
            yield cls(tx, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._tx)

    async def read_clock(self, lead_id: str, owners: Sequence[str] | None) -> LeadClock | None:
        if not is_id(lead_id):
            return None
        row = await self._tx.fetchrow(
            f"""
            SELECT {_TIMER}, s.since, s.times
            FROM leads l LEFT JOIN first_touch_timers t ON t.lead_id = l.id LEFT JOIN silences s ON s.lead_id = l.id
            WHERE l.id = $1 AND ($2::text[] IS NULL OR l.owner_id = ANY($2))
            """,  # noqa: S608 - a constant
            *(lead_id, owners),
        )
        if row is None:
            return None
        pauses = await self._tx.fetch(
            """
            SELECT paused_at, paused_by, reason, resumed_at, resumed_by FROM sla_pauses
            WHERE lead_id = $1 ORDER BY paused_at
            """,
            lead_id,
        )
        silence = Silence(row["since"], row["times"]) if row["since"] is not None else None
        return LeadClock(lead_id, _running(row), tuple(Pause(**dict(each)) for each in pauses), silence)

    async def lock_clock(self, lead_id: str, owners: Sequence[str] | None) -> LockedClock | None:
        if not is_id(lead_id):
            return None
        # The lead first, as everybody who moves its timer locks them.
        lead = await self._tx.fetchrow(
            """
            SELECT owner_id, source FROM leads
            WHERE id = $1 AND ($2::text[] IS NULL OR owner_id = ANY($2)) FOR UPDATE
            """,
            *(lead_id, owners),
        )
        if lead is None:
            return None
        timer = await self._tx.fetchrow(
            f"SELECT {_TIMER} FROM first_touch_timers t WHERE lead_id = $1 FOR UPDATE",  # noqa: S608 - a constant
            lead_id,
        )
        return LockedClock(lead_id, lead["owner_id"] or "", lead["source"], _running(timer) if timer else None)

    async def pause(self, lead_id: str, clock: RunningClock, pause: Pause) -> None:
        await self._tx.execute(
            "UPDATE first_touch_timers SET paused_at = $2, used_ms = $3 WHERE lead_id = $1",
            *(lead_id, clock.paused_at, _milliseconds(clock.used)),
        )
        # What stands is not due: no status, no board and no KPI may call it late.
        if clock.stage == 1:
            await self._tx.execute("UPDATE leads SET claim_by = NULL WHERE id = $1", lead_id)
        await self._tx.execute(
            "INSERT INTO sla_pauses (lead_id, paused_at, paused_by, reason) VALUES ($1, $2, $3, $4)",
            *(lead_id, pause.paused_at, pause.paused_by, pause.reason),
        )

    async def resume(self, lead_id: str, clock: RunningClock, resumed_by: str) -> None:
        await self._tx.execute(
            """
            UPDATE first_touch_timers SET paused_at = NULL, started_at = $2, due_at = $3, remind_at = $4 WHERE lead_id = $1
            """,
            *(lead_id, clock.started_at, clock.due_at, clock.remind_at),
        )
        await self._tx.execute(
            """
            UPDATE sla_pauses SET resumed_at = $2, resumed_by = $3
            WHERE lead_id = $1 AND paused_at = (SELECT max(paused_at) FROM sla_pauses WHERE lead_id = $1)
            """,
            *(lead_id, clock.started_at, resumed_by),
        )
        if clock.stage == 1:
            await self._tx.execute("UPDATE leads SET claim_by = $2 WHERE id = $1", lead_id, clock.due_at)


def _running(row: Record) -> RunningClock | None:
    if row["stage"] is None:
        return None
    return RunningClock(
        stage=row["stage"],
        due_at=row["due_at"],
        remind_at=row["remind_at"],
        started_at=row["started_at"],
        used=timedelta(milliseconds=row["used_ms"]),
        paused_at=row["paused_at"],
    )


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
