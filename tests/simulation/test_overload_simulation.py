"""A server at three times its capacity, on a virtual clock: what the limiter keeps, and what is lost without it.

The server works on `workers` requests at a time, first come first served; requests come open loop (Poisson), each with a
deadline, and work past it is not started. A run is replayed by its seed.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from breakwater.resilience.shedding import Limiter, Priority

OPS_SHARE, INTERACTIVE_SHARE = 0.02, 0.68
WARM_UP_S = 5.0
KIND = "GetLead"

SHAPES: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda _: 1.0,
    "lognormal": lambda rng: rng.lognormvariate(-0.125, 0.5),
    "exponential": lambda rng: rng.expovariate(1.0),
}


@dataclass
class Clock:
    """Only what a limiter reads."""

    elapsed_s: float = 0.0

    def monotonic(self) -> float:
        return self.elapsed_s


@dataclass
class Request:
    priority: Priority
    came_s: float


@dataclass
class Seen:
    """What came of the requests that came after the warm-up."""

    span_s: float
    came: Counter[Priority] = field(default_factory=Counter)
    shed: Counter[Priority] = field(default_factory=Counter)
    in_time: Counter[Priority] = field(default_factory=Counter)
    latencies_s: dict[Priority, list[float]] = field(default_factory=lambda: {priority: [] for priority in Priority})
    late_starts: int = 0
    starts: int = 0
    limits: list[float] = field(default_factory=list)

    def share_shed(self, priority: Priority) -> float:
        return self.shed[priority] / max(1, self.came[priority])

    def goodput(self) -> float:
        """Answers in time a second."""
        return sum(self.in_time.values()) / self.span_s

    def p99_s(self, priority: Priority) -> float:
        ordered = sorted(self.latencies_s[priority])
        return ordered[int(len(ordered) * 0.99)]


class Server:
    """One seed of one server; `load` is a multiple of its capacity, by the time, `slowness` of its work as well."""

    def __init__(
        self,
        seed: int,
        load: Callable[[float], float] | float,
        *,
        limited: bool = True,
        workers: int = 8,
        work_s: float = 0.04,
        shape: str = "lognormal",
        slowness: Callable[[float], float] = lambda _: 1.0,
        shares: tuple[float, float] = (OPS_SHARE, INTERACTIVE_SHARE),
    ) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        huge = 1_000_000
        self.limiter = (
            Limiter(ceiling=256, clock=self.clock, rng=random.Random(seed + 1))
            if limited
            else Limiter(ceiling=huge, ops_max=huge, adaptive=False, clock=self.clock)
        )
        self.load = load if callable(load) else lambda _: load
        self.workers = workers
        self.work_s = work_s
        self.capacity = workers / work_s
        self.deadline_s = 10 * work_s
        self.shape = SHAPES[shape]
        self.slowness = slowness
        self.shares = (*shares, 1 - sum(shares))
        self.free = workers
        self.queue: deque[Request] = deque()
        self.events: list[tuple[float, int, Request | None]] = []
        self.order: Iterator[int] = itertools.count()
        self.at(self.gap_s(), None)

    def run(self, span_s: float = 20.0) -> Seen:
        """Goes on until `span_s` after the warm-up."""
        seen = Seen(span_s)
        while self.events[0][0] < span_s + WARM_UP_S:
            self.clock.elapsed_s, _, request = heapq.heappop(self.events)
            counted = self.clock.elapsed_s >= WARM_UP_S
            if request is None:
                self.arrive(seen, counted=counted)
            else:
                self.end(request, seen, counted=counted)
            if counted:
                seen.limits.append(self.limiter.limit)
        return seen

    def arrive(self, seen: Seen, *, counted: bool) -> None:
        self.at(self.gap_s(), None)
        request = Request(self.rng.choices(list(Priority), self.shares)[0], self.clock.elapsed_s)
        seen.came[request.priority] += counted
        if self.limiter.enter(request.priority) is not None:
            seen.shed[request.priority] += counted
        elif self.free:
            self.free -= 1
            self.start(request, seen)
        else:
            self.queue.append(request)

    def start(self, request: Request, seen: Seen) -> None:
        seen.starts += 1
        seen.late_starts += self.clock.elapsed_s > request.came_s + self.deadline_s
        self.at(self.work_s * self.slowness(self.clock.elapsed_s) * self.shape(self.rng), request)

    def end(self, request: Request, seen: Seen, *, counted: bool) -> None:
        self.leave(request, seen, counted=counted)
        self.free += 1
        while self.queue and self.free:
            following = self.queue.popleft()
            if self.clock.elapsed_s > following.came_s + self.deadline_s:
                self.leave(following, seen, counted=counted)
                continue
            self.free -= 1
            self.start(following, seen)

    def leave(self, request: Request, seen: Seen, *, counted: bool) -> None:
        latency_s = self.clock.elapsed_s - request.came_s
        in_time = latency_s <= self.deadline_s
        self.limiter.leave(request.priority, KIND, request.came_s, answered=in_time)
        if counted:
            seen.latencies_s[request.priority].append(latency_s)
            seen.in_time[request.priority] += in_time

    def gap_s(self) -> float:
        return self.rng.expovariate(self.load(self.clock.elapsed_s) * self.capacity)

    def at(self, delay_s: float, request: Request | None) -> None:
        heapq.heappush(self.events, (self.clock.elapsed_s + delay_s, next(self.order), request))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("workers", "work_s"), [(8, 0.04), (10, 0.005), (64, 0.02)])
@pytest.mark.parametrize("seed", range(2))
def test_at_three_times_its_capacity_a_server_does_what_it_can(seed, workers, work_s, shape):
    """Goodput >= 90 % of its maximum, p99 of the admitted <= 2 x unloaded, ops unharmed, whatever the work looks like."""
    unloaded = Server(seed, 0.5, workers=workers, work_s=work_s, shape=shape).run()
    server = Server(seed, 3.0, workers=workers, work_s=work_s, shape=shape)
    seen = server.run()
    assert seen.goodput() >= 0.9 * server.capacity
    for priority in Priority:
        assert seen.p99_s(priority) <= 2 * unloaded.p99_s(Priority.INTERACTIVE)
    assert seen.shed[Priority.OPS] == 0
    assert seen.late_starts == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_limit_the_same_load_is_lost(shape):
    """The naive server works on what is late already: under half of its capacity is of use, ops suffers like the rest."""
    server = Server(1, 3.0, limited=False, shape=shape)
    seen = server.run()
    unloaded = Server(1, 0.5, limited=False, shape=shape).run()
    assert seen.goodput() < 0.5 * server.capacity
    assert seen.p99_s(Priority.OPS) > 2 * unloaded.p99_s(Priority.OPS)


@pytest.mark.parametrize("load", [1.3, 2.0, 3.0])
def test_the_less_urgent_is_shed_first_and_never_all_of_it(load):
    """Batch before interactive before ops; the most is taken from batch, and some of it still goes through."""
    seen = Server(2, load).run(span_s=60.0)
    ops, interactive, batch = (seen.share_shed(priority) for priority in Priority)
    assert ops == 0
    assert interactive < batch < 1
    assert seen.in_time[Priority.BATCH] > 0
    # Interactive work alone would not fill the server at 1.3: batch gives way to it.
    assert interactive < 0.15 or load > 1.3


def test_batch_alone_may_use_the_whole_server():
    """The night's imports are not held back for an audience that sleeps."""
    server = Server(3, 3.0, shares=(0.0, 0.0))
    assert server.run().goodput() >= 0.9 * server.capacity


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(2))
def test_measuring_costs_nobody_anything_while_there_is_room(seed, load):
    """Ten minutes below capacity: the unhindered latency is known at every moment without a refusal."""
    server = Server(seed, load, workers=10, work_s=0.02)
    seen = server.run(span_s=600.0)
    assert seen.share_shed(Priority.INTERACTIVE) < 1e-4
    assert seen.share_shed(Priority.BATCH) < 5e-3


