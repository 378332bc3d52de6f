"""Compares new and changed customers; any number of replicas may run it, one of them works at a time."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from breakwater.chassis.clock import Clock
from services.leads.intake.duplicates.domain import Thresholds
from services.leads.intake.duplicates.usecases import CheckStore, check_customers


class DuplicatesWorker:
    """Looks every `poll_s` seconds, and at once while there is more."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[CheckStore]],
        thresholds: Thresholds,
        clock: Clock,
        *,
        poll_s: float,
        batch_size_max: int,
    ) -> None:
        self._begin = begin
        self._thresholds = thresholds
        self._clock = clock
        self._poll_s = poll_s
        self._batch_size_max = batch_size_max

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            if not await self.step():
                await self._clock.sleep(self._poll_s)

    async def step(self) -> int:
        """One batch; returns how many customers it compared."""
        return await check_customers(self._begin, self._thresholds, now=self._clock.now(), limit=self._batch_size_max)
