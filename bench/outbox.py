"""How fast events go from a transaction to an effect elsewhere, on real servers with every write on disk.

`python -m bench.outbox`: one JSON line a figure. The peer is the plain loop one would write with asyncpg and nats-py: the
same SQL, batches and acknowledgements without our layers. Rounds are interleaved, the median counts. Latency is taken
with the sender (transactions and relay) and the receiver in processes of their own, as the platform runs them.
"""

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import nats
import nats.errors
import uvloop
from nats.aio.client import Client as NATS  # noqa: N814 - its own name for itself
from nats.js.api import AckPolicy, ConsumerConfig

from breakwater.chassis import cloudevents, outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database, PoolLimits, Transaction
from breakwater.chassis.inbox import Consumer, Received
from breakwater.chassis.migrations import migrate
from breakwater.chassis.outbox import OutboxEvent, Relay
from breakwater.local.databases import ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.nats import NatsServer
from breakwater.local.postgres import PostgresServer

TYPE = "breakwater.leads.v1.LeadAssigned"
PAYLOAD = b"x" * 250
LIMITS = PoolLimits(size_max=20, acquire_timeout_s=20.0)
PENDING = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
READ = """
SELECT day, position, id::text, type, subject_id, sequence, payload, occurred_at, traceparent
FROM outbox WHERE published_at IS NULL ORDER BY position LIMIT 1000 FOR UPDATE SKIP LOCKED
"""
MARK = "UPDATE outbox SET published_at = now() WHERE day = $1 AND position = ANY($2) AND published_at IS NULL"
RECEIVE = (
    "INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id"
)


