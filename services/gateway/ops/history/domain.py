"""What happened on every edge: minutes by the second, a day by ten seconds, in bounded memory. Pure.

Processes tell totals that only grow, so a lost report loses nothing and one that comes twice counts once. A second that
nobody told of is not a second without calls: it stays unknown.
"""

import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from services.gateway.ops.edges.domain import Circuit, Edge, Key, Report, Totals

Pair = tuple[str, str]
"""Caller and dependency; its instances are summed."""

OUTCOMES = (
    "success",
    "caller_fault",
    "failed",
    "timeout",
    "auth",
    "overload",
    "cancelled",
    "rejected",
    "short_circuited",
    "deadline",
)
CELLS = 20
"""Of the latency histogram; what a report has more is counted in the last."""
STATES = (Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED)
POINTS_MAX = 720
"""Of an answer: a screen shows no more, and a day stays quick to send."""

_HEARD = 0
_STATES_AT = 1
_OUTCOMES_AT = _STATES_AT + len(STATES)
_PLACES = {name: _OUTCOMES_AT + index for index, name in enumerate(OUTCOMES)}
_RETRIES_AT = _OUTCOMES_AT + len(OUTCOMES)
_FALLBACKS_AT = _RETRIES_AT + 1
_LATENCY_AT = _FALLBACKS_AT + 1
_WIDTH = _LATENCY_AT + CELLS
_UINT32_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """How much is kept."""

    fine_s: int = 900
    """By the second."""
    coarse_s: int = 86_400
    """By `coarse_step_s`."""
    coarse_step_s: int = 10
    edges_max: int = 500
    """Pairs; one more is not remembered, and counted as such."""


@dataclass(slots=True)
class Point:
    """One step of time. `instances` are the most that were seen in each state within it; none heard: unknown."""

    heard: int
    instances: dict[Circuit, int]
    outcomes: dict[str, int]
    retries: int
    fallbacks: int
    latency_counts: list[int]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A pair's points from `from_s` on, each `step_s` long; None where nobody told anything."""

    from_s: int
    step_s: int
    bounds_s: tuple[float, ...]
    points: tuple[Point | None, ...]


