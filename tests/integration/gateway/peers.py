"""The services behind the gateway, faked at their gRPC ports: real servers, real credentials, made-up answers."""

# ruff: noqa: N802 - the methods are named by the protos

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from breakwater.chassis.auth import KeySource, ServiceVerifier
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import Environment, ServiceSettings
from breakwater.files.v1 import files_pb2
from breakwater.files.v1.files_pb2_grpc import FilesServiceServicer, add_FilesServiceServicer_to_server
from breakwater.leads.v1 import leads_pb2
from breakwater.leads.v1.leads_pb2_grpc import (
    ImportServiceServicer,
    LeadsServiceServicer,
    add_ImportServiceServicer_to_server,
    add_LeadsServiceServicer_to_server,
)
from breakwater.local.ports import free_port
from tests.support.tokens import Key, write_jwks

BASE = ("id", "name", "phone")
FULL = (*BASE, "need")


async def _not_asked(_self: Any, _request: Any, _context: Any) -> Any:
    raise NotFoundError("no test asks this")


class FakeLeads(LeadsServiceServicer, ImportServiceServicer):
    """Leads kept in memory."""

    ListAssignments = ClaimLead = AddFollowUp = ChangeStage = GetCustomer = _not_asked
    GetImport = ListRejections = ListImportRows = _not_asked

    def __init__(self) -> None:
        self.rows = 1000
        self.created: list[str] = []
        self.uploaded_bytes = 0
        self.streams = 0
        self.datasets: list[str] = []
        self.hold_rows = asyncio.Event()
        self.hold_rows.set()
        self.out = False

    async def CreateLead(self, request: Any, context: Any) -> Any:
        self.created.append(request.name)
        lead = leads_pb2.Lead(id=f"lead-{len(self.created)}", customer_id="c", name=request.name, stage="new")
        assignment = leads_pb2.Assignment(owner_id="1001", rule_id="r", rule_version=1, reason="轮流")
        return leads_pb2.CreateLeadResponse(lead=lead, assignment=assignment)

    async def GetLead(self, request: Any, context: Any) -> Any:
        if request.id != "lead-1":
            raise NotFoundError("there is no such lead")
        return leads_pb2.GetLeadResponse(lead=leads_pb2.Lead(id="lead-1", name="王芳", source="web", stage="new"))

    async def ListLeads(self, request: Any, context: Any) -> Any:
        leads = [leads_pb2.Lead(id=f"lead-{n}", name="王芳", source="web", stage="new") for n in range(request.limit)]
        return leads_pb2.ListLeadsResponse(leads=leads)

    async def StreamDataset(self, request: Any, context: Any) -> Any:
        if self.out:
            raise UnavailableError("leads cannot read now")
        self.streams += 1
        self.datasets.append(request.dataset)
        names = BASE if request.base_fields_only else FULL
        columns = [
            leads_pb2.Column(name=name, title=f"字段 {name}", type=leads_pb2.ColumnType.COLUMN_TYPE_TEXT)
            for name in names
        ]
        yield leads_pb2.StreamDatasetResponse(columns=columns, rows_total=self.rows)
        for start in range(0, self.rows, 500):
            await self.hold_rows.wait()
            numbers = range(start, min(start + 500, self.rows))
            rows = [leads_pb2.Row(cells=[f"{n}", f"王芳{n}", f"+86138{n:08d}", "ERP"][: len(names)]) for n in numbers]
            yield leads_pb2.StreamDatasetResponse(rows=rows)

    async def StartImport(self, request_iterator: Any, context: Any) -> Any:
        async for request in request_iterator:
            self.uploaded_bytes += len(request.content)
        answer = leads_pb2.StartImportResponse()
        getattr(answer, "import").id = "import-1"
        getattr(answer, "import").state = "queued"
        return answer


class Passwords(Enum):
    """What a release of files makes of a password."""

    KNOWN = "encrypts"
    UNKNOWN = "refuses the format, as 0.2.0 does"
    IGNORED = "makes a plain file"