def tell(figure: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    ratio = round(value / peer_value, 2) if peer_value else None
    line = {"bench": "outbox", "figure": figure, "value": round(value, 2), "unit": unit, "peer": peer}
    print(json.dumps(line | {"peer_value": round(peer_value, 2) if peer_value else None, "ratio": ratio}), flush=True)


class Place:
    """Two services' databases and NATS, all real and on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postgres = PostgresServer(
            directory / "postgres", password_file=directory / "password", log_file=directory / "postgres.log"
        )
        self.nats = NatsServer(directory / "nats", secrets=directory / "secrets", log_file=directory / "nats.log")

    def dsn(self, service: str) -> str:
        return self.postgres.dsn(service, user=service, password="bench")

    async def prepare(self, service: str) -> None:
        await provision_roles(self.postgres.dsn(), [ServiceRoles(service, "bench", "bench")])
        await provision_database(self.postgres.dsn(), service)
        await provision_schema(self.postgres.dsn(service), service, service)
        owner_dsn = self.postgres.dsn(service, user=f"{service}_owner", password="bench")
        await migrate(owner_dsn, service, self.directory / "no migrations")

    async def database(self, service: str) -> Database:
        return await Database.open(self.dsn(service), service=service, limits=LIMITS)

    async def bus(self, service: str) -> Bus:
        return await Bus.connect(self.nats.url, service=service, user=service, password=self.nats.password(service))


async def ignore(_tx: Transaction, _event: Received) -> None:
    return


async def add(db: Database, count: int, of_a_transaction: int = 500) -> None:
    for _ in range(0, count, of_a_transaction):
        async with db.transaction() as tx:
            await outbox.add(tx, [OutboxEvent(TYPE, "lead-1", 1, PAYLOAD) for _ in range(of_a_transaction)])


async def rate(events: int, db: Database, sql: str, wanted: int, work: Awaitable[None]) -> float:
    """Events a second until `sql` counts `wanted`, while `work` runs."""
    task = asyncio.ensure_future(work)
    started_s = time.perf_counter()
    async with db.read() as reader:
        while await reader.fetchval(sql) != wanted:
            if task.done():
                task.result()
            await asyncio.sleep(0.02)
    taken_s = time.perf_counter() - started_s
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return events / taken_s


async def bare_relay(place: Place) -> None:
    db = await asyncpg.connect(place.dsn("leads"))
    client = await nats.connect(
        place.nats.url, user="leads", password=place.nats.password("leads"), inbox_prefix="_INBOX_leads"
    )
    try:
        await _publish_pending(db, client)
    finally:
        await client.close()
        await db.close()


async def _publish_pending(db: Any, client: NATS) -> None:
    batches = 0
    while True:
        async with db.transaction():
            rows = await db.fetch(READ)
            for start in range(0, len(rows), 200):
                batches += 1
                batch = rows[start : start + 200]
                for position, row in enumerate(batch, 1):
                    headers = _headers(row) | {"Nats-Batch-Id": f"b{batches}", "Nats-Batch-Sequence": str(position)}
                    if position < len(batch):
                        await client.publish(row["type"], row["payload"], headers=headers)
                    else:
                        headers["Nats-Batch-Commit"] = "1"
                        answer = await client.request(row["type"], row["payload"], timeout=5, headers=headers)
                        assert b'"error"' not in answer.data, answer.data  # noqa: S101 - a peer that fails is no peer
            for day in {row["day"] for row in rows}:
                await db.execute(MARK, day, [row["position"] for row in rows if row["day"] == day])
        await asyncio.sleep(0 if rows else 0.01)


def _headers(row: Any) -> dict[str, str]:
    return cloudevents.headers_of(
        event_id=row["id"],
        event_type=row["type"],
        source="leads",
        subject_id=row["subject_id"],
        sequence=row["sequence"],
        time=row["occurred_at"],
        traceparent=row["traceparent"],
    )


async def bare_consumer(place: Place) -> None:
    db = await asyncpg.connect(place.dsn("health"))
    client = await nats.connect(
        place.nats.url, user="health", password=place.nats.password("health"), inbox_prefix="_INBOX_health"
    )
    try:
        await _take_events(db, client)
    finally:
        await client.close()
        await db.close()


async def _take_events(db: Any, client: NATS) -> None:
    jetstream = client.jetstream()
    config = ConsumerConfig(name="health", durable_name="health", ack_policy=AckPolicy.EXPLICIT, filter_subjects=[TYPE])
    await jetstream.add_consumer("LEADS", config)
    subscription = await jetstream.pull_subscribe_bind("health", "LEADS")
    while True:
        try:
            messages = await subscription.fetch(100, timeout=0.5)
        except nats.errors.TimeoutError:
            continue
        async with db.transaction():
            await db.fetch(RECEIVE, "health", [(message.headers or {})["ce-id"] for message in messages])
        for message in messages:
            await message.ack()


async def measure_rates(place: Place, events: int, rounds: int) -> None:
    leads, notify, health = [await place.database(service) for service in ("leads", "notify", "health")]
    bus, receiver_bus = await place.bus("leads"), await place.bus("notify")
    consumer = Consumer(receiver_bus, notify, stream="LEADS", durable="notify", handlers={TYPE: ignore})
    received = "SELECT count(*) FROM inbox"
    figures: dict[str, list[float]] = {name: [] for name in ("relay", "bare relay", "consumer", "bare consumer")}
    for turn in range(1, rounds + 1):
        # The first one makes the stream.
        for name, work in (("relay", Relay(leads, bus).run), ("bare relay", lambda: bare_relay(place))):
            await add(leads, events)
            figures[name].append(await rate(events, leads, PENDING, 0, work()))
        count, wanted = 2 * events, 2 * events * turn
        figures["consumer"].append(await rate(count, notify, received, wanted, consumer.run()))
        figures["bare consumer"].append(await rate(count, health, received, wanted, bare_consumer(place)))
    median = {name: statistics.median(values) for name, values in figures.items()}
    for name in ("relay", "consumer"):
        tell(f"{name}_drain", median[name], "events/s", "plain asyncpg and nats-py", median[f"bare {name}"])
    for closing in (bus, receiver_bus, leads, notify, health):
        await closing.close()


async def measure_latency(place: Place, transactions_per_s: int, of_a_transaction: int, duration_s: float) -> None:
    rate_per_s = transactions_per_s * of_a_transaction
    db, bus = await place.database("leads"), await place.bus("leads")
    relay = asyncio.create_task(Relay(db, bus).run())
    seen_file = place.directory / f"seen-{rate_per_s}"
    places = [str(seen_file), place.dsn("notify"), place.nats.url, place.nats.password("notify")]
    # One argument: a password may begin with a hyphen.
    arguments = [sys.executable, "-m", "bench.outbox", f"--receive={json.dumps(places)}"]
    child = subprocess.Popen(arguments)  # noqa: ASYNC220 - before anything is timed
    committed: dict[str, float] = {}

    async def one() -> None:
        events = [OutboxEvent(TYPE, "lead-1", 1, PAYLOAD) for _ in range(of_a_transaction)]
        async with db.transaction() as tx:
            await outbox.add(tx, events)
        committed.update(dict.fromkeys((event.id for event in events), time.time()))

    await _paced(one, 50, 2.0)
    committed.clear()
    await _paced(one, transactions_per_s, duration_s)
    await rate(1, db, PENDING, 0, asyncio.sleep(60))
    await asyncio.sleep(1)
    child.send_signal(signal.SIGTERM)
    child.wait()
    seen = json.loads(seen_file.read_text())
    latencies_ms = [max(0.0, seen[event_id] - at_s) * 1000 for event_id, at_s in committed.items()]
    tell(f"commit_to_handler_p50_at_{rate_per_s}", statistics.median(latencies_ms), "ms")
    tell(f"commit_to_handler_p99_at_{rate_per_s}", statistics.quantiles(latencies_ms, n=100)[98], "ms")
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    await bus.close()
    await db.close()


async def _paced(work: Callable[[], Awaitable[None]], rate_per_s: int, duration_s: float) -> None:
    """An open loop: a slow answer delays nobody else's question."""
    tasks = []
    started_s = time.perf_counter()
    for number in range(int(rate_per_s * duration_s)):
        await asyncio.sleep(max(0.0, started_s + number / rate_per_s - time.perf_counter()))
        tasks.append(asyncio.ensure_future(work()))
    await asyncio.gather(*tasks)


async def receive(seen_file: Path, dsn: str, url: str, password: str) -> None:
    """The receiving process: notes when each event reached its handler, and says so when told to stop."""
    seen: dict[str, float] = {}

    async def note(_tx: Transaction, event: Received) -> None:
        seen[event.id] = time.time()

    db = await Database.open(dsn, service="notify")
    bus = await Bus.connect(url, service="notify", user="notify", password=password)
    consumer = asyncio.create_task(Consumer(bus, db, stream="LEADS", durable="notify", handlers={TYPE: note}).run())
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    seen_file.write_text(json.dumps(seen))  # noqa: ASYNC240 - nothing is timed any more


async def run(events: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - before anything is timed
        place = Place(Path(directory))
        try:
            place.postgres.start()
            place.nats.start()
            for service in ("leads", "notify", "health"):
                await place.prepare(service)
            await measure_rates(place, events, rounds)
            await measure_latency(place, 200, 1, 5.0)
            await measure_latency(place, 200, 5, 5.0)
        finally:
            place.nats.close()
            place.postgres.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--receive", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.receive:
        uvloop.run(receive(Path(given.receive[0]), *given.receive[1:]))
    else:
        uvloop.run(run(given.events, given.rounds))
