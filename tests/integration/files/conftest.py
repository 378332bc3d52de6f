"""A leads service whose rows the test decides, a database of files, and whole processes of files."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier
from breakwater.chassis.bus import Bus
from breakwater.chassis.channels import Channel
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import ServiceSettings
from breakwater.files.v1 import files_pb2
from breakwater.files.v1.files_pb2_grpc import FilesServiceStub
from breakwater.leads.v1 import leads_pb2
from breakwater.local.ports import free_port
from breakwater.resilience import Policy, PolicySettings
from tests.support.s3 import serving
from tests.support.tokens import Key, write_jwks
from tests.support.waiting import until

OWNERS = ("leads", "files", "gateway")
COLUMNS = [
    leads_pb2.Column(name="name", title="姓名", type=leads_pb2.COLUMN_TYPE_TEXT),
    leads_pb2.Column(name="phone", title="电话", type=leads_pb2.COLUMN_TYPE_TEXT),
    leads_pb2.Column(name="budget", title="预算", type=leads_pb2.COLUMN_TYPE_DECIMAL),
    leads_pb2.Column(name="created_at", title="创建时间", type=leads_pb2.COLUMN_TYPE_DATETIME),
]
CHUNK_ROWS = 500


def chunks_of(count: int, *, packed: bool = True) -> list[leads_pb2.StreamDatasetResponse]:
    """The messages of a dataset of `count` rows: columns first, then chunks, packed or as leads before 0.3.0 has them."""
    rows = [[f"王{number}", f"0138{number:08}", f"{number}.50", "2026-01-05T01:30:00.25Z"] for number in range(count)]
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, count, CHUNK_ROWS)]
    head = leads_pb2.StreamDatasetResponse(columns=COLUMNS, rows_total=count)
    if not packed:
        unpacked = [[leads_pb2.Row(cells=cells) for cells in chunk] for chunk in chunks]
        return [head] + [leads_pb2.StreamDatasetResponse(rows=each) for each in unpacked]
    texts = ["".join("\x1f".join(cells) + "\x1e" for cells in chunk) for chunk in chunks]
    return [head] + [leads_pb2.StreamDatasetResponse(packed_rows=text.encode()) for text in texts]


class FakeLeads:
    """Streams `rows` rows, holding back after `stop_after` chunks until `gate` opens; `failure` is raised instead."""

    def __init__(self) -> None:
        self.rows = 1_200
        self.stop_after: int | None = None
        self.gate = asyncio.Event()
        self.failure: Exception | None = None
        self.requests: list[leads_pb2.StreamDatasetRequest] = []

    async def stream_dataset(
        self, request: leads_pb2.StreamDatasetRequest, context: Any
    ) -> AsyncIterator[leads_pb2.StreamDatasetResponse]:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        for number, message in enumerate(chunks_of(self.rows, packed=request.packed)):
            if number == self.stop_after:
                await self.gate.wait()
            yield message


def add_to_server(servicer: FakeLeads, server: Any) -> None:
    """The one RPC of leads that files calls."""
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.stream_dataset,
        request_deserializer=leads_pb2.StreamDatasetRequest.FromString,
        response_serializer=leads_pb2.StreamDatasetResponse.SerializeToString,
    )
    server.add_registered_method_handlers("breakwater.leads.v1.LeadsService", {"StreamDataset": handler})


@dataclass
class Keys:
    """A service key for each process, and the set of their public halves."""

    folder: Path
    by_owner: dict[str, Key] = field(default_factory=lambda: {owner: Key(owner) for owner in OWNERS})

    def __post_init__(self) -> None:
        self.jwks = write_jwks(self.folder / "services.jwks.json", *self.by_owner.values())

    def file(self, owner: str) -> Path:
        return self.by_owner[owner].write(self.folder / f"{owner}.jwk")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def leads(keys: Keys) -> AsyncIterator[tuple[FakeLeads, str]]:
    """A real gRPC server of leads around a fake use case, and its address."""
    settings = ServiceSettings(environment="development", grpc_port=free_port())
    source = KeySource(str(keys.jwks), production=False)
    await source.start()
    server = Server("leads", settings, ServiceVerifier(source, "leads", clock=SystemClock()))
    servicer = FakeLeads()
    server.add(add_to_server, servicer, callers={"files"})
    await server.start()
    yield servicer, f"127.0.0.1:{server.port}"
    servicer.gate.set()
    await server.drain(0)


@pytest.fixture
async def files_database(fresh_database):
    return await fresh_database("files")


@pytest.fixture
async def database(files_database) -> AsyncIterator[Database]:
    opened = await Database.open(files_database.dsn, service="files")
    yield opened
    await opened.close()


@pytest.fixture
async def as_admin(files_database):
    """`rows = await as_admin(sql, ...)` in the schema of files."""

    async def run(sql: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(files_database.admin_dsn)
        try:
            await connection.execute("SET search_path = files")
            return await connection.fetch(sql, *args)
        finally:
            await connection.close()

    return run


SEAL_KEY = bytes(range(64, 96))


def seal_key_file(folder: Path) -> Path:
    """The key that the gateway seals passwords with."""
    path = folder / "seal.key"
    path.write_bytes(SEAL_KEY)
    path.chmod(0o600)
    return path


@dataclass
class FilesProcess:
    """A process of files and a channel of the gateway to it."""

    environment: dict[str, str]
    grpc_port: int
    signer: ServiceSigner
    log: Path
    process: "subprocess.Popen[bytes]" = field(init=False)
    channel: Channel = field(init=False)

    def start(self) -> None:
        """Starts the process; it may take a while until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "services.files"]
            # Not here, where the code of the tree would come before that of a release.
            self.process = subprocess.Popen(command, env=self.environment, cwd=self.log.parent, stderr=log, stdout=log)
        policy = Policy(
            PolicySettings(
                caller="gateway", dependency="files", attempt_timeout_s=5.0, calls_min=1_000, calls_enough=1_000
            )
        )
        self.channel = Channel("files", [f"127.0.0.1:{self.grpc_port}"], policy, self.signer)
        self.stub = FilesServiceStub(self.channel.grpc)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def end(self) -> int:
        """SIGTERM; the exit code."""
        await self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 20)

    async def ask(self, method: str, request: Any) -> Any:
        """One RPC as the gateway makes it; None while files cannot be reached."""
        try:
            return await self.channel.unary(getattr(self.stub, method), request)
        except UnavailableError:
            return None

    async def begin(self, export_id: str, *, sealed_password: bytes = b"", **spec: Any) -> files_pb2.ExportJob:
        """Starts an export, as soon as files is there."""
        request = files_pb2.StartExportRequest(
            export_id=export_id,
            actor={"sub": "1001", "role": "ROLE_SALES", "scope": "SCOPE_OWN"},
            spec=files_pb2.ExportSpec(**({"dataset": "leads", "format": "xlsx"} | spec)),
            sealed_password=sealed_password,
        )
        return (await until("StartExport", lambda: self.ask("StartExport", request), 60)).job

    async def job(self, export_id: str) -> files_pb2.ExportJob | None:
        answer = await self.ask("GetExport", files_pb2.GetExportRequest(export_id=export_id))
        return answer and answer.job

    async def ended(self, export_id: str, within_s: float = 60) -> files_pb2.ExportJob:
        """The job when it has ended."""

        async def look() -> files_pb2.ExportJob | None:
            job = await self.job(export_id)
            return job if job and job.state in {"completed", "failed", "cancelled"} else None

        return await until("the export ends", look, within_s)

    async def content(self, export_id: str, offset: int = 0, length: int = 0) -> list[bytes]:
        """The pieces of the file."""
        request = files_pb2.ReadContentRequest(export_id=export_id, offset=offset, length=length)
        async with aclosing(self.channel.stream(self.stub.ReadContent, request)) as messages:
            return [message.content async for message in messages]


