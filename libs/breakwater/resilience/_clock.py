"""Time as a port: whatever has these three methods will do, the chassis's clocks among them."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for every rule.

    A clock that is not the machine's also has `call_later(delay_s, callback)`, which gives something to `cancel()`:
    timeouts then follow it instead of the event loop.
    """

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    async def sleep(self, duration_s: float, /) -> None:
        """Returns after `duration_s` seconds of this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration_s: float, /) -> None:
        await asyncio.sleep(duration_s)
