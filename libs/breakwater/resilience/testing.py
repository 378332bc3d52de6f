"""The test mode: retries without waiting, and a clock turned by hand."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from breakwater.resilience._retry import no_backoff

__all__ = ["VirtualClock", "no_backoff", "settle"]

# A task woken by a timer may start timers itself: after so many turns of the loop it has.
_TURNS: int = 20


class VirtualTimer:
    """What `VirtualClock.call_later` gives."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """A clock that stands still until `advance` turns it, and with it the timeouts of the policies that hold it."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
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
        timer = self.call_later(duration_s, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed_s + delay_s, next(self._order), timer))
        return timer

    async def advance(self, duration_s: float) -> None:
        """Moves time on by `duration_s`, stopping at each moment with timers due to let their tasks run together."""
        end_s = self._elapsed_s + duration_s
        await settle()
        while self._timers and self._timers[0][0] <= end_s:
            self._elapsed_s = max(self._elapsed_s, self._timers[0][0])
            fired = False
            while self._timers and self._timers[0][0] <= self._elapsed_s:
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    callback()
                    fired = True
            if fired:
                await settle()
        self._elapsed_s = end_s


async def settle() -> None:
    """Lets every task run until it waits for time or for another."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
