"""A server at three times its capacity: `python -m bench.overload`, one JSON line a figure.

A process serves an RPC whose work needs one of `WORKERS` places (a semaphore, or a connection to a real PostgreSQL) for some
160 ms; another sends Poisson traffic of three priorities, each call with a deadline. Then the same to the real `leads`
process, reads and creations, before a PostgreSQL that is slow to reach. The limits are those that the settings of the
platform have; the peer is the same server without a limit. What starts after its deadline is counted where the work is: in
the handler, in PostgreSQL by a sequence that no rollback takes back, and in the answerer of NATS requests. Takes eight minutes.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from bench.hop import make_keys
from bench.overload import leads
from bench.overload.server import ANSWER_S, SERVERS, SERVICE, SUBJECT, WORKERS, quiet, serve
from bench.overload.traffic import closed_loop, open_loop, tell, three_times
from breakwater.chassis import busrequests
from breakwater.chassis.auth import ServiceSigner
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.local.postgres import PostgresServer
from breakwater.resilience import Deadline, current_deadline
from breakwater.resilience.shedding import Limiter, Priority

DEADLINE_S = 2.0


class Asker:
    """Calls one of the servers as another service does."""

    def __init__(self, port: int, signer: ServiceSigner, rpc: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._method = self._channel.unary_unary(
            f"/{SERVICE}/{rpc}",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
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
    """The figures of one kind of work."""
    askers = {name: Asker(port, signer, rpc) for name, port in ports.items()}
    capacity_per_s = await closed_loop(askers["unlimited"], WORKERS, span_s)
    await three_times(f"{rpc.lower()}, 3 x capacity: ", askers, capacity_per_s, span_s, rounds)
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
    leads.measure(options.seconds, options.rounds)


if __name__ == "__main__":
    main()
