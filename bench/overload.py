"""A server at three times its capacity: `python -m bench.overload`, one JSON line a figure.

A process serves an RPC whose work needs one of `WORKERS` places (a semaphore, or a connection to a real PostgreSQL) for some
160 ms; another sends Poisson traffic of three priorities, each call with a deadline. The peer is the same server without a
limit. What starts after its deadline is counted where the work is: in the handler, in PostgreSQL by a sequence that no
rollback takes back, and in the answerer of NATS requests. Takes six minutes.
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from bench.hop import make_keys
from breakwater.chassis import busrequests
from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database, PoolLimits
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.logging import configure
from breakwater.chassis.settings import ServiceSettings
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.local.postgres import PostgresServer
from breakwater.resilience import Deadline, Limiter, Priority, current_deadline

WORKERS = 8
WORK_S = 0.16
CAPACITY_PER_S = WORKERS / WORK_S
DEADLINE_S = 2.0
ANSWER_S = 0.02
"""Of a NATS request: one at a time, so 50 a second."""
MIX = {Priority.OPS: 0.03, Priority.INTERACTIVE: 0.67, Priority.BATCH: 0.3}
WARM_UP_S = 4.0

SERVICE = "breakwater.bench.v1.WorkService"
SUBJECT = "breakwater.bench.question"
UNLIMITED = 100_000
SERVERS: Mapping[str, Mapping[str, Any]] = {
    # As a service is set that knows how much it can work on at once.
    "limited": {"grpc_concurrency_min": 4, "grpc_concurrency_start": 32, "grpc_latency_ratio_max": 1.2},
    "defaults": {},
    "unlimited": {"grpc_concurrency_adaptive": False, "grpc_concurrency_max": UNLIMITED, "grpc_ops_max": UNLIMITED},
}
CODEC = {"request_serializer": StringValue.SerializeToString, "response_deserializer": StringValue.FromString}


def tell(figure: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    ratio = round(value / peer_value, 3) if peer_value else None
    line = {"bench": "overload", "figure": figure, "value": round(value, 4), "unit": unit, "peer": peer}
    print(
        json.dumps(line | {"peer_value": None if peer_value is None else round(peer_value, 4), "ratio": ratio}),
        flush=True,
    )


def quiet() -> None:
    """A line for each call that an overloaded server fails would be another load."""
    configure("bench", "error")
    logging.disable()


# ---- the process that serves ------------------------------------------------------------------------------------------


class Worker:
    """Two RPCs with the same work: `Sleep` on a semaphore, `Query` in PostgreSQL. The request is its deadline."""

    def __init__(self, name: str, database: Database) -> None:
        self.database = database
        self.places = asyncio.Semaphore(WORKERS)
        self.rng = random.Random(1)
        self.count: Counter[str] = Counter()
        self.sql = (
            "SELECT CASE WHEN clock_timestamp() > to_timestamp($1::float8) "
            f"THEN nextval('late_{name}') ELSE nextval('in_time_{name}') END, pg_sleep($2)"
        )

    def work_s(self) -> float:
        return WORK_S * self.rng.lognormvariate(-0.125, 0.5)

    def begin(self, what: str, ends_s: float) -> None:
        self.count[f"{what} late" if time.time() > ends_s else what] += 1

    async def sleep(self, request: StringValue, context: Any) -> StringValue:
        del context
        ends_s = float(request.value)
        self.begin("handler", ends_s)
        async with self.places:
            self.begin("work", ends_s)
            await asyncio.sleep(self.work_s())
        return request

    async def query(self, request: StringValue, context: Any) -> StringValue:
        del context
        ends_s = float(request.value)
        self.begin("handler", ends_s)
        async with self.database.read() as reader:
            await reader.fetchrow(self.sql, ends_s, self.work_s())
        return request


def add_worker(worker: Worker, server: Any) -> None:
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            behaviour, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
        )
        for name, behaviour in (("Sleep", worker.sleep), ("Query", worker.query))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def serve(directory: Path, dsn: str, nats_url: str, nats_password: str, pipe: Connection) -> None:
    quiet()

    async def main() -> None:
        keys = KeySource(str(directory / "jwks.json"), production=False)
        await keys.start()
        workers, servers = {}, {}
        for name, settings in SERVERS.items():
            database = await Database.open(dsn, service="bench", limits=PoolLimits(size_max=WORKERS))
            workers[name] = Worker(name, database)
            servers[name] = Server(
                "files", ServiceSettings(environment="development", **settings), ServiceVerifier(keys, "files")
            )
            servers[name].add(add_worker, workers[name], callers={"gateway"})
            await servers[name].start()
        bus = await Bus.connect(nats_url, service="bench", user=OPERATOR, password=nats_password)
        asked: Counter[str] = Counter()

        async def answer(content: bytes) -> bytes:
            asked["late" if time.time() > float(content) else "in time"] += 1
            await asyncio.sleep(ANSWER_S)
            return content

        await busrequests.serve(bus, SystemClock(), SUBJECT, answer, queue="bench")
        pipe.send({name: server.port for name, server in servers.items()})
        await asyncio.to_thread(pipe.recv)
        pipe.send(({name: dict(worker.count) for name, worker in workers.items()}, dict(asked)))
        for name, server in servers.items():
            await server.drain(0)
            await workers[name].database.close()
        await bus.close()

    uvloop.run(main())


# ---- the process that asks --------------------------------------------------------------------------------------------


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


async def closed_loop(call: Call, span_s: float) -> float:
    """Answers a second of as many clients as there are workers: all that the server can do, and no queue."""
    loop, answered = asyncio.get_running_loop(), 0
    began_s = loop.time()

    async def client() -> None:
        nonlocal answered
        while loop.time() < began_s + span_s:
            with suppress(grpc.aio.AioRpcError):
                await call(Priority.INTERACTIVE)
                answered += 1

    await asyncio.gather(*(client() for _ in range(WORKERS)))
    return answered / (loop.time() - began_s)


class Asker:
    """Calls one of the servers as another service does."""

    def __init__(self, port: int, signer: ServiceSigner, rpc: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._method = self._channel.unary_unary(f"/{SERVICE}/{rpc}", **CODEC)
        self._signer = signer

    async def __call__(self, priority: Priority) -> None:
        request = StringValue(value=str(time.time() + DEADLINE_S))
        metadata = (
            ("authorization", f"Bearer {self._signer.token_for('files')}"),
            ("breakwater-priority", priority.value),
        )
        await self._method(request, timeout=DEADLINE_S, metadata=metadata)

    async def close(self) -> None:
        await self._channel.close()


async def overload(rpc: str, ports: Mapping[str, int], signer: ServiceSigner, span_s: float, rounds: int) -> None:
    """The figures of one kind of work; of the limited server's rounds the one in the middle counts."""
    askers = {name: Asker(port, signer, rpc) for name, port in ports.items()}
    what = f"{rpc.lower()}, 3 x capacity: "

    async def run(name: str, load: float, seed: int) -> Seen:
        return await open_loop(askers[name], load * CAPACITY_PER_S, span_s, seed)

    alone = await closed_loop(askers["unlimited"], span_s)
    pairs = [(await run("limited", 0.5, seed), await run("limited", 3.0, seed)) for seed in range(rounds)]
    pairs.sort(key=lambda pair: pair[1].p99_ms(*Priority) / pair[0].p99_ms(*Priority))
    unloaded, limited = pairs[rounds // 2]
    seen = {"limited": limited} | {name: await run(name, 3.0, rounds) for name in ("defaults", "unlimited")}
    # What the server can do at most is the best that was seen of it: this machine is never quiet.
    maximum = max(alone, *(each.goodput_per_s() for each in seen.values()))
    usual_ms = unloaded.p99_ms(*Priority)
    for name in ("limited", "defaults"):
        ours, label = seen[name], what if name == "limited" else f"{what}platform defaults: "
        goodput, theirs = ours.goodput_per_s(), seen["unlimited"].goodput_per_s()
        tell(f"{label}goodput of maximum", goodput / maximum, "share", "no limit", theirs / maximum)
        tell(f"{label}p99 of the admitted", ours.p99_ms(*Priority), "ms", "unloaded", usual_ms)
    ours = seen["limited"]
    tell(f"{what}p99 of ops", ours.p99_ms(Priority.OPS), "ms", "unloaded", usual_ms)
    tell(f"{what}p99 of ops, no limit", seen["unlimited"].p99_ms(Priority.OPS), "ms", "unloaded", usual_ms)
    refused = [each.shed[Priority.OPS] + each.failed[Priority.OPS] for each in (ours, seen["unlimited"])]
    sent = [max(1, each.sent[Priority.OPS]) for each in (ours, seen["unlimited"])]
    tell(f"{what}ops not served", refused[0] / sent[0], "share", "no limit", refused[1] / sent[1])
    for priority in (Priority.INTERACTIVE, Priority.BATCH):
        tell(f"{what}{priority.value} shed", ours.share_shed(priority), "share")
    tell(f"{what}admitted and not served in time", sum(ours.failed.values()) / sum(ours.sent.values()), "share")
    for asker in askers.values():
        await asker.close()


async def questions(url: str, password: str, span_s: float) -> None:
    """NATS requests at three times what their answerer can do."""
    quiet()
    bus = await Bus.connect(url, service="asker", user=OPERATOR, password=password)

    async def ask(_: Priority) -> None:
        current_deadline.set(Deadline.after(DEADLINE_S))
        await busrequests.request(bus, SystemClock(), SUBJECT, str(time.time() + DEADLINE_S).encode())

    await open_loop(ask, 3 / ANSWER_S, span_s, 3)
    await bus.close()


async def started_in_postgres(dsn: str, name: str) -> tuple[int, int]:
    """Statements that started in time, and late, by PostgreSQL's own clock."""
    connection = await asyncpg.connect(dsn)
    try:
        sql = "SELECT coalesce(max(last_value), 0) FROM pg_sequences WHERE sequencename = $1"
        return await connection.fetchval(sql, f"in_time_{name}"), await connection.fetchval(sql, f"late_{name}")
    finally:
        await connection.close()


def cost_us(calls: int = 200_000) -> float:
    """One `enter` and `leave`, of the processor's time: others are on this machine."""
    limiter = Limiter(ceiling=256)
    began_s = time.process_time()
    for _ in range(calls):
        limiter.enter(Priority.INTERACTIVE)
        limiter.leave(Priority.INTERACTIVE, "GetLead", time.monotonic(), answered=True)
    return (time.process_time() - began_s) / calls * 1e6


async def measure(directory: Path, postgres: PostgresServer, nats: NatsServer, options: argparse.Namespace) -> None:
    dsn = postgres.dsn()
    connection = await asyncpg.connect(dsn)
    for name in SERVERS:
        await connection.execute(f"CREATE SEQUENCE late_{name}; CREATE SEQUENCE in_time_{name}")
    await connection.close()
    ours, theirs = multiprocessing.Pipe()
    arguments = (directory, dsn, nats.url, nats.password(OPERATOR), theirs)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=arguments)
    server.start()
    try:
        ports = await asyncio.to_thread(ours.recv)
        signer = ServiceSigner(directory / "gateway.jwk", "gateway", production=False)
        for rpc in ("Sleep", "Query"):
            await overload(rpc, ports, signer, options.seconds, options.rounds)
        await questions(nats.url, nats.password(OPERATOR), options.seconds)
        ours.send("stop")
        begun, asked = await asyncio.to_thread(ours.recv)
    finally:
        server.join(timeout=20)
        server.kill()
    for what, label in (("handler", "handlers"), ("work", "work behind a semaphore")):
        shares = [
            _late(begun[name].get(what, 0), begun[name].get(f"{what} late", 0)) for name in ("limited", "unlimited")
        ]
        tell(f"started after its deadline: {label}", shares[0], "share", "no limit", shares[1])
    shares = [_late(*await started_in_postgres(dsn, name)) for name in ("limited", "unlimited")]
    tell("started after its deadline: SQL statements", shares[0], "share", "no limit", shares[1])
    tell("started after its deadline: NATS requests", _late(asked.get("in time", 0), asked.get("late", 0)), "share")
    tell("limiter, enter and leave", cost_us(), "us")


def _late(in_time: int, late: int) -> float:
    return late / max(1, in_time + late)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="of the limited server; odd")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # The servers' own user has to reach its data.
        directory.chmod(0o755)
        make_keys(directory)
        postgres = PostgresServer(
            directory / "postgres", password_file=directory / "password", log_file=directory / "postgres.log"
        )
        nats = NatsServer(directory / "nats", secrets=directory / "secrets", log_file=directory / "nats.log")
        postgres.start()
        nats.start()
        try:
            uvloop.run(measure(directory, postgres, nats, options))
        finally:
            nats.close()
            postgres.close()


if __name__ == "__main__":
    main()
