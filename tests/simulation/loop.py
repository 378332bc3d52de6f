"""A small deterministic event loop: the policies run on it unmodified, and a schedule costs milliseconds.

asyncio's own loop selects on sockets each turn and must be given idle turns until nothing moves any more. This one has
nothing but tasks and timers: `run_ready` runs until all wait for time, `next_moment` jumps to the next timer.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

_TURNS_MAX: Final = 100_000
"""More steps than this without time passing are a livelock."""


class Owner(Protocol):
    """Whose timers these are; those of a crashed process never fire."""

    alive: bool


class Timer:
    """What `call_later` gives."""

    __slots__ = ("callback", "label", "owner")

    def __init__(self, callback: Callable[[], object], label: int, owner: Owner | None) -> None:
        self.callback: Callable[[], object] | None = callback
        self.label = label
        self.owner = owner

    def cancel(self) -> None:
        self.callback = None


class SimulationLoop(asyncio.AbstractEventLoop):
    """Ready callbacks in order of arrival, timers in order of time and then of arrival."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.errors: list[dict[str, Any]] = []
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...], Context | None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = 0

    def get_debug(self) -> bool:
        return False

    def time(self) -> float:
        return self.now_s

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **_: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coroutine, loop=self)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> None:  # type: ignore[override]
        """Gives no handle: neither tasks nor futures ask for one."""
        self._ready.append((callback, args, context))

    def call_later(  # type: ignore[override]
        self, delay_s: float, callback: Callable[[], object], label: int = -1, owner: Owner | None = None
    ) -> Timer:
        timer = Timer(callback, label, owner)
        self._order += 1
        heapq.heappush(self._timers, (self.now_s + delay_s, self._order, timer))
        return timer

    def run_ready(self) -> None:
        """Runs every task until it waits for time or for another."""
        ready, turns = self._ready, 0
        while ready:
            callback, args, context = ready.popleft()
            if context is None:
                callback(*args)
            else:
                context.run(callback, *args)
            turns += 1
            if turns > _TURNS_MAX:
                raise RuntimeError("tasks run on and on without time passing")

    def next_moment(self, until_s: float) -> list[Timer]:
        """Moves time to the next moment with live timers due, at most to `until_s`, and takes them off."""
        timers, due = self._timers, []
        while timers and timers[0][0] <= until_s:
            at_s = timers[0][0]
            while timers and timers[0][0] == at_s:
                timer = heapq.heappop(timers)[2]
                if timer.callback is not None and (timer.owner is None or timer.owner.alive):
                    due.append(timer)
            if due:
                self.now_s = max(self.now_s, at_s)
                return due
        self.now_s = max(self.now_s, until_s)
        return due

    def advance(self, duration_s: float) -> None:
        """Moves time on by `duration_s`, letting the tasks of each moment run together."""
        until_s = self.now_s + duration_s
        self.run_ready()
        while due := self.next_moment(until_s):
            for timer in due:
                if timer.callback is not None:
                    timer.callback()
            self.run_ready()

    def next_timer_s(self) -> float | None:
        """When the next live timer is due."""
        timers = self._timers
        while timers:
            timer = timers[0][2]
            if timer.callback is not None and (timer.owner is None or timer.owner.alive):
                return timers[0][0]
            heapq.heappop(timers)
        return None

    @contextmanager
    def running(self) -> Iterator["SimulationLoop"]:
        """Makes this the running loop of the block."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield self
        finally:
            events._set_running_loop(before)


class LoopClock:
    """The clocks of one process on the loop: a monotonic one from an origin of its own, a wall clock that may jump."""

    def __init__(self, loop: SimulationLoop, *, origin_s: float = 0.0) -> None:
        self.loop = loop
        self.origin_s = origin_s
        self.wall_offset_s = 0.0

    def monotonic(self) -> float:
        return self.loop.now_s + self.origin_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.now_s + self.wall_offset_s)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        return self.loop.call_later(delay_s, callback)

    async def sleep(self, duration_s: float, /) -> None:
        await self.wake_after(duration_s)

    def wake_after(self, duration_s: float, label: int = -1, owner: Owner | None = None) -> "_Wake":
        return _Wake(self.loop, duration_s, label, owner)


class _Wake:
    """Awaitable once: done after `duration_s`; a cancelled waiter takes its timer with it."""

    __slots__ = ("_future", "_timer")

    def __init__(self, loop: SimulationLoop, duration_s: float, label: int, owner: Owner | None) -> None:
        self._future: asyncio.Future[None] = asyncio.Future(loop=loop)
        self._timer = loop.call_later(duration_s, self._ring, label, owner)

    def _ring(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Iterator[Any]:
        try:
            yield from self._future
        finally:
            self._timer.callback = None


START: Final = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
