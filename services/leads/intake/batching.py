"""Natural micro-batching: what arrives while a transaction runs shares the next one. Nobody waits for company."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from breakwater.chassis.errors import BreakwaterError, OverloadedError, UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much is taken together, and how much may wait."""

    size_max: int = 64
    waiting_max: int = 1_000


class Batcher(Generic[Item, Result]):
    """Hands items to `work` in batches, one batch at a time.

    `work` gives a result or an expected failure for each item. When a batch fails as a whole, its items are tried one
    by one, so that none pays for another; unless the database is out, which would fail them all.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[list[Result | BreakwaterError]]],
        limits: BatchLimits | None = None,
    ) -> None:
        self._work = work
        self._limits = limits or BatchLimits()
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """The item's result; raises its failure, or OverloadedError when too many wait."""
        if len(self._waiting) >= self._limits.waiting_max:
            # Push-back of the service, and nobody's quota: the caller's policy may come again, and its circuit stays closed.
            raise OverloadedError(f"More than {self._limits.waiting_max} requests wait.", retry_after_s=RETRY_AFTER_S)
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        self._arrived.set()
        return await result

    async def run(self) -> None:
        """Works until cancelled; whoever still waits then is told so."""
        try:
            while True:
                await self._arrived.wait()
                await self._next_batch()
                if not self._waiting:
                    self._arrived.clear()
        finally:
            for _, result in self._waiting:
                _fail(result, UnavailableError("The service is shutting down.", retry_after_s=RETRY_AFTER_S))
            self._waiting.clear()

    async def _next_batch(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._limits.size_max:
            item, result = self._waiting.popleft()
            # Whose caller has gone away or run out of time is not begun.
            if not result.done():
                batch.append((item, result))
        if not batch:
            return
        try:
            await self._together(batch)
        except asyncio.CancelledError:
            for _, result in batch:
                _fail(result, UnavailableError("The service is shutting down.", retry_after_s=RETRY_AFTER_S))
            raise

    async def _together(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            outcomes = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - reaches the callers: as theirs, or after a try of their own
            if len(batch) == 1 or (isinstance(error, UnavailableError) and error.code != "transaction_conflict"):
                for _, result in batch:
                    _fail(result, error)
                return
            for pair in batch:
                await self._together([pair])
            return
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BreakwaterError):
                _fail(result, outcome)
            elif not result.done():
                result.set_result(outcome)


def _fail(result: "asyncio.Future[Result]", error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
