"""The rolling window: a ring of buckets, so that recording one result costs the same at any rate and window length."""

from collections.abc import Iterable, Iterator
from math import frexp, inf, ldexp
from typing import Final

from breakwater.resilience._outcome import Outcome

BUCKETS: Final = 40

# Latency cells: eight to an octave (at most 12.5 % apart) from 15 us to 128 s, with one below and one above.
_PER_OCTAVE: Final = 8
_LOWEST_EXPONENT: Final = -16
_HIGHEST_EXPONENT: Final = 7
_LOWEST_S: Final = ldexp(1.0, _LOWEST_EXPONENT)
_OFFSET: Final = 1 - _PER_OCTAVE - _PER_OCTAVE * (_LOWEST_EXPONENT + 1)
_LAST: Final = 1 + _PER_OCTAVE * (_HIGHEST_EXPONENT - _LOWEST_EXPONENT)
CELLS: Final = _LAST + 1
_OCTAVE_ENDS: Final = (*range(_PER_OCTAVE * 5, _LAST - _PER_OCTAVE, _PER_OCTAVE), _LAST)

Cells = dict[int, int]
"""Results by cell; latencies of one edge lie close together, so few of the cells are ever used."""


def cell_of(latency_s: float) -> int:
    """The cell that counts `latency_s`; the mantissa of the float finds it without a logarithm."""
    if latency_s <= _LOWEST_S:
        return 0
    mantissa, exponent = frexp(latency_s)
    return min(int(mantissa * 2 * _PER_OCTAVE) + exponent * _PER_OCTAVE + _OFFSET, _LAST)


def cell_bounds_s(cell: int) -> tuple[float, float]:
    """From and to, in seconds; the last cell ends at infinity."""
    if cell == 0:
        return 0.0, _LOWEST_S
    if cell == _LAST:
        return ldexp(1.0, _HIGHEST_EXPONENT), inf
    octave, step = divmod(cell - 1, _PER_OCTAVE)
    start_s = ldexp(1.0, _LOWEST_EXPONENT + octave)
    width_s = start_s / _PER_OCTAVE
    return start_s + step * width_s, start_s + (step + 1) * width_s


class Bucket:
    """What happened in one slice of time."""

    __slots__ = (
        "cells",
        "failed",
        "fallbacks",
        "injected",
        "judged",
        "latency_s_sum",
        "number",
        "outcomes",
        "rescued",
        "retries",
        "slow",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.outcomes: dict[Outcome, int] = {}
        self.cells: Cells = {}
        self.latency_s_sum = 0.0
        self.retries = 0
        self.rescued = 0
        self.fallbacks = 0
        self.injected = 0
        self.forget()

    def forget(self) -> None:
        """Clears what the breaker judges by; the figures stay."""
        self.judged = 0
        self.failed = 0
        self.slow = 0

    def count(self, outcome: Outcome) -> None:
        """One more attempt came to `outcome`."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def how_many(self, outcomes: Iterable[Outcome]) -> int:
        return sum(self.outcomes.get(outcome, 0) for outcome in outcomes)

    def add(self, other: "Bucket") -> None:
        """Adds the figures of `other`."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for cell, count in other.cells.items():
            self.cells[cell] = self.cells.get(cell, 0) + count
        self.latency_s_sum += other.latency_s_sum
        self.retries += other.retries
        self.rescued += other.rescued
        self.fallbacks += other.fallbacks
        self.injected += other.injected


class Window:
    """The last `window_s` seconds in `BUCKETS` slices, and the sum of all that was before."""

    def __init__(self, window_s: float, now_s: float) -> None:
        self._width_s = window_s / BUCKETS
        self._started_s = now_s
        number = self._number(now_s)
        self._ring = [Bucket(number - BUCKETS) for _ in range(BUCKETS)]
        self._past = Bucket(number)
        self.newest = self._ring[0]
        self.end_s = now_s
        self._turn(now_s)

    def bucket(self, now_s: float) -> Bucket:
        """The bucket that counts what happens now."""
        return self.newest if now_s < self.end_s else self._turn(now_s)

    def recent(self, now_s: float, enough: int) -> tuple[int, int, int]:
        """(judged, failed, slow) of the newest buckets that hold `enough` results, or of the whole window."""
        judged = failed = slow = 0
        number = self._number(now_s)
        for step in range(BUCKETS):
            bucket = self._ring[(number - step) % BUCKETS]
            if bucket.number != number - step:
                continue
            judged += bucket.judged
            failed += bucket.failed
            slow += bucket.slow
            if judged >= enough:
                break
        return judged, failed, slow

    def forget(self) -> None:
        """The breaker starts judging anew; the figures stay."""
        for bucket in self._ring:
            bucket.forget()

    def rolling(self, now_s: float) -> Bucket:
        """The figures of the window, summed into a bucket of its own."""
        number = self._number(now_s)
        total = Bucket(number)
        for bucket in self._ring:
            if number - BUCKETS < bucket.number <= number:
                total.add(bucket)
        return total

    def all_time(self) -> Bucket:
        """The figures since the start, summed into a bucket of its own."""
        total = Bucket(self._past.number)
        total.add(self._past)
        for bucket in self._ring:
            total.add(bucket)
        return total

    def resized(self, window_s: float, now_s: float) -> "Window":
        """A window of another length: it begins anew, and what was before stays in the sum since the start."""
        window = Window(window_s, now_s)
        window._past = self.all_time()
        return window

    def span_s(self, now_s: float) -> float:
        """The time that `rolling` covers; at least one slice, so that a rate over it is never absurd."""
        covered_s = now_s - (self._number(now_s) - BUCKETS + 1) * self._width_s
        return max(min(covered_s, now_s - self._started_s), self._width_s)

    def _number(self, now_s: float) -> int:
        return int(now_s // self._width_s)

    def _turn(self, now_s: float) -> Bucket:
        number = self._number(now_s)
        slot = number % BUCKETS
        # A reading of the clock may round into the slice that just ended: only a new number starts a new bucket.
        if self._ring[slot].number != number:
            self._past.add(self._ring[slot])
            self._ring[slot] = Bucket(number)
        self.newest = self._ring[slot]
        self.end_s = (number + 1) * self._width_s
        return self.newest


def percentile_ms(cells: Cells, share: float) -> float | None:
    """The latency in milliseconds that `share` of the results stay within, interpolated inside its cell."""
    wanted = share * sum(cells.values())
    below = 0
    for cell, count in sorted(cells.items()):
        if below + count >= wanted:
            start_s, end_s = cell_bounds_s(cell)
            return 1000 * (start_s if end_s == inf else start_s + (end_s - start_s) * (wanted - below) / count)
        below += count
    return None


def slower_than(cells: Cells, limit_s: float) -> int:
    """Results in the cell of `limit_s` and above."""
    first = cell_of(limit_s)
    return sum(count for cell, count in cells.items() if cell >= first)


def cumulative(cells: Cells) -> Iterator[tuple[float, int]]:
    """(upper bound in seconds, results within it) for each octave from half a millisecond to 64 s, then infinity."""
    within, counted = 0, 0
    for end in _OCTAVE_ENDS:
        within += sum(cells.get(cell, 0) for cell in range(counted, end + 1))
        counted = end + 1
        yield cell_bounds_s(end)[1], within
