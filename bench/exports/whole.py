"""The shipped path of an export: rows of the real leads over gRPC, through files, to a downloaded file.

Beside it what limits it, each measured alone on the same rows: the stream (leads -> gRPC, thrown away) and the writer (the
encoder process of files, fed from a disk).
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from breakwater.chassis.auth import ServiceSigner
from breakwater.identity.v1 import identity_pb2
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import LeadsServiceStub
from breakwater.local.ports import HOST
from breakwater.local.state import State
from services.files.exports.frames import Kind, frame
from services.files.settings import FilesSettings
from tests.support.platform import Platform, eventually, running

FIELDS = (
    "id", "name", "company", "phone", "email", "city_code",
    "stage", "priority", "budget", "created_at", "assigned_at", "owner_name",
)  # fmt: skip
"""Twelve mixed columns."""
TIMEOUT_S = 600.0
_ACTOR = identity_pb2.Actor(sub="bench", role=identity_pb2.ROLE_ADMIN, scope=identity_pb2.SCOPE_ALL)

# What one lead that came by the API is like, again and again.
_MULTIPLIED = """
INSERT INTO leads.leads SELECT (jsonb_populate_record(first.one, jsonb_build_object(
  'id', uuidv7_of(n), 'name', '客户' || n % 5000,
  'company', '上海测试科技有限公司' || n % 5000, 'phone', '0138' || lpad(n::text, 8, '0'),
  'email', 'user' || n || '@example.com', 'budget', (n % 100000)::numeric + 0.25, 'external_id', null, 'waiting', false,
  'created_at', timestamptz '2026-01-05 01:30:00Z' + n * interval '37.123456 seconds'))).*
FROM (SELECT lead AS one FROM leads.leads AS lead LIMIT 1) AS first, generate_series(1, {rows}) AS n
""".replace("uuidv7_of(n)", "'0197f3a0-0000-7000-8000-' || lpad(to_hex(n), 12, '0')")


@dataclass(frozen=True, slots=True)
class Whole:
    """Rows a second of each."""

    stream_rows_s: float
    writer_rows_s: float
    export_rows_s: float
    engine: str

    @property
    def share(self) -> float:
        """Of the slower of stream and writer."""
        return self.export_rows_s / min(self.stream_rows_s, self.writer_rows_s)


def measure(rows: int) -> Whole:
    """All three, on a platform of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, running(Path(name) / "state") as platform:
        folder = Path(name)
        lead = {"name": "客户", "phone": "13800138000", "source": "官网", "budget": "1234.50"}
        captured = platform.api().post("/v1/leads", json=lead, headers={"Idempotency-Key": str(uuid.uuid4())})
        captured.raise_for_status()
        eventually("events to leave", lambda: platform.unpublished() == 0)
        asyncio.run(multiply(platform, rows))
        stream_s = asyncio.run(_stream(platform))
        kept: list[bytes] = []
        asyncio.run(_stream(platform, kept.append))
        chunks = folder / "chunks"
        _keep(kept, chunks)
        began_s = time.perf_counter()
        with chunks.open("rb") as source, (folder / "encoded").open("wb") as target:
            encoder = [sys.executable, "-m", "services.files.exports.encoder"]
            subprocess.run(encoder, stdin=source, stdout=target, check=True)
        writer_s = time.perf_counter() - began_s
        export_s, engine = _export(platform, rows, folder / "file.xlsx")
        return Whole(rows / stream_s, rows / writer_s, rows / export_s, engine)


async def multiply(platform: Platform, rows: int) -> None:
    """Leads like the one that is there, until there are `rows`."""
    connection = await platform.connect()
    try:
        await connection.execute(_MULTIPLIED.format(rows=rows - 1), timeout=TIMEOUT_S)
        await connection.execute("VACUUM ANALYZE leads.leads", timeout=TIMEOUT_S)
    finally:
        await connection.close()


async def _stream(platform: Platform, keep: Callable[[bytes], None] | None = None) -> float:
    """Seconds to the last row, as files asks for them; `keep` is given each message."""
    signer = ServiceSigner(State.at(platform.state).service_key("files"), "files", production=False)
    request = pb.StreamDatasetRequest(actor=_ACTOR, dataset="leads", fields=FIELDS, packed=True)
    port = platform.status()["services"]["leads"]["grpc"]
    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        began_s = time.perf_counter()
        answers = LeadsServiceStub(channel).StreamDataset(
            request, timeout=TIMEOUT_S, metadata=(("authorization", f"Bearer {signer.token_for('leads')}"),)
        )
        async for answer in answers:
            if keep is not None:
                keep(answer.SerializeToString())
        return time.perf_counter() - began_s


def _keep(chunks: list[bytes], path: Path) -> None:
    """The input of an encoder."""
    memory_bytes_max = FilesSettings.model_fields["encoder_memory_bytes_max"].default
    order = {"format": "xlsx", "title": "线索", "zone": "Asia/Shanghai", "memory_bytes_max": memory_bytes_max}
    frames = [frame(Kind.ORDER, json.dumps(order).encode()), *(frame(Kind.CHUNK, each) for each in chunks)]
    path.write_bytes(b"".join([*frames, frame(Kind.END)]))


def _export(platform: Platform, rows: int, path: Path) -> tuple[float, str]:
    """Seconds from asking to the last byte on the caller's disk, and who made the file."""
    began_s = time.perf_counter()
    done = platform.cli(
        "export",
        "leads",
        "--format",
        "xlsx",
        "--fields",
        ",".join(FIELDS),
        "-o",
        str(path),
        "--json",
        timeout_s=TIMEOUT_S,
    )
    took_s = time.perf_counter() - began_s
    export = json.loads(done.stdout)
    if export["rows"] != rows:
        raise SystemExit(f"{export['rows']} rows of {rows} arrived")
    return took_s, str(export["engine"])
