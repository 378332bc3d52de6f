"""The gateway as the process it is: killed in the middle of an export, fed with large files, started without its peers."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx2
import pytest

from breakwater.local.ports import free_port

UPLOAD_SIZE_BYTES = 48 * 1024 * 1024
GROWTH_BYTES_MAX = 24 * 1024 * 1024


class GatewayProcess:
    """`python -m services.gateway` with these settings."""

    def __init__(self, settings, environment, log):
        told = {
            name: value
            for name, value in settings.model_dump(mode="json", exclude_defaults=True).items()
            if name != "peers"
        }
        told["peers"] = ",".join(f"{name}={at[0]}" for name, at in settings.peers.items())
        told["http_port"] = self.port = free_port()
        told["log_level"] = "warning"
        self.environment = environment | {f"BREAKWATER_{name.upper()}": str(value) for name, value in told.items()}
        self.log = log
        self.process = None

    async def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "services.gateway"], env=self.environment, stderr=log
            )

    async def ready(self):
        if self.process.poll() is not None:
            pytest.fail(self.log.read_text()[-3000:])
        async with httpx2.AsyncClient(trust_env=False) as client:
            with suppress(httpx2.TransportError):
                return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200

    def status(self, name):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)

    def children(self):
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in listed]


@pytest.fixture
async def gateway_process(settings_of, environment, tmp_path, eventually):
    """`process = await gateway_process()`: ready; killed after the test."""
    made = []

    async def start(**changes):
        process = GatewayProcess(await settings_of(**changes), environment, tmp_path / "gateway.log")
        made.append(process)
        await process.start()
        await eventually(process.ready, timeout_s=30)
        return process

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def client_of(callers):
    """An administrator's client of that process."""

    def make(process):
        return httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{process.port}", headers=callers.bearer(), timeout=30.0, trust_env=False
        )

    return make


@pytest.mark.capability(37, 39)
async def test_kill_9_in_the_middle_of_an_export_loses_nothing(
    peers, gateway_process, client_of, settings_of, eventually, tmp_path
):
    """The next start takes the export up: one file, one event, no orphan, no half a file."""
    await peers.start("leads")
    peers.leads.hold_rows.clear()
    process = await gateway_process()
    async with client_of(process) as client:
        export_id = (await client.post("/v1/exports", json={"dataset": "leads", "format": "xlsx"})).json()["id"]
        await eventually(lambda: peers.leads.streams >= 2 and process.children())
        (child,) = process.children()
        os.kill(process.process.pid, signal.SIGKILL)
        process.process.wait()
        await eventually(lambda: not Path(f"/proc/{child}").exists())
        peers.leads.hold_rows.set()
        await process.start()
        await eventually(process.ready, timeout_s=30)

        async def finished():
            export = (await client.get(f"/v1/exports/{export_id}")).json()
            return export if export["state"] == "completed" else None

        export = await eventually(finished, timeout_s=20)
        content = await client.get(f"/v1/exports/{export_id}/content")
    assert (export["engine"], export["rows"], len(content.content)) == ("local", 1000, export["size_bytes"])
    assert [path.name for path in (tmp_path / "scratch" / "exports").iterdir()] == [f"{export_id}.xlsx"]
    connection = await asyncpg.connect(settings_of.database().admin_dsn)
    events = await connection.fetch("SELECT type FROM gateway.outbox ORDER BY position")
    await connection.close()
    assert [row["type"].rsplit(".", 1)[1] for row in events] == ["ExportRequested", "ExportDegraded"]


@pytest.mark.capability(53, 70)
async def test_a_large_file_passes_through_without_being_held_in_memory(peers, gateway_process, client_of):
    """48 MiB reach leads whole; the gateway grows by a fraction of that."""
    await peers.start("leads")
    process = await gateway_process()
    before = process.status("VmHWM")

    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="leads.csv"\r\n\r\n'
        for _ in range(UPLOAD_SIZE_BYTES // 65_536):
            yield b"x" * 65_536
        yield b'\r\n--b\r\nContent-Disposition: form-data; name="mapping"\r\n\r\nzoho\r\n--b--\r\n'

    async with client_of(process) as client:
        reply = await client.post(
            "/v1/imports", content=body(), headers={"content-type": "multipart/form-data; boundary=b"}
        )
    assert (reply.status_code, reply.json()["id"]) == (202, "import-1")
    assert peers.leads.uploaded_bytes == UPLOAD_SIZE_BYTES
    assert process.status("VmHWM") - before < GROWTH_BYTES_MAX


async def test_it_starts_without_nats_postgres_or_any_service(gateway_process, client_of, environment):
    """Alive and ready with everything out: what needs a part says which one, and nothing hangs."""
    process = await gateway_process(database_url="postgresql://gateway@127.0.0.1:1/none", nats_url="nats://127.0.0.1:1")
    async with client_of(process) as client:
        async with asyncio.timeout(15):
            for method, path, dependency in [
                ("GET", "/v1/leads", "leads"),
                ("GET", "/v1/notifications", "notify"),
                ("GET", "/v1/exports/0198a2f0-0000-7000-8000-000000000000", "postgres"),
            ]:
                reply = await client.request(method, path)
                assert (reply.status_code, reply.json()["dependency"]) == (503, dependency), path
                assert int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/docs")).status_code == 200


async def test_sigterm_drains_and_exits_with_0(gateway_process):
    """What a supervisor sees of an orderly end."""
    process = await gateway_process()
    process.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.process.wait, 15) == 0


async def test_wrong_settings_are_all_told_at_once(settings_of, environment, tmp_path):
    """Exit 2, every fault by name, and no secret."""
    process = GatewayProcess(await settings_of(), environment, tmp_path / "gateway.log")
    process.environment |= {"BREAKWATER_HTTP_PORT": "x", "BREAKWATER_RATE_QUOTA": "0", "BREAKWATER_UPLOADS_MAXX": "1"}
    await process.start()
    assert await asyncio.to_thread(process.process.wait, 30) == 2
    said = process.log.read_text()
    for name in ("BREAKWATER_HTTP_PORT", "BREAKWATER_RATE_QUOTA", "BREAKWATER_UPLOADS_MAXX"):
        assert name in said