class FakeFiles(FilesServiceServicer):
    """Jobs in memory; `hang` holds every answer, `held` until it is set, `finish` completes a job with its content."""

    def __init__(self) -> None:
        self.jobs: dict[str, files_pb2.ExportJob] = {}
        self.contents: dict[str, bytes] = {}
        self.claims: list[Any] = []
        self.hang = False
        self.held: asyncio.Event | None = None
        self.asked_now = self.asked_at_once = 0
        self.passwords = Passwords.KNOWN

    def finish(self, export_id: str, content: bytes, document: files_pb2.Document | None = None) -> files_pb2.ExportJob:
        job = files_pb2.ExportJob(
            export_id=export_id,
            state="completed",
            rows_done=3,
            rows_total=3,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            document=document,
            encrypted=export_id in self.jobs and self.jobs[export_id].encrypted,
        )
        self.jobs[export_id] = job
        self.contents[export_id] = content
        return job

    async def StartExport(self, request: Any, context: Any) -> Any:
        await self._answer()
        self.claims.append(request)
        job = self.jobs.setdefault(request.export_id, self._claimed(request))
        return files_pb2.StartExportResponse(job=job)

    def _claimed(self, request: Any) -> files_pb2.ExportJob:
        job = files_pb2.ExportJob(export_id=request.export_id, state="queued")
        if request.spec.format == "encrypted-xlsx":
            job.encrypted = self.passwords is Passwords.KNOWN
            if self.passwords is Passwords.UNKNOWN:
                job.state, job.failure = "failed", "The export cannot be made. format is one of xlsx, csv."
        return job

    async def GetExport(self, request: Any, context: Any) -> Any:
        await self._answer()
        if request.export_id not in self.jobs:
            raise NotFoundError("there is no such job")
        return files_pb2.GetExportResponse(job=self.jobs[request.export_id])

    async def ReadContent(self, request: Any, context: Any) -> Any:
        content = self.contents[request.export_id][request.offset :][: request.length or None]
        for start in range(0, len(content), 65_536):
            yield files_pb2.ReadContentResponse(content=content[start : start + 65_536])

    async def _answer(self) -> None:
        self.asked_now += 1
        self.asked_at_once = max(self.asked_at_once, self.asked_now)
        try:
            if self.hang:
                await asyncio.Event().wait()
            if self.held:
                await self.held.wait()
        finally:
            self.asked_now -= 1


@dataclass
class Peers:
    """The gRPC servers, each on a port that stays its own across restarts."""

    directory: Path
    key: Key = field(default_factory=lambda: Key("gateway"))
    stranger: Key = field(default_factory=lambda: Key("gateway"))
    leads: FakeLeads = field(default_factory=FakeLeads)
    files: FakeFiles = field(default_factory=FakeFiles)
    servers: dict[str, Server] = field(default_factory=dict)
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("leads", "files", "health", "notify")}
    )

    @property
    def addresses(self) -> Mapping[str, tuple[str, ...]]:
        return {name: (f"127.0.0.1:{port}",) for name, port in self.ports.items()}

    @property
    def key_file(self) -> Path:
        path = self.directory / "gateway.jwk"
        if not path.exists():
            path.write_text(json.dumps(self.key.jwk))
            path.chmod(0o600)
        return path

    @property
    def jwks(self) -> str:
        return str(write_jwks(self.directory / "services.jwks.json", self.key))

    async def start(self, name: str, *, trusts_us: bool = True) -> None:
        """Serves `name`; one that does not trust us knows another key as the gateway's."""
        file = write_jwks(self.directory / f"{name}.jwks.json", self.key if trusts_us else self.stranger)
        keys = KeySource(str(file), production=False)
        await keys.start()
        settings = ServiceSettings(environment=Environment.DEVELOPMENT, grpc_port=self.ports[name])
        server = Server(name, settings, ServiceVerifier(keys, name))
        if name == "leads":
            server.add(add_LeadsServiceServicer_to_server, self.leads, callers={"gateway"})
            server.add(add_ImportServiceServicer_to_server, self.leads, callers={"gateway"})
        elif name == "files":
            server.add(add_FilesServiceServicer_to_server, self.files, callers={"gateway"})
        await server.start()
        self.servers[name] = server

    async def stop(self, name: str) -> None:
        """As `breakwater service stop NAME`, without the grace."""
        await self.servers.pop(name).drain(0)

    async def close(self) -> None:
        for name in list(self.servers):
            await self.stop(name)
