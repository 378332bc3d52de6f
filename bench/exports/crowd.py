"""`make bench-exports-crowd`: fifty exports of 100,000 rows at once, and what everybody else feels of them.

Beside them, in one run: exports of 1,000 rows and reads of the API, each first alone, then beside each other, then in the
crowd; and the memory of the processes of files, sampled. One JSON line a figure.
"""

import argparse
import asyncio
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx2

from bench.exports.whole import FIELDS, multiply
from tests.support.platform import Platform, eventually, running

ROWS = 100_000
FEW_ROWS = 1_000
EXPORTS = 50
CALLERS = 5
SAMPLES = 40
"""Of small exports alone; in the crowd as many as there is time for."""
READS_S = 50.0
"""Reads a second."""
LOOK_S = 0.02
UNLOADED_S = 20.0
"""Of reads with nothing beside them."""
SMALL_RATIO_MAX, READS_RATIO_MAX = 3.0, 2.0
"""Issue 6, What must be shown, 5."""

_rng = random.Random(1)
_FEW = "UPDATE leads.leads SET source = '少' WHERE id IN (SELECT id FROM leads.leads ORDER BY id LIMIT 1000)"


@dataclass
class Memory:
    """What the processes of files have in memory, their encoders included."""

    pid: int
    worst_mb: float = 0.0
    encoders_max: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Looks until it is over."""
        while not self.over.is_set():
            pids = [self.pid, *_children(self.pid)]
            self.worst_mb = max(self.worst_mb, sum(map(_proportional_mb, pids)))
            self.encoders_max = max(self.encoders_max, len(pids) - 1)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), 0.5)


def _children(parent: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _proportional_mb(pid: int) -> float:
    """What is its own of what it shares with others counted once."""
    with suppress(OSError, ProcessLookupError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


async def export(client: httpx2.AsyncClient, body: Mapping[str, object], look_s: float) -> tuple[float, str, float]:
    """Seconds from asking until the file is there, who made it, and when."""
    began_s = time.monotonic()
    asked = await client.post("/v1/exports", json=body)
    asked.raise_for_status()
    while True:
        answer = await client.get(f"/v1/exports/{asked.json()['id']}")
        seen = answer.json()
        if answer.status_code == HTTPStatus.OK and seen["state"] == "completed":
            return time.monotonic() - began_s, str(seen["engine"]), time.monotonic()
        if answer.status_code == HTTPStatus.OK and seen["state"] == "failed":
            raise SystemExit(f"an export failed: {seen}")
        # Callers do not look in step: fifty that began together would hit one moment of each second.
        await asyncio.sleep(look_s * _rng.uniform(0.5, 1.5))


async def reads(client: httpx2.AsyncClient, lead_id: str, over: asyncio.Event) -> list[float]:
    """Seconds of each read, at a steady pace, from when it was due; infinity for one that was refused."""
    took: list[float] = []

    async def one(due_s: float) -> None:
        answer = await client.get(f"/v1/leads/{lead_id}")
        took.append(time.monotonic() - due_s if answer.status_code == HTTPStatus.OK else float("inf"))

    async with asyncio.TaskGroup() as tasks:
        due_s = time.monotonic()
        while not over.is_set():
            tasks.create_task(one(due_s))
            due_s += 1 / READS_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    return took


async def small(client: httpx2.AsyncClient, goes_on: Callable[[list[float]], bool]) -> list[float]:
    """Exports of a thousand rows, one after the other, for as long as it goes on."""
    body = {"dataset": "leads", "format": "xlsx", "fields": list(FIELDS), "filter": {"source": "少"}}
    took: list[float] = []
    while goes_on(took):
        took.append((await export(client, body, LOOK_S))[0])
    return took


def p99(values: list[float]) -> float:
    """Of few values the worst."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def report(figure: str, value: float, unit: str, aim: float | None = None) -> None:
    """One line."""
    line = {"bench": "exports-crowd", "figure": figure, "value": round(value, 3), "unit": unit, "aim": aim}
    print(json.dumps(line), flush=True)


async def measure(platform: Platform, exports: int, rows: int, lead_id: str) -> None:
    """Everything, on a running platform."""

    def client(sub: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {platform.token(sub=sub)}"}
        return httpx2.AsyncClient(base_url=platform.ready["gateway"], headers=headers, timeout=60, trust_env=False)

    reader, few, *crowd = [client(f"caller-{number}") for number in range(CALLERS + 2)]
    async with asyncio.TaskGroup() as tasks:
        over = asyncio.Event()
        reading = tasks.create_task(reads(reader, lead_id, over))
        await asyncio.sleep(UNLOADED_S)
        over.set()
    unloaded = reading.result()
    async with asyncio.TaskGroup() as tasks:
        over = asyncio.Event()
        reading = tasks.create_task(reads(reader, lead_id, over))
        small_alone = await small(few, lambda took: len(took) < SAMPLES)
        over.set()
    beside_small = reading.result()

    memory = Memory(platform.pid("files"))
    body = {"dataset": "leads", "format": "xlsx", "fields": list(FIELDS)}
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        over = asyncio.Event()
        watching = tasks.create_task(memory.watch())
        large = [tasks.create_task(export(crowd[number % CALLERS], body, 1.0)) for number in range(exports)]
        reading = tasks.create_task(reads(reader, lead_id, over))
        small_in_crowd = await small(few, lambda _: not all(task.done() for task in large))
        took_s = max(task.result()[2] for task in large) - began_s
        over.set()
        memory.over.set()
        await watching
    by_files = sum(task.result()[1] == "files" for task in large)
    report(f"exports_{exports}x{rows // 1000}k", exports * rows / took_s, "rows/s")
    report("exports_made_by_files", by_files, "exports", exports)
    report("files_memory_peak", memory.worst_mb, "MB")
    report("encoders_at_a_time", memory.encoders_max, "processes")
    report("small_exports_in_crowd", len(small_in_crowd), "exports")
    report("small_export_alone_p99", 1000 * p99(small_alone), "ms")
    report("small_export_in_crowd_p99", 1000 * p99(small_in_crowd), "ms")
    report("small_export_ratio", p99(small_in_crowd) / p99(small_alone), "x", SMALL_RATIO_MAX)
    report(
        "reads_refused", sum(each == float("inf") for each in (*unloaded, *beside_small, *reading.result())), "reads", 0
    )
    report("read_unloaded_p99", 1000 * p99(unloaded), "ms")
    report("read_beside_small_exports_p99", 1000 * p99(beside_small), "ms")
    report("read_in_crowd_p99", 1000 * p99(reading.result()), "ms")
    report("read_ratio", p99(reading.result()) / p99(unloaded), "x", READS_RATIO_MAX)
    report("read_ratio_to_beside_small", p99(reading.result()) / p99(beside_small), "x")
    for each in (reader, few, *crowd):
        await each.aclose()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--exports", type=int, default=EXPORTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, running(Path(name) / "state") as platform:
        lead = {"name": "客户", "phone": "13800138000", "source": "官网", "budget": "1234.50"}
        platform.api().post("/v1/leads", json=lead).raise_for_status()
        eventually("events to leave", lambda: platform.unpublished() == 0)
        asyncio.run(multiply(platform, options.rows))
        platform.sql(_FEW)
        [lead_id] = [str(row["id"]) for row in platform.sql("SELECT id FROM leads.leads ORDER BY id DESC LIMIT 1")]
        asyncio.run(measure(platform, options.exports, options.rows, lead_id))


if __name__ == "__main__":
    main()
