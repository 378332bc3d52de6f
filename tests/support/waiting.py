"""Waiting on a condition, with a bound, instead of sleeping."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(what: str, probe: Callable[[], T | Awaitable[T]], within_s: float = 10.0, every_s: float = 0.02) -> T:
    """The first true answer of `probe`; fails, naming `what` and the last answer, when there is none in time."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while True:
        found = probe()
        last: T = await found if isinstance(found, Awaitable) else found
        if last:
            return last
        if loop.time() > end_s:
            raise AssertionError(f"not within {within_s} s: {what}; last seen: {last!r}")
        await asyncio.sleep(every_s)
