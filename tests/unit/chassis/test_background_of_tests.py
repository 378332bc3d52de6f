"""What tests run beside themselves ends with them."""

import asyncio
from contextlib import suppress

from tests.support import background


async def test_work_that_forgets_a_cancellation_is_told_again(monkeypatch):
    """As wait_for of Python 3.11 does when the answer comes at the same moment: no test hangs for it."""
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(60):
        async with background.running(work()):
            await begun.wait()
    assert ended.is_set()
