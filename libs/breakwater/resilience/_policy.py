"""One policy guards one caller -> dependency edge."""

import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from breakwater.resilience._clock import Clock, SystemClock
from breakwater.resilience._deadline import Deadline
from breakwater.resilience._outcome import Classify, classify_by_type
from breakwater.resilience._override import Override
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._snapshot import EdgeSnapshot, Transition

T = TypeVar("T")
Listener = Callable[[Transition], None]


class Policy:
    """Guards every call of one edge."""

    def __init__(
        self,
        settings: PolicySettings,
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        listener: Listener | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()

    async def call(
        self,
        attempt: Callable[[float], Awaitable[T]],
        *,
        deadline: Deadline | None = None,
        retryable: bool = False,
        fallback: Callable[[Exception], Awaitable[T]] | None = None,
    ) -> T:
        """Makes the call; `attempt` is given its timeout in seconds."""
        raise NotImplementedError

    def admit(self, *, deadline: Deadline | None = None) -> "Admission":
        """Guards work whose body is the caller's: `async with policy.admit() as admission:`."""
        raise NotImplementedError

    def apply(self, override: Override | None) -> None:
        """Sets or ends the override of this edge."""
        raise NotImplementedError

    def snapshot(self) -> EdgeSnapshot:
        """Every figure of the edge."""
        raise NotImplementedError


class Admission:
    """One admitted stream or transaction: its outcome is told by how its `async with` block ends."""

    timeout_s: float
    """What the body may take: the deadline's rest, at most `stream_s_max`. The transport keeps it."""

    def answered(self) -> None:
        """The first message came: the time until now is the latency of this call. Later calls change nothing."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError
