"""Attempt timeouts at a fraction of `asyncio.timeout`'s cost, with its rules about cancellation."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from breakwater.resilience._clock import Clock

# uvloop rounds timers to a millisecond: an alarm this close is due.
_SLACK_S: Final = 0.001
# What was told to stop may clean up for as long, then it is told again: a cancellation can get lost on its way, swallowed
# by what the attempt awaits, and the attempt would go on for ever.
_AGAIN_S: Final = 0.5


class Timer(Protocol):
    """What `call_later` gives."""

    def cancel(self) -> object: ...


CallLater = Callable[[float, Callable[[], object]], Timer]


def call_later_on(clock: Clock) -> CallLater:
    """The timers of a clock that has its own, as a virtual one must; otherwise those of the running event loop."""
    own: CallLater | None = getattr(clock, "call_later", None)
    return own or (lambda delay_s, callback: asyncio.get_running_loop().call_later(delay_s, callback))


class Alarm:
    """Cancels the task of one attempt when its time is over."""

    __slots__ = ("_cancelling", "_task", "due_s", "rings", "timer")

    def __init__(self, task: "asyncio.Task[object]", due_s: float) -> None:
        self._task = task
        # Requests to cancel the task that came before us are not ours to answer.
        self._cancelling = task.cancelling()
        self.due_s = due_s
        self.rings = 0
        self.timer: Timer | None = None

    def ring(self) -> None:
        self.rings += 1
        self._task.cancel()

    def answered(self) -> bool:
        """Takes back our own requests to cancel; False where somebody else wants the task cancelled too."""
        for _ in range(self.rings):
            self._task.uncancel()
        return self._task.cancelling() <= self._cancelling


class Alarms:
    """The alarms of one policy.

    Attempts with the full timeout end in the order they start, so the oldest one's timer is enough for all: setting
    an alarm is one entry in a dict. An attempt shortened by its deadline has a timer of its own.
    """

    def __init__(self, timeout_s: float, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._monotonic = clock.monotonic
        self._call_later = call_later_on(clock)
        self._waiting: dict[Alarm, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop our timer runs on; None while there is no timer."""

    def set(self, now_s: float, timeout_s: float) -> Alarm:
        """An alarm for the current task, `timeout_s` from now."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a policy's call runs inside a task")
        alarm = Alarm(task, now_s + timeout_s)
        if timeout_s < self._timeout_s:
            alarm.timer = self._call_later(timeout_s, lambda: self._ring(alarm))
        else:
            self._waiting[alarm] = None
            if self._loop is not loop:
                self._arm(loop, timeout_s)
        return alarm

    def clear(self, alarm: Alarm) -> None:
        """The attempt is over."""
        if alarm.timer is None:
            self._waiting.pop(alarm, None)
        else:
            alarm.timer.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
        self._loop = loop
        self._call_later(delay_s, self._ring_due)

    def _ring_due(self) -> None:
        loop, self._loop = self._loop, None
        now_s = self._monotonic()
        while self._waiting:
            alarm = next(iter(self._waiting))
            if alarm.due_s > now_s + _SLACK_S:
                if loop is not None:
                    self._arm(loop, alarm.due_s - now_s)
                return
            del self._waiting[alarm]
            self._ring(alarm)

    def _ring(self, alarm: Alarm) -> None:
        """Rings, and goes on ringing until the attempt is over."""
        alarm.timer = self._call_later(_AGAIN_S, lambda: self._ring(alarm))
        alarm.ring()