@pytest.fixture
async def new_process(keys, leads, files_database, clean_nats, tmp_path) -> AsyncIterator[Callable[..., FilesProcess]]:
    """`process = new_process()`: one more process of files over the same database, bus and object store."""
    made: list[FilesProcess] = []

    def create(**variables: str) -> FilesProcess:
        port = free_port()
        told = {
            "ENVIRONMENT": "development",
            "GRPC_PORT": port,
            "DATABASE_URL": files_database.url,
            "DATABASE_PASSWORD_FILE": files_database.password_file,
            "NATS_URL": clean_nats.url,
            "NATS_USER": "files",
            "NATS_PASSWORD_FILE": clean_nats.password_file("files"),
            "SERVICE_KEY_FILE": keys.file("files"),
            "SERVICE_JWKS": keys.jwks,
            "PEERS": f"leads={leads[1]}",
            "OBJECT_STORE_URL": (tmp_path / "objects").as_uri(),
            "SEAL_KEY_FILE": seal_key_file(tmp_path),
        } | variables
        environment = {f"BREAKWATER_{name}": str(value) for name, value in told.items()}
        signer = ServiceSigner(keys.file("gateway"), "gateway", production=False)
        basics = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        made.append(FilesProcess(basics | environment, port, signer, tmp_path / "files.log"))
        made[-1].start()
        return made[-1]

    with ExitStack() as stack:
        yield create
        for each in made:
            stack.callback(each.process.kill)
        for each in made:
            await each.end()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A server that speaks S3, without buckets."""
    with serving(tmp_path_factory.mktemp("s3") / "log") as client:
        yield client


@pytest.fixture
async def gateway_bus(clean_nats) -> AsyncIterator[Bus]:
    bus = await Bus.connect(clean_nats.url, service="gateway", user="gateway", password=clean_nats.password("gateway"))
    yield bus
    await bus.close()
