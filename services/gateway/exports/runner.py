"""Looks after the exports that are due, one step each; any replica may take any step.

An export that is taken up is leased by its due time, renewed while its step runs: after kill -9 the next start, or
another replica, takes it up again, and what the dead one would still have written is refused by its turn.
"""

import asyncio
from datetime import timedelta

from breakwater.chassis import metrics
from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger
from services.gateway.exports.domain import Export
from services.gateway.exports.store import DUE, ExportStore
from services.gateway.exports.usecases import Exports

POLL_S = 1.0
"""The longest sleep: what another replica put down is found by then."""
LAG = metrics.BacklogGauge(metrics.TIMER_LAG, "gateway", "exports")

_log = get_logger(__name__)


class Runner:
    """`run` under the process's supervision of background tasks."""

    def __init__(
        self, exports: Exports, store: ExportStore, database: Database, clock: Clock, *, lease_s: float, active_max: int
    ) -> None:
        self._exports = exports
        self._store = store
        self._clock = clock
        self._lease = timedelta(seconds=lease_s)
        self._active_max = active_max
        self._held: dict[str, Export] = {}
        self._woken = asyncio.Event()
        database.listen(DUE, self._woken.set)

    async def run(self) -> None:
        """Until cancelled; then the steps under way end with it, and their leases run out."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew_leases())
            while True:
                self._woken.clear()
                try:
                    sleep_s = await self._take(tasks)
                except BreakwaterError as error:
                    _log.warning("exports_not_taken", code=error.code, detail=error.detail)
                    sleep_s = POLL_S
                try:
                    async with asyncio.timeout(sleep_s):
                        await self._woken.wait()
                except TimeoutError:
                    continue

    async def _take(self, tasks: asyncio.TaskGroup) -> float:
        free = self._active_max - len(self._held)
        if free > 0:
            for export in await self._store.take_due(self._clock.now(), self._lease, free):
                self._held[export.id] = export
                tasks.create_task(self._step(export))
        next_due = await self._store.next_due()
        if next_due is None:
            LAG.set(0)
            return POLL_S
        wait_s = (next_due - self._clock.now()).total_seconds()
        LAG.set(max(0.0, -wait_s))
        # Due but not taken means that this replica is full: one that ends wakes us.
        return min(POLL_S, wait_s) if wait_s > 0 else POLL_S

    async def _step(self, export: Export) -> None:
        try:
            await self._exports.advance(export)
        except BreakwaterError as error:
            # Nothing was written: the lease runs out and the step is taken again.
            _log.warning("export_step_failed", export_id=export.id, code=error.code, detail=error.detail)
        except Exception:  # noqa: BLE001 - a defect must not end the other exports' steps with it
            metrics.BACKGROUND_FAILURES.labels("export-step").inc()
            _log.exception("export_step_crashed", export_id=export.id)
        finally:
            self._held.pop(export.id, None)
            self._woken.set()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            if self._held:
                try:
                    await self._store.renew(list(self._held.values()), self._clock.now(), self._lease)
                except BreakwaterError as error:
                    _log.warning("leases_not_renewed", code=error.code)
