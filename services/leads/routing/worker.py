"""Routes waiting leads anew when organisation or rules have changed, and counts people's deals; any number of replicas may."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from services.leads.routing.deals import refresh_deals
from services.leads.routing.rerouting import RerouteStore, reroute_waiting_leads


class RerouteWorker:
    """Looks when woken, every `poll_s` seconds (another replica may have changed something), and while there is more."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[RerouteStore]],
        clock: Clock,
        *,
        poll_s: float,
        batch_size_max: int,
    ) -> None:
        self._begin = begin
        self._clock = clock
        self._poll_s = poll_s
        self._batch_size_max = batch_size_max
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            self._woken.clear()
            looked_at = await reroute_waiting_leads(self._begin, now=self._clock.now(), limit=self._batch_size_max)
            if looked_at < self._batch_size_max:
                await self._rest()

    async def _rest(self) -> None:
        rests = [asyncio.ensure_future(self._woken.wait()), asyncio.ensure_future(self._clock.sleep(self._poll_s))]
        try:
            await asyncio.wait(rests, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for rest in rests:
                rest.cancel()


class DealsWorker:
    """Counts the deals of the last days every `refresh_s` seconds, the first time at once."""

    def __init__(self, database: Database, clock: Clock, *, days: int, refresh_s: float) -> None:
        self._database = database
        self._clock = clock
        self._days = days
        self._refresh_s = refresh_s

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await refresh_deals(self._database, self._clock.now(), days=self._days)
            await self._clock.sleep(self._refresh_s)
