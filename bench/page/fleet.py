"""500 dependencies x 50 instances on the real page: an invented console behind the real board, server and files.

`python -m bench.page.fleet` prints its address, then a line for each transition asked for on its input; told `feed`, what
the feed could not keep up with. Any token signs in.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from breakwater.chassis.auth import CallerVerifier, Claims
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.resilience.shedding import Limiter
from services.gateway.http.declare import Api
from services.gateway.http.edge import Edge as HttpEdge
from services.gateway.http.edge import EdgeLimits
from services.gateway.http.ratelimit import RateLimiter, RateLimits
from services.gateway.http.server import HttpServer, ServerLimits
from services.gateway.ops.budgets.domain import Spending
from services.gateway.ops.console import Change, Console
from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge
from services.gateway.ops.http import board, page
from services.gateway.ops.http.access import OpsRoute
from services.gateway.ops.http.sessions import SessionGate, Sessions
from services.gateway.ops.http.stream import StreamGate

DEPENDENCIES, INSTANCES = 500, 50
PORTIONS = 10
"""Each second in so many parts, as reports come one after the other; each moves every row."""
VARIANTS = 4
"""Figures are invented beforehand and come in turn: inventing them is no work of the process that is measured."""


class Everybody(CallerVerifier):
    """A verifier that takes any token: the page is measured, not who may see it."""

    def __init__(self) -> None:
        """Without keys: none is asked for."""

    async def verify(self, token: str) -> Actor:
        del token
        return Actor("bench", Role.SRE, Scope.ALL)

    async def verify_claims(self, token: str) -> Claims:
        del token
        now_s = time.time()
        return Claims("", "", "", "bench", (), now_s, now_s + 3600, None, {})


class Fleet(Console):
    """Stands in for the console: every figure of every instance moves each second.

    The feed is bounded. A portion that is due while a later one is due already is left out and counted, as a process's next
    report stands for the one before; so nothing queues, and how far behind the page's process is can be told.
    """

    def __init__(self) -> None:
        self._rng = random.Random(5)
        self._edges = [
            self._edge(f"svc-{number // 25:02}", f"dep-{number:03}", f"i-{instance:02}")
            for instance in range(INSTANCES)
            for number in range(DEPENDENCIES)
        ]
        self._variants = [[self._moved(edge) for edge in self._edges] for _ in range(VARIANTS)]
        self._queues: list[asyncio.Queue[Change | None]] = []
        self._left_out = 0
        self._behind_s: list[float] = []

    def edges(self) -> tuple[Edge, ...]:
        return tuple(self._edges)

    def spending(self, caller: str, dependency: str) -> Spending:
        del caller, dependency
        burn = self._rng.uniform(0, 2)
        return Spending(0.999, {300: burn, 3_600: burn, 21_600: burn, 86_400: burn}, 0.02, int(time.time()) - 3_600, "")

    def incidents(self, *, open_only: bool = False) -> tuple[()]:
        del open_only
        return ()

    def timeline(self, count_max: int) -> tuple[()]:
        del count_max
        return ()

    @contextmanager
    def watch(self) -> Iterator[Callable[[float], AsyncGenerator[Change | None]]]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue(PORTIONS)
        self._queues.append(queue)

        async def changes(patience_s: float) -> AsyncGenerator[Change | None]:
            del patience_s
            while True:
                yield await queue.get()

        yield changes

    async def live(self) -> None:
        """For ever."""
        size = len(self._edges) // PORTIONS
        due_s = time.monotonic()
        for number in itertools.count():
            second, portion = divmod(number, PORTIONS)
            due_s += 1 / PORTIONS
            behind_s = time.monotonic() - due_s
            if behind_s > 1 / PORTIONS:
                self._left_out += 1
                continue
            await asyncio.sleep(max(0.0, -behind_s))
            self._behind_s.append(time.monotonic() - due_s)
            part = slice(portion * size, (portion + 1) * size)
            self._edges[part] = self._variants[second % VARIANTS][part]
            await self._put(tuple(self._edges[part]))

    async def turn(self, number: int, state: Circuit) -> None:
        """One instance's circuit."""
        for edges in (self._edges, *self._variants):
            edges[number] = replace(edges[number], state=state)
        await self._put((self._edges[number],))

    def figures(self) -> dict[str, float]:
        """How the feed fared since the last time it was asked: the share it left out, and how late the rest was told."""
        left_out, behind_s = self._left_out, sorted(self._behind_s)
        self._left_out, self._behind_s = 0, []
        told = len(behind_s)
        share = left_out / max(1, left_out + told)
        return {"left_out": share, "behind_p99_ms": 1000 * behind_s[int(0.99 * told)] if told else 0.0}

    async def _put(self, edges: tuple[Edge, ...]) -> None:
        for queue in self._queues:
            await queue.put(Change(edges=edges))

    def _moved(self, edge: Edge) -> Edge:
        rng = self._rng
        calls = rng.randrange(50, 150)
        return replace(
            edge, rate_per_s=calls / 10, calls=calls, p99_ms=rng.uniform(20, 90), errors={"timeout": rng.randrange(3)}
        )

    def _edge(self, caller: str, dependency: str, instance: str) -> Edge:
        rng = self._rng
        return Edge(
            caller=caller,
            dependency=dependency,
            instance=instance,
            state=Circuit.CLOSED,
            override=None,
            availability=1.0,
            error_rate=rng.choice((0.0, 0.002, 0.02)),
            errors={},
            rate_per_s=10.0,
            p50_ms=rng.uniform(1, 5),
            p90_ms=rng.uniform(5, 20),
            p99_ms=50.0,
            retries=0,
            retry_budget_tokens=10.0,
            bulkhead=Bulkhead(0, 64, 0, 0),
            next_probe_s=None,
            fallbacks=0,
            injected=0,
            as_of=datetime.now(UTC),
            availability_first=0.999,
            slow_rate=0.0,
            p99_5_ms=100.0,
        )


