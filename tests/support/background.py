"""Background work during a test, and its sudden death at a named point."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

AGAIN_S = 5.0


class Killed(BaseException):
    """Stands for kill -9: what comes after the point never runs."""


def killed_at(point: str, times: int = 1) -> Callable[[str], None]:
    """A checkpoint that kills at `point`, the first `times` it is reached."""
    left = times

    def checkpoint(name: str) -> None:
        nonlocal left
        if name == point and left:
            left -= 1
            raise Killed(name)

    return checkpoint


async def supervised(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Starts `work` anew whenever it is killed, as a supervisor does."""
    while True:
        try:
            await work()
        except Killed:
            continue


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `works` during the block; a failure of theirs is the test's."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        left = set(tasks)
        # wait_for of Python 3.11 forgets a cancellation that comes at one moment with its result: such a work is told again.
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=AGAIN_S)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
