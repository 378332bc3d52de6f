"""The real `leads` process before a PostgreSQL that is slow to reach: its pool and its transactions are what is short.

Two more processes of `leads` are started beside the one of a running platform, with its keys and its database: one with the
settings as they are, one without limits. Nothing else of the platform works meanwhile, for the processors are few.
"""

import asyncio
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import httpx2
import uvloop

from bench.overload.server import UNLIMITED
from bench.overload.traffic import Call, closed_loop, three_times
from breakwater.chassis.auth import ServiceSigner
from breakwater.chassis.database import PoolLimits
from breakwater.identity.v1 import identity_pb2
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import LeadsServiceStub
from breakwater.local.ports import HOST, free_port
from breakwater.local.state import State
from breakwater.resilience.shedding import Priority
from services.leads.settings import LeadsSettings
from tests.support.faultproxy import FaultProxy, Latency
from tests.support.platform import Platform, eventually, running

READ_DELAY_S, CREATE_DELAY_S = 0.08, 0.04
"""From `leads` to PostgreSQL, and back: so long that its connections are short, and not the processors of this machine."""
DEADLINE_S = 5.0
OTHERS = ("gateway", "notify", "files", "health", "ops", "leads")
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "limited": {},
    "unlimited": {
        "GRPC_CONCURRENCY_ADAPTIVE": "false",
        "GRPC_CONCURRENCY_MAX": str(UNLIMITED),
        "GRPC_OPS_MAX": str(UNLIMITED),
        "CREATE_WAITING_MAX": str(UNLIMITED),
    },
}
_ACTOR = identity_pb2.Actor(sub="bench", role=identity_pb2.ROLE_ADMIN, scope=identity_pb2.SCOPE_ALL)


def measure(span_s: float, rounds: int) -> None:
    """The figures of reads and of creations."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, running(Path(folder) / "state") as platform:
        uvloop.run(_measure(platform, span_s, rounds))


async def _measure(platform: Platform, span_s: float, rounds: int) -> None:
    environment = _environment_of(platform.pid("leads"))
    place, _, database = environment["BREAKWATER_DATABASE_URL"].rpartition("@")
    host, _, rest = database.partition(":")
    port, _, name = rest.partition("/")
    for each in OTHERS:
        await asyncio.to_thread(platform.cli, "service", "stop", each)
    async with FaultProxy(host, int(port)) as proxy:
        environment["BREAKWATER_DATABASE_URL"] = f"{place}@{HOST}:{proxy.port}/{name}"
        with _process(environment, SETTINGS["limited"]) as ours, _process(environment, SETTINGS["unlimited"]) as theirs:
            ports = {"limited": ours, "unlimited": theirs}
            for metrics_port, _ in ports.values():
                await asyncio.to_thread(eventually, "leads to be ready", partial(_ready, metrics_port))
            signer = ServiceSigner(State.at(platform.state).service_key("gateway"), "gateway", production=False)
            clients = {name: Client(port, signer) for name, (_, port) in ports.items()}
            lead_id = await clients["unlimited"].create(Priority.INTERACTIVE)
            reads: dict[str, Call] = {name: client.read(lead_id) for name, client in clients.items()}
            creations: dict[str, Call] = {name: client.create for name, client in clients.items()}
            batch = LeadsSettings.model_fields["create_batch_size_max"].default
            async with proxy.fault(Latency(READ_DELAY_S)):
                await _three_times("leads, reads, 3 x capacity: ", reads, PoolLimits().size_max, span_s, rounds)
            async with proxy.fault(Latency(CREATE_DELAY_S)):
                await _three_times("leads, creations, 3 x capacity: ", creations, 2 * batch, span_s, rounds)
            for client in clients.values():
                await client.close()


async def _three_times(what: str, calls: Mapping[str, Call], places: int, span_s: float, rounds: int) -> None:
    await closed_loop(calls["unlimited"], places, 2.0)
    await three_times(what, calls, await closed_loop(calls["unlimited"], places, span_s), span_s, rounds)


class Client:
    """Calls one `leads` as the gateway does."""

    def __init__(self, port: int, signer: ServiceSigner) -> None:
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{port}")
        self._stub = LeadsServiceStub(self._channel)
        self._signer = signer
        self._numbers = itertools.count(port * 100_000)

    async def create(self, priority: Priority) -> str:
        number = next(self._numbers)
        request = pb.CreateLeadRequest(
            actor=_ACTOR,
            name=f"客户{number}",
            company=f"公司{number}",
            phone=f"139{number % 10**8:08d}",
            source="bench",
        )
        answer = await self._stub.CreateLead(request, timeout=DEADLINE_S, metadata=self._metadata(priority))
        return str(answer.lead.id)

    def read(self, lead_id: str) -> Call:
        async def read(priority: Priority) -> None:
            request = pb.GetLeadRequest(actor=_ACTOR, id=lead_id)
            await self._stub.GetLead(request, timeout=DEADLINE_S, metadata=self._metadata(priority))

        return read

    def _metadata(self, priority: Priority) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", f"Bearer {self._signer.token_for('leads')}"),
            ("breakwater-priority", priority.value),
        )

    async def close(self) -> None:
        await self._channel.close()


@contextmanager
def _process(environment: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """One more `leads`: the ports of its figures and of its RPCs."""
    metrics_port, port = free_port(), free_port()
    told = {f"BREAKWATER_{name}": value for name, value in settings.items()}
    ports = {"BREAKWATER_GRPC_PORT": str(port), "BREAKWATER_METRICS_PORT": str(metrics_port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.leads"],
        env={**environment, **told, **ports, "BREAKWATER_LOG_LEVEL": "error"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield metrics_port, port
    finally:
        process.kill()
        process.wait()


def _environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if entry)


def _ready(metrics_port: int) -> bool:
    try:
        return httpx2.get(f"http://{HOST}:{metrics_port}/readyz").status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
