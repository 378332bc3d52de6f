"""The two clocks of scoring: soon after a signal, and nightly."""

import asyncio

from breakwater.chassis.clock import Clock
from breakwater.chassis.metrics import TIMER_DELAY
from services.health.scoring.usecases import Scoring

# Signals come in crowds: a round waits so long for the rest of its crowd, which costs one transaction instead of many.
GATHER_S = 0.25
# How long a change of another replica, or of before a restart, may wait for its score.
POLL_S = 1.0


class ScoringRunner:
    """Scores whatever is due until cancelled; `wake` cuts the wait short."""

    def __init__(self, scoring: Scoring, clock: Clock) -> None:
        self._scoring = scoring
        self._clock = clock
        self._woken = asyncio.Event()
        self._delay = TIMER_DELAY.labels("health", "rescore")

    def wake(self) -> None:
        """Called when a transaction left customers to be scored."""
        self._woken.set()

    async def run(self) -> None:
        """`service.background("scoring", runner.run)`."""
        while True:
            await self._clock.sleep(GATHER_S)
            self._woken.clear()
            await self._scoring.start_nightly()
            while waited := await self._scoring.score_due():
                for delay_s in waited:
                    self._delay.observe(delay_s)
            await self._wait()

    async def _wait(self) -> None:
        waits = [asyncio.create_task(self._woken.wait()), asyncio.create_task(self._pause())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _pause(self) -> bool:
        await self._clock.sleep(POLL_S)
        return True
