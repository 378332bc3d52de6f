"""How many requests at a time: found by watching how much longer the work takes than it does unhindered.

After Netflix's concurrency-limits (gradient2) and Envoy's adaptive concurrency, with two differences. Each kind of work
is held against itself, so a change of the mix is not taken for congestion; and the unhindered latency is read in calm
times for nothing: only a limiter that refuses already, and has for long, lowers its limit to measure it anew.
"""

import random
from collections import deque
from math import sqrt
from typing import Final, NamedTuple

WINDOW_S: Final = 0.2
"""The limit moves this often at most; slow work makes it longer, to two latencies."""
WINDOW_S_MAX: Final = 10.0
SAMPLES_MIN: Final = 10
"""Fewer finished calls say nothing; the window stays open for more."""
GRADIENT_MIN: Final = 0.5
"""The limit falls by half at most in one window."""
REMEASURE_S: Final = 15.0
"""A limiter that refuses without a calm moment measures this often, jittered by half: replicas do so apart."""
REMEASURE_LATENCIES: Final = 50
"""But not more often than every so many latencies, for measuring takes three."""

# The baseline follows faster down than up: what was quick once can be quick again, and noise averages out. In a crowd
# it never goes up, or queueing would be learned as normal.
_DOWN: Final = 0.25
_UP_CALM: Final = 0.05
DOUBT: Final = 3.0
"""A measurement of n calls is believed by n / (n + this)."""

# A queue's latency falls with the number in it. Where so many fewer get no better service the limit is not to blame.
_FEWER: Final = 0.6
_NO_BETTER: Final = 0.8
DESCENT_MAX: Final = 16
"""Windows on the way down that are remembered; from any ceiling to any floor it takes fewer."""


class Work:
    """One kind of work, such as an RPC: its latency unhindered, and in the present window."""

    __slots__ = ("baseline_s", "count", "latency_s_sum")

    def __init__(self) -> None:
        self.baseline_s = 0.0
        """0 until the first window."""
        self.count = 0
        self.latency_s_sum = 0.0

    def mean_s(self) -> float:
        return self.latency_s_sum / self.count

    def ratio(self) -> float:
        """How much longer than unhindered it takes in this window, the first of which says what unhindered is."""
        if not self.baseline_s:
            self.baseline_s = self.mean_s()
        return self.mean_s() / self.baseline_s if self.baseline_s else 1.0


class _Crowd(NamedTuple):
    """A window in which it was too many."""

    limit: float
    peak: int
    ratio: float