def read() -> tuple[str, float]:
    """A line, and when it came: what it waits for the event loop counts."""
    line = sys.stdin.readline()
    return line, time.time_ns() / 1e6


async def main() -> None:
    """Until its input ends."""
    clock, everybody, fleet = SystemClock(), Everybody(), Fleet()
    sessions = Sessions(everybody, clock, sessions_max=10, session_s_max=3600)
    api = Api(OpsRoute)
    page.add_routes(api, sessions)
    rows = board.Board(fleet, BacklogBook(), clock, is_wide=lambda _dependency, _caller: False, spending=fleet.spending)
    edge = HttpEdge(
        api.routes,
        verifier=everybody,
        rate_limiter=RateLimiter(RateLimits(1000, 1, 10), clock),
        hmac_key=b"",
        limiter=Limiter(ceiling=1, ops_max=64, adaptive=False, floor=1, clock=clock),
        limits=EdgeLimits(body_size_bytes_max=4096, send_timeout_s=10),
        clock=clock,
    )
    gate = StreamGate(edge, feeds={board.PATH: rows.events}, verifier=everybody, streams_max=4, send_timeout_s=10)
    limits = ServerLimits(connections_max=64, head_size_bytes_max=32768, head_timeout_s=10, keep_alive_s=75)
    server = HttpServer(SessionGate(gate, sessions), host="127.0.0.1", port=0, limits=limits)
    await server.start()
    tasks = [asyncio.create_task(rows.run()), asyncio.create_task(fleet.live())]
    print(f"http://127.0.0.1:{server.port}", flush=True)
    while (told := await asyncio.to_thread(read))[0]:
        line, at_ms = told
        if line == "feed\n":
            print(json.dumps(fleet.figures()), flush=True)
            continue
        number, state = line.split()
        await fleet.turn(int(number), Circuit(state))
        print(f"{at_ms:.3f}", flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