def test_a_burst_leaves_nothing_behind():
    """Once it is over, nobody is refused: the limit has found its way up again."""

    def load(at_s: float) -> float:
        return 3.0 if WARM_UP_S + 10 < at_s < WARM_UP_S + 30 else 0.5

    server = Server(4, load)
    assert server.run(span_s=31.0).share_shed(Priority.INTERACTIVE) > 0.2
    after = server.run(span_s=90.0)
    assert sum(after.shed.values()) < 0.001 * sum(after.came.values())


def test_the_limit_follows_the_capacity_down_and_up():
    """At half of the strength it takes half as much a second, and all of it again when the strength is back."""

    def slowness(at_s: float) -> float:
        return 2.0 if WARM_UP_S + 40 < at_s < WARM_UP_S + 80 else 1.0

    server = Server(5, 3.0, workers=32, work_s=0.02, slowness=slowness)
    rates = []
    for until_s in (40.0, 80.0, 120.0):
        server.run(until_s - 20.0)
        before = sum(server.run(until_s).in_time.values())
        rates.append(before / 20.0 / server.capacity)
    assert rates[0] > 0.9
    assert 0.45 < rates[1] <= 0.51
    assert rates[2] > 0.9


def test_work_that_is_slow_by_itself_is_not_taken_for_a_crowd():
    """Twice as slow with room left: refusing would help nobody, so the limit learns the new latency and all are served."""
    server = Server(6, 0.4, workers=32, work_s=0.02, slowness=lambda at_s: 1.0 if at_s < WARM_UP_S + 30 else 2.0)
    seen = server.run(span_s=120.0)
    assert seen.share_shed(Priority.INTERACTIVE) < 0.005
    assert seen.share_shed(Priority.BATCH) < 0.02


def test_started_into_a_crowd_it_finds_its_limit():
    """A replica that comes up under full load knows nothing, and has settled after some seconds."""
    seen = Server(7, 3.0, workers=8).run()
    settled = seen.limits[len(seen.limits) // 2 :]
    assert 8 <= sum(settled) / len(settled) <= 16


def test_a_run_is_replayed_by_its_seed():
    """The same seed gives the same run to the last request."""
    first, again = Server(8, 3.0).run(), Server(8, 3.0).run()
    assert (first.came, first.shed, first.in_time, first.limits) == (
        again.came,
        again.shed,
        again.in_time,
        again.limits,
    )