class _Chunks:
    """Rows of counters by number, in chunks; a chunk that is full is packed, for most of it is zero."""

    __slots__ = ("_chunk_rows", "_chunks_max", "_open", "_open_number", "_packed")

    def __init__(self, rows_max: int, chunk_rows: int) -> None:
        self._chunk_rows = chunk_rows
        self._chunks_max = -(-rows_max // chunk_rows) + 1
        self._packed: dict[int, bytes] = {}
        self._open_number = -1
        self._open = array("I")

    def add(self, row: int, counts: Mapping[int, int], most: Mapping[int, int]) -> None:
        """Adds to a row's counters; of `most` each keeps the largest. A row of a chunk that was closed is lost."""
        number, place = divmod(row, self._chunk_rows)
        if number > self._open_number:
            self._begin(number)
        if number < self._open_number:
            return
        at = place * _WIDTH
        for index, count in counts.items():
            self._open[at + index] = min(self._open[at + index] + count, _UINT32_MAX)
        for index, count in most.items():
            self._open[at + index] = max(self._open[at + index], count)

    def rows(self, first: int, last: int) -> "Iterator[tuple[int, array[int]]]":
        """The rows from `first` to `last` that anything was heard in."""
        for number in range(first // self._chunk_rows, last // self._chunk_rows + 1):
            chunk = self._chunk(number)
            if chunk is None:
                continue
            for row in range(max(first, number * self._chunk_rows), min(last + 1, (number + 1) * self._chunk_rows)):
                at = row % self._chunk_rows * _WIDTH
                if chunk[at + _HEARD]:
                    yield row, chunk[at : at + _WIDTH]

    def _begin(self, number: int) -> None:
        if self._open_number >= 0:
            self._packed[self._open_number] = zlib.compress(self._open.tobytes(), 1)
        for old in [each for each in self._packed if each <= number - self._chunks_max]:
            del self._packed[old]
        self._open_number = number
        self._open = array("I", bytes(4 * self._chunk_rows * _WIDTH))

    def _chunk(self, number: int) -> "array[int] | None":
        if number == self._open_number:
            return self._open
        packed = self._packed.get(number)
        return None if packed is None else array("I", zlib.decompress(packed))


@dataclass(slots=True)
class _Past:
    fine: _Chunks
    coarse: _Chunks
    bounds_s: tuple[float, ...] = ()


@dataclass(slots=True)
class History:
    """The past of every pair. Times are whole seconds of the wall clock, passed in."""

    span: Span = field(default_factory=Span)
    refused: int = 0
    """Pairs that there was no room for."""
    _past: dict[Pair, _Past] = field(default_factory=dict)
    _last: dict[Key, Edge] = field(default_factory=dict)

    def take(self, report: Report, now_s: int) -> None:
        """Adds what happened since the instance's last report. Of a first one only that it was heard."""
        for edge in report.edges:
            key = edge.key
            before = self._last.get(key)
            if edge.totals is None or (before is not None and edge.as_of <= before.as_of):
                continue
            past = self._past_of((edge.caller, edge.dependency))
            if past is None:
                continue
            past.bounds_s = report.latency_bounds_s
            self._last[key] = edge
            grown = _grown(before.totals, edge.totals) if before is not None and before.totals is not None else {}
            self._write(past, now_s, {_HEARD: 1, **grown}, {})

    def note(self, edges: Iterable[Edge], now_s: int) -> None:
        """Once a second, every edge there is: how many instances of each pair are in which state; stale ones in none."""
        states: dict[Pair, dict[int, int]] = {}
        known: set[Key] = set()
        for edge in edges:
            known.add(edge.key)
            if not edge.stale:
                counts = states.setdefault((edge.caller, edge.dependency), {})
                at = _STATES_AT + STATES.index(edge.state)
                counts[at] = counts.get(at, 0) + 1
        for pair, counts in states.items():
            past = self._past.get(pair)
            if past is not None:
                self._write(past, now_s, {}, counts)
        for key in self._last.keys() - known:
            del self._last[key]

    def callers_of(self, dependency: str) -> tuple[str, ...]:
        """Whose edges to the dependency are remembered."""
        return tuple(sorted(caller for caller, name in self._past if name == dependency))

    def stretch(self, pair: Pair, *, now_s: int, seconds: int) -> Stretch | None:
        """The last `seconds` up to the last whole one, in at most `POINTS_MAX` steps; None for a pair that is not known."""
        past = self._past.get(pair)
        if past is None:
            return None
        span = self.span
        if seconds <= min(POINTS_MAX, span.fine_s):
            rows, unit_s, step_s = past.fine, 1, 1
        else:
            rows, unit_s = past.coarse, span.coarse_step_s
            step_s = unit_s * -(-min(seconds, span.coarse_s) // (unit_s * POINTS_MAX))
        end_s = now_s // step_s * step_s
        count = min(seconds, span.coarse_s) // step_s
        from_s = end_s - count * step_s
        points: list[Point | None] = [None] * count
        for row, counters in rows.rows(from_s // unit_s, end_s // unit_s - 1):
            place = (row * unit_s - from_s) // step_s
            points[place] = _merged(points[place], counters)
        return Stretch(from_s, step_s, past.bounds_s, tuple(points))

    def _past_of(self, pair: Pair) -> _Past | None:
        past = self._past.get(pair)
        if past is None:
            if len(self._past) >= self.span.edges_max:
                self.refused += 1
                return None
            fine = _Chunks(self.span.fine_s, 60)
            coarse = _Chunks(self.span.coarse_s // self.span.coarse_step_s, 360)
            past = self._past[pair] = _Past(fine, coarse)
        return past

    def _write(self, past: _Past, now_s: int, counts: Mapping[int, int], most: Mapping[int, int]) -> None:
        past.fine.add(now_s, counts, most)
        past.coarse.add(now_s // self.span.coarse_step_s, counts, most)


def _grown(before: Totals, now: Totals) -> dict[int, int]:
    """What was added, by counter; a total that shrank is another process's and tells nothing."""
    had = before.outcomes
    grown = {_PLACES[name]: count - had.get(name, 0) for name, count in now.outcomes.items() if name in _PLACES}
    grown[_RETRIES_AT] = now.retries - before.retries
    grown[_FALLBACKS_AT] = now.fallbacks - before.fallbacks
    if len(before.latency_counts) == len(now.latency_counts):
        for cell, (old, new) in enumerate(zip(before.latency_counts, now.latency_counts, strict=True)):
            if new != old:
                at = _LATENCY_AT + min(cell, CELLS - 1)
                grown[at] = grown.get(at, 0) + new - old
    return {at: count for at, count in grown.items() if count > 0}


def _merged(point: Point | None, counters: "array[int]") -> Point:
    if point is None:
        point = Point(0, dict.fromkeys(STATES, 0), dict.fromkeys(OUTCOMES, 0), 0, 0, [0] * CELLS)
    point.heard += counters[_HEARD]
    for index, state in enumerate(STATES):
        point.instances[state] = max(point.instances[state], counters[_STATES_AT + index])
    for index, name in enumerate(OUTCOMES):
        point.outcomes[name] += counters[_OUTCOMES_AT + index]
    point.retries += counters[_RETRIES_AT]
    point.fallbacks += counters[_FALLBACKS_AT]
    for cell in range(CELLS):
        point.latency_counts[cell] += counters[_LATENCY_AT + cell]
    return point
