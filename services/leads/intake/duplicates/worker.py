"""Compares new and changed customers and merges those that are the same; of several replicas one works at a time."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from breakwater.chassis.clock import Clock
from services.leads.intake.duplicates.domain import Thresholds
from services.leads.intake.duplicates.usecases import CheckStore, check_customers, merge_same
from services.leads.intake.merges.usecases import BeginMerging


class DuplicatesWorker:
    """Looks every `poll_s` seconds, and while there is more goes on for a share of the time.

    It rests after each batch in proportion to how long that took: where many look alike a look-up takes milliseconds of
    the database, and those who enter and read leads come first.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[CheckStore]],
        begin_merging: BeginMerging,
        thresholds: Thresholds,
        clock: Clock,
        *,
        poll_s: float,
        batch_size_max: int,
        work_share: float,
    ) -> None:
        self._begin = begin
        self._begin_merging = begin_merging
        self._thresholds = thresholds
        self._clock = clock
        self._poll_s = poll_s
        self._batch_size_max = batch_size_max
        self._rest = 1 / work_share - 1

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            began_s = self._clock.monotonic()
            if await self.step():
                await self._clock.sleep(self._rest * (self._clock.monotonic() - began_s))
            else:
                await self._clock.sleep(self._poll_s)

    async def step(self) -> int:
        """One batch: compares, then merges what is the same; returns how much there was to do."""
        now, limit = self._clock.now(), self._batch_size_max
        compared = await check_customers(self._begin, self._thresholds, now=now, limit=limit)
        return compared + await merge_same(self._begin, self._begin_merging, now=now, limit=limit)
