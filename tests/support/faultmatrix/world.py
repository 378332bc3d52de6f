"""The real servers of the matrix, one of each for all of its cells."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import nats

from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier
from breakwater.chassis.bus import Bus, StreamSpec
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import ServiceSettings
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.resilience import Policy
from tests.support.echo import Echo, add_echo
from tests.support.faultmatrix import clients
from tests.support.faultmatrix.edges import Edge
from tests.support.http_robot import Heard, Says, robot
from tests.support.postbox import postbox
from tests.support.tokens import Key, write_jwks

CALLERS = ("leads", "notify", "files", "health", "gateway", "ops")


class World:
    """Servers, and what took effect at them by cell and id."""

    def __init__(self, directory: Path, stack: AsyncExitStack, dsn: str, nats_server: NatsServer) -> None:
        self._directory = directory
        self._stack = stack
        self._dsn = dsn
        self._nats = nats_server
        self._ports: dict[str, int] = {"postgres": int(urlsplit(dsn).port or 0), "nats": nats_server.port}
        self._signers: dict[str, ServiceSigner] = {}
        self._seen: dict[str, list[str]] = defaultdict(list)

    def port(self, dependency: str) -> int:
        """Where the dependency really listens."""
        return self._ports[dependency]

    def client(self, edge: Edge, policy: Policy) -> clients.Client:
        """The chassis's client for this edge."""
        match edge.kind:
            case "gRPC" | "gRPC stream":
                return clients.Grpc(edge, policy, self._signers[edge.caller], stream=edge.kind == "gRPC stream")
            case "PostgreSQL":
                return clients.Postgres(edge, policy, self._dsn_at)
            case "NATS":
                return clients.Nats(edge, policy, self._nats.password(edge.caller))
            case "object store":
                return clients.Objects(policy)
            case "HTTP":
                return clients.Http(policy)
            case "SMTP":
                return clients.Smtp(policy)
        raise KeyError(edge.kind)

    async def effects(self, edge: Edge, cell: str) -> list[str]:
        """The ids of `cell` that took effect, each as often as it did."""
        if edge.kind == "PostgreSQL":
            connection = await asyncpg.connect(self._dsn)
            try:
                rows = await connection.fetch("SELECT id FROM effects WHERE id LIKE $1", f"{cell}-%")
            finally:
                await connection.close()
            return [row["id"] for row in rows]
        if edge.kind == "NATS":
            return await self._published(edge.caller, cell)
        return self._seen[cell]

    async def start(self) -> None:
        """Everything up, and every stream there."""
        keys = [Key(name) for name in CALLERS]
        write_jwks(self._directory / "jwks.json", *keys)
        for key in keys:
            path = key.write(self._directory / f"{key.owner}.jwk")
            self._signers[key.owner] = ServiceSigner(path, key.owner, production=False)
        for service in ("leads", "notify", "files", "health", "gateway"):
            await self._serve(service)
        web = await self._stack.enter_async_context(robot())
        store = await self._stack.enter_async_context(robot())
        web.answer, store.answer = self._posted, self._stored
        box = await self._stack.enter_async_context(postbox())
        box.to_data = lambda mail: self._note(str(message_from_bytes(mail.text)["subject"]))
        self._ports |= {"robot": web.port, "objects": store.port, "smtp": box.port}
        for caller in CALLERS:
            bus = await Bus.connect(self._nats.url, service=caller, user=caller, password=self._nats.password(caller))
            await bus.ensure_stream(StreamSpec(caller.upper(), (f"breakwater.{caller}.v1.>",)))
            await bus.close()
        self._reader = await nats.connect(
            self._nats.url, user=OPERATOR, password=self._nats.password(OPERATOR), inbox_prefix=f"_INBOX_{OPERATOR}"
        )
        self._stack.push_async_callback(self._reader.close)

    def _dsn_at(self, port: int) -> str:
        return self._dsn.replace(f":{self.port('postgres')}/", f":{port}/")

    async def _serve(self, service: str) -> None:
        source = KeySource(str(self._directory / "jwks.json"), production=False)
        await source.start()
        server = Server(service, ServiceSettings(environment="development"), ServiceVerifier(source, service))
        echo = Echo()
        echo.handle = self._called
        server.add(add_echo, echo, callers=CALLERS)
        await server.start()
        self._stack.push_async_callback(server.drain, 0)
        self._ports[service] = server.port

    def _note(self, text: str) -> None:
        id_ = text.partition(":")[0]
        self._seen[id_.rpartition("-")[0]].append(id_)

    async def _called(self, text: str, context: Any) -> str:
        self._note(text)
        return text

    def _posted(self, heard: Heard) -> Says:
        self._note(heard.body.decode())
        return Says(200, heard.body)

    def _stored(self, heard: Heard) -> Says:
        """What S3 answers to a small object: an upload in one part."""
        if heard.method != "PUT" or not heard.body:
            return Says(501, b"")
        self._note(heard.target.rpartition("/")[2])
        return Says(200, b"", {"ETag": '"1"'})

    async def _published(self, caller: str, cell: str) -> list[str]:
        jetstream = self._reader.jetstream()
        subject = f"breakwater.{caller}.v1.{cell}"
        info = await jetstream.stream_info(caller.upper(), subjects_filter=subject)
        count = sum((info.state.subjects or {}).values())
        found: list[str] = []
        sequence = 0
        while len(found) < count:
            message = await jetstream.get_msg(caller.upper(), seq=sequence + 1, subject=subject, next=True)
            sequence = message.seq or 0
            found.append((message.data or b"").decode().partition(":")[0])
        return found


@asynccontextmanager
async def running(directory: Path, dsn: str, nats_server: NatsServer) -> AsyncIterator[World]:
    """The world for the time of a block. `dsn` is of a database with a table `effects (id, padding)`."""
    async with AsyncExitStack() as stack:
        world = World(directory, stack, dsn, nats_server)
        await world.start()
        yield world
    await asyncio.sleep(0)
