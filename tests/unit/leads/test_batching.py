"""Creations share transactions, and none pays for another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from breakwater.chassis.errors import BreakwaterError, ConflictError, OverloadedError, UnavailableError
from services.leads.intake.batching import Batcher, BatchLimits


class Work:
    """Doubles numbers; `refuse` fails alone, `poison` fails whatever it is in, `out` is a database that is down."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse = self.poison = -1
        self.out = False

    async def __call__(self, items: Sequence[int]) -> list[int | BreakwaterError]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.out:
            raise UnavailableError("out")
        if self.poison in items:
            raise RuntimeError("poison")
        return [ConflictError("refused") if item == self.refuse else 2 * item for item in items]


@asynccontextmanager
async def running(work: Work, limits: BatchLimits | None = None) -> AsyncIterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(work, limits)
    task = asyncio.create_task(batcher.run())
    yield batcher
    task.cancel()
    await asyncio.wait([task])


async def test_what_arrives_while_one_runs_shares_the_next() -> None:
    """The first goes at once and alone; those behind it go together, in order, at most the limit."""
    work = Work()
    work.gate.clear()
    async with running(work, BatchLimits(size_max=3)) as batcher:
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(batcher.submit(item)) for item in range(1, 6)]
        await asyncio.sleep(0)
        work.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]


async def test_a_refusal_is_the_refused_ones_alone() -> None:
    """One reused key does not fail its neighbours."""
    work = Work()
    work.refuse = 2
    async with running(work) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in range(4)), return_exceptions=True)
    assert [result if isinstance(result, int) else type(result) for result in results] == [0, 2, ConflictError, 6]


async def test_a_poisoned_batch_is_tried_one_by_one() -> None:
    """Only the poison fails."""
    work = Work()
    work.poison = 2
    async with running(work) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in range(4)), return_exceptions=True)
    assert [result if isinstance(result, int) else type(result) for result in results] == [0, 2, RuntimeError, 6]


async def test_a_database_that_is_out_is_asked_once() -> None:
    """64 tries of a dead database would be 64 time-outs."""
    work = Work()
    work.out = True
    async with running(work) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in range(4)), return_exceptions=True)
    assert {type(result) for result in results} == {UnavailableError}
    assert len(work.batches) == 1


async def test_who_went_away_is_not_begun() -> None:
    """A caller past its deadline costs no transaction."""
    work = Work()
    work.gate.clear()
    async with running(work) as batcher:
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone, stays = (asyncio.create_task(batcher.submit(item)) for item in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        work.gate.set()
        assert await asyncio.gather(first, stays) == [0, 4]
    assert work.batches == [[0], [2]]


async def test_too_many_waiting_is_refused_at_once() -> None:
    """Back-pressure is an answer, not a wait, and says whose limit it is: the service's, not the caller's quota."""
    batcher: Batcher[int, int] = Batcher(Work(), BatchLimits(waiting_max=1))
    waiting = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await batcher.submit(1)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after_s
    waiting.cancel()


async def test_stopping_tells_everybody() -> None:
    """Who is in a batch and who waits for the next both learn that we shut down."""
    work = Work()
    work.gate.clear()
    async with running(work) as batcher:
        running_one = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting_one = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
    results = await asyncio.gather(running_one, waiting_one, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError, UnavailableError]
