"""`make bench-ops`: what a second of 500 dependencies x 50 instances costs the ops process, CPU by part.

A thousand processes report 25 edges each and every figure moves. Each report goes its way in earnest, from its bytes to the frame
that pages get; left out are NATS, HTTP and PostgreSQL. One JSON line a figure; `make bench-page` measures the way to the screen.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from bench.page.feed import report_of
from breakwater.chassis.clock import VirtualClock
from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.budgets.domain import Budgets, BurnRate, Promise, Promises
from services.gateway.ops.console import Console
from services.gateway.ops.consumer import TICK_S, Feed
from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.history.domain import History
from services.gateway.ops.http import board
from services.gateway.ops.incidents.evidence import Evidence
from services.gateway.ops.timeline.store import Timeline
from services.gateway.ops.translation import report_from_wire

CALLERS, INSTANCES, EDGES = 20, 50, 25
ROUNDS, WARM_ROUNDS = 5, 2
AIM_S = 0.5
"""Of the evidence of incidents: it must not be what keeps the process busy."""


def fleet(rng: random.Random) -> list[pb.EdgeReport]:
    """A report for each process."""
    callers = [f"svc-{caller:02}" for caller in range(CALLERS)]
    return [report_of(rng, each, each, f"{each}-{number:02}", EDGES) for each in callers for number in range(INSTANCES)]


def told(report: pb.EdgeReport, clock: VirtualClock, rng: random.Random) -> bytes:
    """What the process tells after another second of traffic."""
    report.as_of.FromDatetime(clock.now() + timedelta(microseconds=1))
    for edge in report.edges:
        calls = rng.randrange(5, 15)
        edge.rate_per_s, edge.calls, edge.p99_ms = float(calls), 20 * calls, rng.uniform(20, 90)
        edge.errors["timeout"] = rng.randrange(3)
        edge.totals.outcomes["success"] += calls
        edge.totals.outcomes["timeout"] += rng.random() < 0.01 * calls
        edge.totals.latency_counts[rng.randrange(3, 8)] += calls
    return report.SerializeToString()


class Bus:
    """Hands over what would come by NATS."""

    def __init__(self) -> None:
        self.take: Callable[[Any], Any] = lambda _message: None

    async def subscribe(self, subject: str, take: Callable[[Any], Any]) -> None:
        del subject
        self.take = take


def promises() -> Promises:
    """Every dependency has one, and the alarms are those of deploy/slo.yaml up to a day."""
    of = {
        f"dep-{number:02}-of-svc-{caller:02}": Promise(0.999, 10)
        for caller in range(CALLERS)
        for number in range(EDGES)
    }
    rates = ((3_600, 300, 14.4), (21_600, 1_800, 6.0), (86_400, 7_200, 3.0))
    return Promises(of, alarms=tuple(BurnRate(long_s, short_s, factor, "page") for long_s, short_s, factor in rates))


async def second(reports: list[bytes], bus: Bus, clock: VirtualClock, frames: Any) -> dict[str, float]:
    """CPU seconds of one second's reports, by part."""
    spent = dict.fromkeys(("hear", "judge", "frame"), 0.0)
    ticks = round(1 / TICK_S)
    began_s = time.process_time()
    for tick in range(ticks):
        for data in reports[tick::ticks]:
            at_s = time.process_time()
            await bus.take(SimpleNamespace(data=data, subject=""))
            spent["hear"] += time.process_time() - at_s
            await asyncio.sleep(0)
        at_s = time.process_time()
        await clock.advance(TICK_S)
        spent["judge"] += time.process_time() - at_s
    for _ in range(CALLERS * EDGES // board.ROWS_MAX):
        while (await anext(frames)).event != "frame":
            pass
    spent["frame"] = time.process_time() - began_s - spent["hear"] - spent["judge"]
    return spent


def evidence_s(evidence: Evidence, reports: list[bytes], now_s: float) -> float:
    """CPU seconds that the evidence of incidents takes for one second's reports, once more and by itself."""
    read = [report_from_wire(pb.EdgeReport.FromString(data)) for data in reports]
    at_s = time.process_time()
    for report in read:
        evidence.take(report, now_s)
    return time.process_time() - at_s


async def main() -> None:
    """Prints the median of some seconds."""
    rng, clock, bus = random.Random(5), VirtualClock(), Bus()
    console = Console(Timeline(None, clock), clock)  # type: ignore[arg-type]  # nothing is saved here
    budgets, backlogs = Budgets(promises()), BacklogBook()
    peers: Any = SimpleNamespace(names=())
    feed = Feed(
        console, History(), budgets, backlogs, peers, clock, own=lambda: pb.EdgeReport(process="ops", instance="ops")
    )
    await feed.subscribe(bus)  # type: ignore[arg-type]
    spending = lambda caller, dependency: budgets.spending(caller, dependency, int(clock.now().timestamp()))  # noqa: E731
    rows = board.Board(console, backlogs, clock, is_wide=lambda _dependency, _caller: False, spending=spending)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(rows.run())]
    frames, reports = rows.events(), fleet(rng)
    await anext(frames)
    found, alone, evidence = [], [], Evidence()
    for _ in range(WARM_ROUNDS + ROUNDS):
        bytes_of = [told(report, clock, rng) for report in reports]
        found.append(await second(bytes_of, bus, clock, frames))
        alone.append(evidence_s(evidence, bytes_of, clock.monotonic()))
    del found[:WARM_ROUNDS], alone[:WARM_ROUNDS]
    figure("cpu_per_second_evidence_alone_500x50", statistics.median(alone), aim_s=AIM_S)
    for part in ("hear", "judge", "frame"):
        figure(f"cpu_per_second_{part}_500x50", statistics.median(each[part] for each in found))
    figure("cpu_per_second_500x50", statistics.median(sum(each.values()) for each in found))
    for task in tasks:
        task.cancel()


def figure(name: str, value_s: float, aim_s: float | None = None) -> None:
    """Prints one figure, beside its aim where it has one."""
    document = {"bench": "ops", "figure": name, "value": round(value_s, 3), "unit": "s", "peer": None}
    document |= {"peer_value": None, "ratio": None}
    if aim_s is not None:
        document |= {"aim": f"at most {aim_s:g}", "met": value_s <= aim_s}
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
