"""Retries. tenacity drives them and is entered only after a first attempt failed: it costs some 33 us a call."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import tenacity

from breakwater.resilience._budget import RetryBudget
from breakwater.resilience._clock import Clock
from breakwater.resilience._deadline import Deadline
from breakwater.resilience._outcome import RETRIED, Outcome
from breakwater.resilience._settings import PolicySettings

T = TypeVar("T")


class TestMode:
    """Set by `testing.no_backoff()`, read before each wait."""

    backoff = True


@contextmanager
def no_backoff() -> Iterator[None]:
    """Inside the block retries follow at once; attempts, budget and deadline stay as they are."""
    before, TestMode.backoff = TestMode.backoff, False
    try:
        yield
    finally:
        TestMode.backoff = before


class Retrier:
    """Decides whether, when and how often a failed call is tried again."""

    def __init__(
        self,
        settings: PolicySettings,
        budget: RetryBudget,
        clock: Clock,
        rng: random.Random,
        outcome_of: Callable[[BaseException], Outcome],
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._clock = clock
        self._rng = rng
        self._outcome_of = outcome_of

    def reconfigure(self, settings: PolicySettings) -> None:
        """Other limits from the next failed call on."""
        self._settings = settings

    def worth_it(self, error: Exception) -> bool:
        """False where tenacity would give up at once; a rejection by bulkhead or breaker is never retried."""
        return (
            self._settings.attempts_max > 1
            and self._outcome_of(error) in RETRIED
            and self._budget.holds_one(self._clock.monotonic())
        )

    async def run(self, first: Exception, attempt: Callable[[], Awaitable[T]], deadline: Deadline | None) -> T:
        """Tries `attempt` again after the first one raised `first`; raises the error of the last try."""
        start_by_s = self._clock.monotonic() + self._settings.retry_s_max
        failures = [first]

        async def replay_then_attempt() -> T:
            # tenacity counts and waits from the failure that has already happened.
            if failures:
                raise failures.pop()
            return await attempt()

        def stop(state: tenacity.RetryCallState) -> bool:
            wait_s = state.upcoming_sleep
            now_s = self._clock.monotonic()
            return (
                state.attempt_number >= self._settings.attempts_max
                or now_s + wait_s > start_by_s
                or (deadline is not None and deadline.remaining_s() <= wait_s)
                # Asked last, and taken before the wait: what waits has been paid for.
                or not self._budget.spend(now_s)
            )

        retrying = tenacity.AsyncRetrying(
            sleep=self._clock.sleep,
            wait=self._wait_s,
            stop=stop,
            retry=tenacity.retry_if_exception(lambda error: self._outcome_of(error) in RETRIED),
            reraise=True,
        )
        return await retrying(replay_then_attempt)

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        if not TestMode.backoff:
            return 0.0
        ceiling_s = min(self._settings.backoff_s * 2.0 ** (state.attempt_number - 1), self._settings.backoff_s_max)
        error = state.outcome.exception() if state.outcome else None
        return self._rng.uniform(0.0, ceiling_s) + (retry_after_s(error) or 0.0)


def retry_after_s(error: BaseException | None) -> float | None:
    """The seconds a server asked us to stay away: any error may carry them under this name."""
    value = getattr(error, "retry_after_s", None)
    return value if isinstance(value, int | float) and value > 0 else None
