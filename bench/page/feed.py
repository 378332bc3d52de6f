"""Processes that only talk: they report to a real NATS each second what real ones would, as EdgeReports.

`python -m bench.page.feed NATS_URL USER PASSWORD_FILE`: told on its input which edge to open or close
(`caller dependency open|closed`), it reports the transition at once and prints the moment it did.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

import nats
from nats.aio.client import Client

from breakwater.edges.v1 import edges_pb2 as pb

CALLERS, INSTANCES, EDGES = 4, 4, 5
INTERVAL_S = 1.0
BOUNDS_S = (*(2.0**power / 1000 for power in range(-1, 17)), float("inf"))
STATES = {"open": pb.CIRCUIT_STATE_OPEN, "closed": pb.CIRCUIT_STATE_CLOSED}


def fleet(rng: random.Random) -> dict[str, list[pb.EdgeReport]]:
    """A report for each instance, by caller."""
    return {
        caller: [
            report_of(rng, caller, f"{caller}-{instance}", f"{caller}-{instance}", EDGES)
            for instance in range(INSTANCES)
        ]
        for caller in (f"svc-{number:02}" for number in range(CALLERS))
    }


def report_of(rng: random.Random, caller: str, process: str, instance: str, edges: int) -> pb.EdgeReport:
    """What a process of a caller with so many healthy edges tells."""
    report = pb.EdgeReport(process=process, instance=instance, latency_bounds_s=BOUNDS_S)
    for number in range(edges):
        edge = report.edges.add(
            caller=caller,
            dependency=f"dep-{number:02}-of-{caller}",
            state=pb.CIRCUIT_STATE_CLOSED,
            retry_budget_tokens=10,
            bulkhead_limit=64,
            p50_ms=rng.uniform(1, 5),
            p90_ms=rng.uniform(5, 20),
            p99_ms=rng.uniform(20, 90),
            p99_5_ms=rng.uniform(90, 120),
            availability=1.0,
            availability_first=0.999,
            error_rate=0.001,
            slow_rate=0.0,
        )
        edge.totals.latency_counts[:] = [0] * len(BOUNDS_S)
    return report


def move_on(report: pb.EdgeReport, rng: random.Random) -> None:
    """What a second of traffic makes of an instance: every figure moves."""
    report.as_of.FromNanoseconds(time.time_ns())
    for edge in report.edges:
        calls = rng.randrange(5, 15)
        edge.rate_per_s = calls / INTERVAL_S
        edge.calls = 10 * calls
        edge.p99_ms = rng.uniform(20, 90)
        edge.errors["timeout"] = rng.randrange(3)
        edge.totals.outcomes["success"] += calls
        edge.totals.latency_counts[rng.randrange(3, 8)] += calls


async def publish(nc: Client, reports: list[pb.EdgeReport], rng: random.Random) -> None:
    """Reports in turn, spread evenly over a second, for ever."""
    due_s = time.monotonic()
    while True:
        for report in reports:
            move_on(report, rng)
            await nc.publish(_subject(report), report.SerializeToString())
            due_s += INTERVAL_S / len(reports)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _subject(report: pb.EdgeReport) -> str:
    return f"breakwater.edges.{report.process}"


async def obey(nc: Client, reports: dict[str, list[pb.EdgeReport]]) -> None:
    """Opens and closes circuits as it is told."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        caller, dependency, state = line.split()
        report = reports[caller][0]
        edge = next(edge for edge in report.edges if edge.dependency == dependency)
        before, edge.state = edge.state, STATES[state]
        report.as_of.FromNanoseconds(time.time_ns())
        told = pb.EdgeReport()
        told.CopyFrom(report)
        told.transition.caller, told.transition.dependency = caller, dependency
        told.transition.from_state, told.transition.to_state = before, edge.state
        told.transition.at.CopyFrom(report.as_of)
        at_ms = time.time_ns() / 1e6
        await nc.publish(_subject(report), told.SerializeToString())
        await nc.flush()
        print(f"{at_ms:.3f}", flush=True)


async def main(url: str, user: str, password: str) -> None:
    """Until its input ends."""
    nc = await nats.connect(url, user=user, password=password)
    rng = random.Random(5)
    reports = fleet(rng)
    every = [report for each in reports.values() for report in each]
    talking = asyncio.create_task(publish(nc, every, rng))
    await obey(nc, reports)
    talking.cancel()
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text().strip()))
