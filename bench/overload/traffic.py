"""Traffic of three priorities at a server, and what came of it; one JSON line a figure."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from breakwater.chassis.errors import BreakwaterError
from breakwater.resilience.shedding import Priority

MIX = {Priority.OPS: 0.03, Priority.INTERACTIVE: 0.67, Priority.BATCH: 0.3}
WARM_UP_S = 4.0


def tell(figure: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    ratio = round(value / peer_value, 3) if peer_value else None
    line = {"bench": "overload", "figure": figure, "value": round(value, 4), "unit": unit, "peer": peer}
    print(
        json.dumps(line | {"peer_value": None if peer_value is None else round(peer_value, 4), "ratio": ratio}),
        flush=True,
    )


@dataclass
class Seen:
    """What came of the calls sent after the warm-up."""

    span_s: float
    sent: Counter[Priority] = field(default_factory=Counter)
    shed: Counter[Priority] = field(default_factory=Counter)
    failed: Counter[Priority] = field(default_factory=Counter)
    latencies_s: dict[Priority, list[float]] = field(default_factory=lambda: {priority: [] for priority in Priority})

    def goodput_per_s(self) -> float:
        return sum(map(len, self.latencies_s.values())) / self.span_s

    def p99_ms(self, *priorities: Priority) -> float:
        ordered = sorted(latency for priority in priorities for latency in self.latencies_s[priority])
        return ordered[int(len(ordered) * 0.99)] * 1000 if ordered else float("nan")

    def share_failed(self) -> float:
        return sum(self.failed.values()) / max(1, sum(self.sent.values()))

    def share_refused(self, priority: Priority) -> float:
        return (self.shed[priority] + self.failed[priority]) / max(1, self.sent[priority])

    def share_shed(self, priority: Priority) -> float:
        return self.shed[priority] / max(1, self.sent[priority])


Call = Callable[[Priority], Awaitable[Any]]


async def open_loop(call: Call, rate_per_s: float, span_s: float, seed: int) -> Seen:
    """Poisson traffic that waits for nobody."""
    rng, seen, loop = random.Random(seed), Seen(span_s), asyncio.get_running_loop()
    began_s, due_s = loop.time(), 0.0
    tasks: set[asyncio.Task[None]] = set()

    async def one(priority: Priority, *, counted: bool) -> None:
        sent_s = loop.time()
        seen.sent[priority] += counted
        try:
            await call(priority)
        except grpc.aio.AioRpcError as error:
            shed = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            (seen.shed if shed else seen.failed)[priority] += counted
        except BreakwaterError:
            seen.failed[priority] += counted
        else:
            if counted:
                seen.latencies_s[priority].append(loop.time() - sent_s)

    while (due_s := due_s + rng.expovariate(rate_per_s)) < WARM_UP_S + span_s:
        await asyncio.sleep(max(0.0, began_s + due_s - loop.time()))
        priority = rng.choices(list(MIX), list(MIX.values()))[0]
        task = asyncio.create_task(one(priority, counted=due_s >= WARM_UP_S))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return seen


async def closed_loop(call: Call, clients: int, span_s: float) -> float:
    """Answers a second of so many clients: as many as there are places are all that the server can do, and no queue."""
    loop, answered = asyncio.get_running_loop(), 0
    began_s = loop.time()

    async def client() -> None:
        nonlocal answered
        while loop.time() < began_s + span_s:
            with suppress(grpc.aio.AioRpcError):
                await call(Priority.INTERACTIVE)
                answered += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / (loop.time() - began_s)


async def three_times(what: str, calls: Mapping[str, Call], capacity_per_s: float, span_s: float, rounds: int) -> None:
    """The figures of one kind of work at three times its capacity, `limited` beside `unlimited`.

    Of the limited server's rounds, each beside one at half of the capacity, the one in the middle counts.
    """

    async def run(name: str, load: float, seed: int) -> Seen:
        return await open_loop(calls[name], load * capacity_per_s, span_s, seed)

    pairs = [(await run("limited", 0.5, seed), await run("limited", 3.0, seed)) for seed in range(rounds)]
    pairs.sort(key=lambda pair: pair[1].p99_ms(*Priority) / pair[0].p99_ms(*Priority))
    unloaded, ours = pairs[rounds // 2]
    theirs = await run("unlimited", 3.0, rounds)
    # What the server can do at most is the best that was seen of it: this machine is never quiet.
    maximum = max(capacity_per_s, ours.goodput_per_s(), theirs.goodput_per_s())
    usual_ms = unloaded.p99_ms(*Priority)
    tell(
        f"{what}goodput of maximum",
        ours.goodput_per_s() / maximum,
        "share",
        "no limit",
        theirs.goodput_per_s() / maximum,
    )
    tell(f"{what}p99 of the admitted", ours.p99_ms(*Priority), "ms", "unloaded", usual_ms)
    tell(f"{what}p99 of ops", ours.p99_ms(Priority.OPS), "ms", "unloaded", usual_ms)
    if theirs.latencies_s[Priority.OPS]:
        tell(f"{what}p99 of ops, no limit", theirs.p99_ms(Priority.OPS), "ms", "unloaded", usual_ms)
    refused, refused_by_them = ours.share_refused(Priority.OPS), theirs.share_refused(Priority.OPS)
    tell(f"{what}ops not served", refused, "share", "no limit", refused_by_them)
    for priority in (Priority.INTERACTIVE, Priority.BATCH):
        tell(f"{what}{priority.value} shed", ours.share_shed(priority), "share")
    tell(f"{what}admitted and not served in time", ours.share_failed(), "share")
    tell(f"{what}shed at half of the capacity", unloaded.share_shed(Priority.INTERACTIVE), "share")
