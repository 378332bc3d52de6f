"""The process that serves: an RPC whose work needs one of `WORKERS` places, with the platform's limits and without any."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis import busrequests
from breakwater.chassis.auth import KeySource, ServiceVerifier
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database, PoolLimits
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.logging import configure
from breakwater.chassis.settings import ServiceSettings
from breakwater.local.nats import OPERATOR

WORKERS = 8
WORK_S = 0.16
ANSWER_S = 0.02
"""Of a NATS request: one at a time, so 50 a second."""

SERVICE = "breakwater.bench.v1.WorkService"
SUBJECT = "breakwater.bench.question"
UNLIMITED = 100_000
SERVERS: Mapping[str, Mapping[str, Any]] = {
    # The platform's own settings.
    "limited": {},
    "unlimited": {"grpc_concurrency_adaptive": False, "grpc_concurrency_max": UNLIMITED, "grpc_ops_max": UNLIMITED},
}


def quiet() -> None:
    """A line for each call that an overloaded server fails would be another load."""
    configure("bench", "error")
    logging.disable()


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
