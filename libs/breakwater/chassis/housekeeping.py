"""What a service's tables and streams need by the hour: old rows go, in bounded portions, and figures are refreshed."""

import asyncio
from datetime import timedelta
from typing import Final

from breakwater.chassis import deadletters, idempotency, inbox, metrics, outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger

log = get_logger(__name__)

FIGURES_EVERY_S: Final = 5.0
PRUNE_EVERY_S: Final = 3600.0
PORTION_ROWS: Final = 5_000
"""Of one delete: locks and dead rows stay few."""
PORTIONS_MAX: Final = 200
"""Of one run; the rest goes an hour later."""

_PENDING_MAX: Final = 100_000

_FIGURES = """
SELECT (SELECT count(*) FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT $1) AS pending) AS pending,
       (SELECT extract(epoch FROM now() - min(oldest.created_at))::float8
        FROM (VALUES (true), (false)) AS kind (urgent), LATERAL (
            SELECT created_at FROM outbox WHERE published_at IS NULL AND outbox.urgent = kind.urgent
            ORDER BY position LIMIT 1
        ) AS oldest) AS oldest_age_s
"""
_PRUNE = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {column} < $1 LIMIT $2))
"""
_PRUNED: Final = (
    (_PRUNE.format(table="inbox", column="received_at"), timedelta(days=inbox.KEEP_DAYS)),
    (_PRUNE.format(table="idempotency", column="created_at"), idempotency.KEEP),
)


class Housekeeping:
    """Prunes outbox, inbox and idempotency keys; sets the gauges of the outbox and of the dead letters.

    `service.background("housekeeping", Housekeeping(database, bus, service.clock).run)`.
    """

    def __init__(self, db: Database, bus: Bus, clock: Clock | None = None) -> None:
        self._db = db
        self._bus = bus
        self._clock = clock or SystemClock()
        self._pending = metrics.BacklogGauge(metrics.OUTBOX_PENDING, bus.service)
        self._oldest_age_s = metrics.BacklogGauge(metrics.OUTBOX_OLDEST_AGE, bus.service)
        self._dead_letters = metrics.BacklogGauge(metrics.DEAD_LETTERS, bus.service)

    async def run(self) -> None:
        """Runs until cancelled."""
        pruned_at_s = float("-inf")
        while True:
            try:
                await self.refresh()
                if self._clock.monotonic() - pruned_at_s >= PRUNE_EVERY_S:
                    pruned_at_s = self._clock.monotonic()
                    await self.prune()
            except BreakwaterError as error:
                log.info("housekeeping_waits", dependency=error.dependency, detail=error.detail)
            await asyncio.sleep(FIGURES_EVERY_S)

    async def refresh(self) -> None:
        """Sets the figures; `breakwater_outbox_pending` counts to 100,000. Raises `UnavailableError`."""
        try:
            self._dead_letters.set((await deadletters.counts(self._bus)).get(self._bus.service, 0))
        finally:
            # Neither waits for the other: events are given up while the database is ill, and pile up while NATS is out.
            await self._look_at_outbox()

    async def _look_at_outbox(self) -> None:
        async with self._db.read() as reader:
            figures = await reader.fetchrow(_FIGURES, _PENDING_MAX)
        if figures is not None:
            self._pending.set(figures["pending"])
            self._oldest_age_s.set(figures["oldest_age_s"] or 0.0)

    async def prune(self) -> None:
        """Removes what is past its time. Raises `UnavailableError`."""
        async with self._db.transaction(long=True) as tx:
            await tx.execute("SET LOCAL lock_timeout = '1s'")
            days = await tx.fetchval("SELECT outbox_empty_old_days($1)", outbox.KEEP_DAYS)
        rows = 0
        for statement, keep in _PRUNED:
            for _ in range(PORTIONS_MAX):
                async with self._db.transaction(long=True) as tx:
                    tag = await tx.execute(statement, self._clock.now() - keep, PORTION_ROWS)
                gone = int(tag.rpartition(" ")[2])
                rows += gone
                if gone < PORTION_ROWS:
                    break
        log.info("pruned", outbox_days=days, rows=rows)
