"""A whole gateway on real NATS and PostgreSQL, with the services behind it faked at their ports."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from breakwater.chassis import cloudevents
from breakwater.chassis.bus import Bus, BusMessage, StreamSpec
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.ids import uuid7
from breakwater.chassis.service import Service
from breakwater.chassis.settings import Environment
from breakwater.files.v1 import events_pb2
from services.gateway.http.server import HttpServer
from services.gateway.main import compose
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.peers import Peers
from tests.support.tokens import Key, write_jwks
from tests.support.waiting import until

POLICIES = Path(__file__).parents[3] / "services/gateway/policies.yaml"
SEAL_KEY = bytes(range(64, 96))
ISSUER = "https://issuer.test"


@dataclass
class Callers:
    """The issuer of callers' tokens."""

    key: Key
    jwks: str

    def bearer(self, role: str = "admin", sub: str = "1001", scope: str = "all") -> dict[str, str]:
        now = datetime.now(UTC).timestamp()
        claims = {
            "iss": ISSUER,
            "aud": "breakwater",
            "sub": sub,
            "role": role,
            "scope": scope,
            "iat": now,
            "exp": now + 600,
        }
        token = self.key.token({"alg": "Ed25519", "kid": self.key.kid, "typ": "JWT"}, claims)
        return {"authorization": f"Bearer {token}"}


@dataclass
class Gateway:
    """A running gateway."""

    service: Service[GatewaySettings]
    server: HttpServer
    client: httpx2.AsyncClient
    admin: asyncpg.Connection
    run: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def export(self, **wanted: Any) -> str:
        """Asks for an export; its id."""
        reply = await self.client.post("/v1/exports", json={"dataset": "leads", "format": "xlsx"} | wanted)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def read(self, export_id: str) -> dict[str, Any]:
        reply = await self.client.get(f"/v1/exports/{export_id}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def events(self, kind: str) -> list[bytes]:
        """Payloads of the events of one kind in the outbox."""
        rows = await self.admin.fetch(
            "SELECT payload FROM gateway.outbox WHERE type = $1 ORDER BY position", f"breakwater.gateway.v1.{kind}"
        )
        return [row["payload"] for row in rows]

    async def stop(self) -> None:
        """Drains, once: a second signal would not wait."""
        if not self.run.done():
            self.service.stop.ask()
            await self.run


StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    """leads, files, health and notify, not started yet."""
    made = Peers(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    key = Key("callers")
    return Callers(key, str(write_jwks(tmp_path / "callers.jwks.json", key)))


@pytest.fixture
def settings_of(tmp_path: Path, peers: Peers, callers: Callers, fresh_database: Any, clean_nats: Any) -> Any:
    """`settings = await settings_of(uploads_max=1)`: of a gateway with a database of its own."""
    hmac_key = tmp_path / "hmac.key"
    hmac_key.write_text("k" * 32)
    hmac_key.chmod(0o600)
    seal_key = tmp_path / "seal.key"
    seal_key.write_bytes(SEAL_KEY)
    seal_key.chmod(0o600)
    made: dict[str, Any] = {}

    async def make(**changes: Any) -> GatewaySettings:
        database = made.setdefault("database", None) or await fresh_database("gateway")
        made["database"] = database
        return GatewaySettings(
            **{
                "environment": Environment.DEVELOPMENT,
                "database_url": database.url,
                "database_password_file": database.password_file,
                "nats_url": clean_nats.url,
                "nats_user": "gateway",
                "nats_password_file": clean_nats.password_file("gateway"),
                "service_key_file": peers.key_file,
                "service_jwks": peers.jwks,
                "peers": peers.addresses,
                "caller_jwks": callers.jwks,
                "caller_issuer": ISSUER,
                "hmac_key_file": hmac_key,
                "seal_key_file": seal_key,
                "export_scratch_dir": tmp_path / "scratch",
                "export_lease_s": 2.0,
                "drain_grace_s": 2.0,
                "snapshots_every_s": 0.0,
                **changes,
            }
        )

    make.database = lambda: made["database"]  # type: ignore[attr-defined]
    return make


@pytest.fixture
async def start_gateway(settings_of: Any, callers: Callers) -> AsyncIterator[StartGateway]:
    """`gateway = await start_gateway(uploads_max=1)`: running, with an administrator's client."""
    started: list[Gateway] = []
    stacks: list[Service[GatewaySettings]] = []

    async def start(**changes: Any) -> Gateway:
        settings = await settings_of(**changes)
        service = await Service("gateway", settings, policies=POLICIES).__aenter__()
        stacks.append(service)
        server = await compose(service)
        run = asyncio.create_task(service.run())
        await until("the gateway to accept", lambda: server.accepting or run.done(), within_s=15)
        if run.done():
            await run
        admin = await asyncpg.connect(settings_of.database().admin_dsn)
        client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}", headers=callers.bearer(), timeout=30.0, trust_env=False
        )
        started.append(Gateway(service, server, client, admin, run))
        return started[-1]

    yield start
    for gateway in started:
        await gateway.client.aclose()
        await gateway.admin.close()
        await gateway.stop()
    for service in stacks:
        await service.__aexit__(None, None, None)


@pytest.fixture
def finished(eventually: Any) -> Callable[..., Awaitable[dict[str, Any]]]:
    """`export = await finished(gateway, id)`: once its state is final."""

    async def wait(gateway: Gateway, export_id: str, timeout_s: float = 10.0) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            export = await gateway.read(export_id)
            return export if export["state"] in {"completed", "failed"} else None

        return dict(await eventually(look, timeout_s=timeout_s))

    return wait


@pytest.fixture
async def say_ended(clean_nats: Any) -> AsyncIterator[Callable[[Any], Awaitable[None]]]:
    """`await say_ended(job)`: files publishes that a job is completed or failed."""
    bus = await Bus.connect(clean_nats.url, service="files", user="files", password=clean_nats.password("files"))

    async def there():
        try:
            await bus.ensure_stream(StreamSpec("FILES", ("breakwater.files.v1.>",)))
        except UnavailableError:
            # The server is still removing the one of the test before.
            return False
        return True

    await until("the stream", there)

    async def say(job: Any) -> None:
        event: Any = events_pb2.ExportFailed(export_id=job.export_id, code=job.failure_code, reason=job.failure)
        if job.state == "completed":
            event = events_pb2.ExportCompleted(
                export_id=job.export_id,
                rows=job.rows_done,
                size_bytes=job.size_bytes,
                sha256=job.sha256,
                encrypted=job.encrypted,
                document=job.document if job.HasField("document") else None,
            )
        kind = event.DESCRIPTOR.full_name
        headers = cloudevents.headers_of(
            event_id=uuid7(),
            event_type=kind,
            source="files",
            subject_id=job.export_id,
            sequence=1,
            time=datetime.now(UTC),
            traceparent=None,
        )
        await bus.publish_batch([BusMessage(kind, event.SerializeToString(), headers)])

    yield say
    await bus.close()


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a child process: nothing of ours but where programs are."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BREAKWATER_")}
