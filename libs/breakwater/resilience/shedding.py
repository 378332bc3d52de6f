"""Who is let in when not everybody can be: the server's side of overload, for any transport.

After Google's criticality and WeChat's DAGOR: the less urgent is refused first, by chance, and never all of it.
"""

import random
from contextvars import ContextVar
from enum import StrEnum
from typing import Final

from breakwater.resilience._clock import Clock, SystemClock
from breakwater.resilience._limit import AdaptiveLimit, Work


class Priority(StrEnum):
    """How urgent a request is; it travels with the request to everything it causes."""

    OPS = "ops"
    """On-call and the platform itself: never shed for load; bounded by slots of its own."""
    INTERACTIVE = "interactive"
    """Somebody waits."""
    BATCH = "batch"
    """Imports, exports, background work: can wait."""


current_priority: ContextVar[Priority] = ContextVar("current_priority", default=Priority.BATCH)
"""The priority of the request this task works for; what no request asked for is batch."""

SHED_SHARE_MAX: Final = 0.98
"""Of no class is more refused while there is any room at all: the rest finds out when it gets better."""
RETRY_AFTER_S: Final[dict[Priority, float]] = {Priority.OPS: 0.5, Priority.INTERACTIVE: 0.5, Priority.BATCH: 2.0}
"""Told to the refused, jittered by half so that they do not return together."""

# The share of the limit in use at which a class begins to be shed, and at which SHED_SHARE_MAX of it is.
_RAMP: Final[dict[Priority, tuple[float, float]]] = {Priority.INTERACTIVE: (0.9, 1.0), Priority.BATCH: (0.5, 0.9)}


class Limiter:
    """The slots of one server. `enter` before the work, `leave` after it; neither waits.

    Belongs to one event loop. `ceiling` bounds what is in flight whatever happens, ops apart, which has `ops_max` slots
    of its own; streams have `streams_max`, for they hold a slot long and say nothing by their length. Adaptive, the
    limit moves between `floor` and `ceiling`; else it is `ceiling`.
    """

    __slots__ = (
        "_adaptive",
        "_clear",
        "_monotonic",
        "_refusing",
        "_rng",
        "_works",
        "ceiling",
        "in_flight",
        "limit",
        "ops_in_flight",
        "ops_max",
        "shed",
        "streams_in_flight",
        "streams_max",
    )

    def __init__(
        self,
        *,
        ceiling: int,
        floor: int = 4,
        start: int = 32,
        ops_max: int = 32,
        streams_max: int = 64,
        adaptive: bool = True,
        ratio_max: float = 1.2,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`start` is the first limit, `ratio_max` how much longer than unhindered work may take before the limit falls.

        Raises `ValueError` for limits that contradict each other.
        """
        if not 1 <= floor <= ceiling or ops_max < 1 or streams_max < 1 or ratio_max < 1:
            raise ValueError("must hold: 1 <= floor <= ceiling, ops_max >= 1, streams_max >= 1, ratio_max >= 1")
        self._monotonic = (clock or SystemClock()).monotonic
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self.ceiling = ceiling
        self.ops_max = ops_max
        self.streams_max = streams_max
        self.in_flight = self.ops_in_flight = self.streams_in_flight = 0
        self.shed = dict.fromkeys(Priority, 0)
        """Refused since the start."""
        self._refusing = False
        self._works: dict[str, Work] = {}
        self._adaptive: AdaptiveLimit | None = None
        if adaptive:
            self._adaptive = AdaptiveLimit(
                floor=floor, start=start, ceiling=ceiling, ratio_max=ratio_max, now_s=self._monotonic(), rng=self._rng
            )
        self._move(float(ceiling) if self._adaptive is None else self._adaptive.value)

    def enter(self, priority: Priority) -> float | None:
        """Takes a slot and answers None; or, refused, the seconds after which to try again."""
        if priority is Priority.OPS:
            if self.ops_in_flight >= self.ops_max:
                return self._refuse(priority)
            self.ops_in_flight += 1
            return None
        if self.in_flight >= self._clear[priority] and (
            self.in_flight >= self.ceiling or self._rng.random() < self._share_shed(priority)
        ):
            return self._refuse(priority)
        self.in_flight += 1
        return None

    def leave(self, priority: Priority, kind: str, started_s: float, *, answered: bool) -> None:
        """Gives the slot back.

        `kind` names the work, such as the RPC, out of few: each kind is held against itself. `started_s` is a reading of
        the clock; `answered` says that the work came to its end.
        """
        if priority is Priority.OPS:
            self.ops_in_flight -= 1
            return
        in_flight, self.in_flight = self.in_flight, self.in_flight - 1
        adaptive = self._adaptive
        if adaptive is None:
            return
        work = self._works.get(kind)
        if work is None:
            work = self._works[kind] = Work()
        now_s = self._monotonic()
        if adaptive.note(work, started_s, now_s, in_flight, answered=answered, refusing=self._refusing):
            self._move(adaptive.value)

    def enter_stream(self, priority: Priority) -> float | None:
        """As `enter`, for a stream: shed by the same crowd, counted apart."""
        if priority is Priority.OPS:
            return self.enter(priority)
        crowded = self.in_flight >= self._clear[priority] and self._rng.random() < self._share_shed(priority)
        if crowded or self.streams_in_flight >= self.streams_max:
            return self._refuse(priority)
        self.streams_in_flight += 1
        return None

    def leave_stream(self, priority: Priority) -> None:
        """Gives a stream's slot back."""
        if priority is Priority.OPS:
            self.ops_in_flight -= 1
        else:
            self.streams_in_flight -= 1

    def _share_shed(self, priority: Priority) -> float:
        begins, full = _RAMP[priority]
        used = self.in_flight / self.limit
        return SHED_SHARE_MAX * min(1.0, (used - begins) / (full - begins))

    def _refuse(self, priority: Priority) -> float:
        self._refusing = True
        self.shed[priority] += 1
        return RETRY_AFTER_S[priority] * self._rng.uniform(0.5, 1.5)

    def _move(self, limit: float) -> None:
        self.limit = limit
        self._refusing = False
        self._clear = {priority: begins * limit for priority, (begins, _) in _RAMP.items()}