class AdaptiveLimit:
    """The limit between `floor` and `ceiling`. `ratio_max` is how much longer work may take than unhindered.

    `value` is public for the hot path, which only reads it.
    """

    __slots__ = (
        "_count",
        "_descent",
        "_ends_s",
        "_known",
        "_measure_s",
        "_measuring",
        "_peak",
        "_rng",
        "_searching",
        "_starts_s",
        "_used",
        "ceiling",
        "floor",
        "ratio",
        "ratio_max",
        "value",
    )

    def __init__(
        self, *, floor: int, start: int, ceiling: int, ratio_max: float, now_s: float, rng: random.Random
    ) -> None:
        self.floor = floor
        self.ceiling = ceiling
        self.ratio_max = ratio_max
        self.value = float(min(max(start, floor), ceiling))
        self.ratio = 1.0
        """Of the last window: 1 is unhindered."""
        self._rng = rng
        # It doubles until it has once been too high.
        self._searching = True
        # Started into a crowd it knows no unhindered latency at all: the first measurement is at the floor, and at once.
        self._known = False
        self._measuring: float | None = None
        self._starts_s = self._ends_s = self._measure_s = now_s
        self._peak = self._count = 0
        self._used: list[Work] = []
        self._descent: deque[_Crowd] = deque(maxlen=DESCENT_MAX)
        self._open(now_s, 0.0)

    def note(
        self, work: Work, started_s: float, now_s: float, in_flight: int, *, answered: bool, refusing: bool
    ) -> bool:
        """Takes in a call that ended; answers whether the limit moved.

        One that was not answered counts only where it took longer than the answer would have: a timeout is
        congestion, a quick failure says nothing. `refusing`: somebody was refused since the limit last moved.
        """
        # Whoever began under an earlier limit tells of that one.
        if started_s < self._starts_s:
            return False
        self._peak = max(self._peak, in_flight)
        latency_s = now_s - started_s
        if not answered and latency_s <= work.baseline_s:
            return False
        if not work.count:
            self._used.append(work)
        work.count += 1
        work.latency_s_sum += latency_s
        self._count += 1
        if now_s < self._ends_s or self._count < SAMPLES_MIN:
            return False
        self._close(now_s, refusing=refusing)
        return True

    def _close(self, now_s: float, *, refusing: bool) -> None:
        before = self.value
        measuring, self._measuring = self._measuring, None
        self.ratio = self._judge()
        self._searching = self._searching and self.ratio <= self.ratio_max
        if measuring is not None:
            self._measured(measuring, now_s)
        elif self._peak * 2 <= before:
            # Calm: nobody needs more, and the latency was measured for nothing.
            self._drift(_UP_CALM)
            self._postpone(now_s)
        elif refusing and now_s >= self._measure_s:
            self._measuring = before
            self.value = max(float(self.floor), before / 2 if self._known else 0.0)
        elif (crowd := self._larger_crowd()) is not None and self.ratio > _NO_BETTER * crowd.ratio:
            # With so many fewer it takes as long as before: it is not the crowd that is slow, and refusing helps nobody.
            self._measured(crowd.limit, now_s)
        else:
            self._follow_gradient(before)
        # Only what begins after the crowd of the old limit has gone through can tell of the new one.
        self._open(now_s, self._mean_s())

    def _measured(self, limit: float, now_s: float) -> None:
        self._believe()
        self.value = limit
        self._descent.clear()
        self._postpone(now_s)

    def _follow_gradient(self, before: float) -> None:
        self._drift(0.0)
        gradient = max(GRADIENT_MIN, min(1.0, self.ratio_max / self.ratio))
        if gradient < 1:
            self._descent.append(_Crowd(before, self._peak, self.ratio))
        else:
            self._descent.clear()
        room = before if self._searching else max(1.0, sqrt(before) / 2)
        self.value = max(float(self.floor), min(float(self.ceiling), before * gradient + room))

    def _mean_s(self) -> float:
        return sum(work.latency_s_sum for work in self._used) / self._count

    def _judge(self) -> float:
        """The weighted median of how much longer each kind took, so that one slow kind does not speak for all."""
        ratios = sorted((work.ratio(), work.count) for work in self._used)
        half = self._count / 2
        for ratio, count in ratios:
            half -= count
            if half <= 0:
                return ratio
        return 1.0

    def _larger_crowd(self) -> "_Crowd | None":
        """The latest on the way down that was larger by enough to compare with."""
        larger = (crowd for crowd in reversed(self._descent) if self._peak <= _FEWER * crowd.peak)
        return next(larger, None)

    def _drift(self, up: float) -> None:
        """Lets the baselines follow the window, upwards by `up` of the way."""
        for work in self._used:
            gap_s = work.mean_s() - work.baseline_s
            work.baseline_s += gap_s * (_DOWN if gap_s < 0 else up)

    def _believe(self) -> None:
        """Takes the window for unhindered: the more calls it holds, the more of it."""
        for work in self._used:
            work.baseline_s += (work.mean_s() - work.baseline_s) * work.count / (work.count + DOUBT)

    def _open(self, now_s: float, mean_s: float) -> None:
        self._starts_s = now_s + (mean_s if self._used else 0.0)
        self._ends_s = self._starts_s + min(WINDOW_S_MAX, max(WINDOW_S, 2 * mean_s))
        self._peak = self._count = 0
        for work in self._used:
            work.count, work.latency_s_sum = 0, 0.0
        self._used.clear()

    def _postpone(self, now_s: float) -> None:
        self._known = True
        self._measure_s = now_s + max(REMEASURE_S, REMEASURE_LATENCIES * self._mean_s()) * self._rng.uniform(0.5, 1.5)
