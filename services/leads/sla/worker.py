"""Fires first-touch timers as they come due; any number of replicas may."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from breakwater.chassis.clock import Clock
from breakwater.chassis.metrics import TIMER_DELAY, TIMER_LAG, BacklogGauge
from services.leads.sla.usecases import TimerStore, fire_due_timers


class FirstTouchWorker:
    """Looks every `poll_s` seconds, and at once while there is more than `batch_size_max`."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[TimerStore]],
        clock: Clock,
        *,
        poll_s: float,
        batch_size_max: int,
    ) -> None:
        self._begin = begin
        self._clock = clock
        self._poll_s = poll_s
        self._batch_size_max = batch_size_max
        self._lag = BacklogGauge(TIMER_LAG, "leads", "first-touch")
        self._delay = TIMER_DELAY.labels("leads", "first-touch")

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            now = self._clock.now()
            fired = await fire_due_timers(self._begin, now=now, limit=self._batch_size_max)
            for timer in fired:
                self._delay.observe((now - timer.due_at).total_seconds())
            self._lag.set((now - fired[0].due_at).total_seconds() if fired else 0)
            if len(fired) < self._batch_size_max:
                await self._clock.sleep(self._poll_s)
