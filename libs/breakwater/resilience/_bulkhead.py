"""The bulkhead: so many attempts at once, so many waiting, and the rest refused at once."""

import asyncio
from collections import deque

from breakwater.resilience._timer import CallLater


class Bulkhead:
    """Slots with a first-come queue. `in_use` and `limit` are public for the hot path, which takes a free slot itself.

    While anyone waits every slot is in use: a freed slot passes to the first waiter without becoming free.
    """

    __slots__ = ("_call_later", "_queue", "in_use", "limit", "queue_max")

    def __init__(self, limit: int, queue_max: int, call_later: CallLater) -> None:
        self.in_use = 0
        self.limit = limit
        self.queue_max = queue_max
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._call_later = call_later

    @property
    def queued(self) -> int:
        return len(self._queue)

    async def wait(self, timeout_s: float) -> bool:
        """Takes a slot when one is free within `timeout_s`; False where the queue is full or the time is over."""
        if self.in_use < self.limit:
            self.in_use += 1
            return True
        if len(self._queue) >= self.queue_max or timeout_s <= 0:
            return False
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        timer = self._call_later(timeout_s, lambda: self._give_up(place))
        try:
            return await place
        except BaseException:
            if place.done() and not place.cancelled() and place.result():
                # The slot was passed to us in the same turn of the loop that cancelled us.
                self.release()
            elif place in self._queue:
                self._queue.remove(place)
            raise
        finally:
            timer.cancel()

    def resize(self, limit: int, queue_max: int) -> None:
        """Other limits from now on: whoever has a slot or a place keeps it, and new slots go to those who wait."""
        self.limit, self.queue_max = limit, queue_max
        while self._queue and self.in_use < limit:
            place = self._queue.popleft()
            if not place.done():
                self.in_use += 1
                place.set_result(True)

    def release(self) -> None:
        """Gives the slot to the first in the queue, or frees it."""
        while self._queue and self.in_use <= self.limit:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(True)
                return
        self.in_use -= 1

    def _give_up(self, place: "asyncio.Future[bool]") -> None:
        if not place.done():
            self._queue.remove(place)
            place.set_result(False)
