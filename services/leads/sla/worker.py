"""Does what comes due, as it comes due; any number of replicas may."""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.metrics import TIMER_DELAY, TIMER_LAG, BacklogGauge


class Fire(Protocol):
    """Does at most `limit` of what is due at `now`; returns when each was due, the most overdue first."""

    def __call__(self, *, now: datetime, limit: int) -> Awaitable[Sequence[datetime]]: ...


class TimerWorker:
    """Looks every `poll_s` seconds, and at once while there is more than `batch_size_max`."""

    def __init__(self, name: str, fire: Fire, clock: Clock, *, poll_s: float, batch_size_max: int) -> None:
        self._fire = fire
        self._clock = clock
        self._poll_s = poll_s
        self._batch_size_max = batch_size_max
        self._lag = BacklogGauge(TIMER_LAG, "leads", name)
        self._delay = TIMER_DELAY.labels("leads", name)

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            now = self._clock.now()
            due = await self._fire(now=now, limit=self._batch_size_max)
            for moment in due:
                self._delay.observe((now - moment).total_seconds())
            self._lag.set((now - due[0]).total_seconds() if due else 0)
            if len(due) < self._batch_size_max:
                await self._clock.sleep(self._poll_s)
