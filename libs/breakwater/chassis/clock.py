"""Time as a dependency: every rule that speaks of time takes a `Clock`, so tests and simulation turn it by hand."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and records, monotonic time for durations."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Returns after `duration_s` seconds of this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    # The machine's function itself: whoever reads it on a hot path pays for no method.
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


class VirtualClock:
    """A clock that stands still until `advance` turns it; sleepers wake in order of their due time."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + duration_s, next(self._order), woken))
        await woken

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> asyncio.Future[None]:
        """Calls `callback` after `delay_s` of this clock unless the answer is cancelled: policies time out by it."""
        due = asyncio.get_running_loop().create_future()
        due.add_done_callback(lambda done: None if done.cancelled() else callback())
        heapq.heappush(self._sleepers, (self._elapsed_s + delay_s, next(self._order), due))
        return due

    async def advance(self, duration_s: float) -> None:
        """Moves time on by `duration_s` seconds, letting each sleeper run at its own moment."""
        end_s = self._elapsed_s + duration_s
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, due_s)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._elapsed_s = end_s
        await _settle()


async def _settle() -> None:
    # Tasks woken by a timer may themselves start sleepers: a few turns of the loop let them get there.
    for _ in range(10):
        await asyncio.sleep(0)
