"""A deadline is end to end: set where a request enters, inherited by everything it causes, never carried by events."""

from contextvars import ContextVar
from typing import Final, Self

from breakwater.resilience._clock import Clock, SystemClock

_SYSTEM: Final = SystemClock()


class Deadline:
    """The moment after which nobody waits for the answer any more."""

    __slots__ = ("_expires_at_s", "_monotonic")

    def __init__(self, expires_at_s: float, clock: Clock = _SYSTEM) -> None:
        """`expires_at_s` is a reading of `clock.monotonic()`."""
        self._expires_at_s = expires_at_s
        self._monotonic = clock.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = _SYSTEM) -> Self:
        """`seconds` from now on `clock`, which must be the clock of the policies that read it."""
        return cls(clock.monotonic() + seconds, clock)

    def remaining_s(self) -> float:
        """Seconds left; zero or negative once it has passed."""
        return self._expires_at_s - self._monotonic()

    @property
    def expired(self) -> bool:
        return self.remaining_s() <= 0

    def __repr__(self) -> str:
        return f"Deadline(remaining_s={self.remaining_s():.3f})"


current_deadline: ContextVar[Deadline | None] = ContextVar("current_deadline", default=None)
"""The deadline of the request this task works for; a policy obeys it when it is given none of its own."""
