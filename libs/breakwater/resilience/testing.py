"""The test mode: retries without waiting, and a clock turned by hand."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

from breakwater.resilience._retry import no_backoff

__all__ = ["VirtualClock", "no_backoff"]

# A task woken by a timer may start timers itself: after so many turns of the loop it has.
_TURNS: int = 20


class VirtualClock:
    """A clock that stands still until `advance` turns it; sleepers wake in the order of their due times."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    async def sleep(self, duration_s: float, /) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + duration_s, next(self._order), woken))
        await woken

    async def advance(self, duration_s: float) -> None:
        """Moves time on by `duration_s`, stopping at each moment that wakes sleepers to let them run together."""
        end_s = self._elapsed_s + duration_s
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._elapsed_s = max(self._elapsed_s, self._sleepers[0][0])
            while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
                woken = heapq.heappop(self._sleepers)[2]
                if not woken.done():
                    woken.set_result(None)
            await settle()
        self._elapsed_s = end_s
        await settle()


async def settle() -> None:
    """Lets every task run until it waits for time or for another."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
