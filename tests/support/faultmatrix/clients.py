"""One client for each kind of edge: the chassis's own, at real servers, told to do one small thing with an id."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from ipaddress import ip_network
from typing import Protocol

from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis.auth import ServiceSigner
from breakwater.chassis.bus import Bus, BusMessage
from breakwater.chassis.channels import Channel
from breakwater.chassis.database import Database, PoolLimits
from breakwater.chassis.egress import Egress
from breakwater.chassis.http_client import HttpClient
from breakwater.chassis.mail import MailClient, MailServer
from breakwater.chassis.settings import Tls
from breakwater.resilience import Policy
from services.files.exports.objects import ObjectStore
from tests.support.echo import EchoStub
from tests.support.faultmatrix.edges import Edge

PADDING = "x" * 4_000
"""Makes each request larger than a thin line carries in time."""
LOOPBACK = Egress([ip_network("127.0.0.0/8")])
POOL = PoolLimits(size_max=4)
OBJECT_OPTIONS = {
    "aws_access_key_id": "matrix",
    "aws_secret_access_key": "matrix",
    "aws_region": "none",
    "aws_virtual_hosted_style_request": "false",
    "allow_http": True,
}


class Client(Protocol):
    """A client of one edge, through `port`."""

    async def open(self, port: int) -> None:
        """Connects."""

    async def call(self, id_: str) -> None:
        """Does one thing named `id_`, under `current_deadline`. Raises what a service would see."""

    async def close(self) -> None:
        """Disconnects."""


@dataclass
class Grpc:
    edge: Edge
    policy: Policy
    signer: ServiceSigner
    stream: bool = False

    async def open(self, port: int) -> None:
        self.channel = Channel(self.edge.dependency, [f"127.0.0.1:{port}"], self.policy, self.signer)
        self.stub = EchoStub(self.channel.grpc)

    async def call(self, id_: str) -> None:
        request = StringValue(value=f"{id_}:{PADDING}")
        if not self.stream:
            await self.channel.unary(self.stub.Unary, request)
            return
        async for _ in self.channel.stream(self.stub.Many, request):
            pass

    async def close(self) -> None:
        await self.channel.close()


@dataclass
class Postgres:
    edge: Edge
    policy: Policy
    dsn_at: Callable[[int], str]

    async def open(self, port: int) -> None:
        self.database = await Database.open(
            self.dsn_at(port), service=self.edge.caller, policy=self.policy, limits=POOL
        )

    async def call(self, id_: str) -> None:
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO effects (id, padding) VALUES ($1, $2)", id_, PADDING)

    async def close(self) -> None:
        await self.database.close()


@dataclass
class Nats:
    edge: Edge
    policy: Policy
    password: str

    async def open(self, port: int) -> None:
        user = self.edge.caller
        self.bus = await Bus.connect(
            f"nats://127.0.0.1:{port}", service=user, user=user, password=self.password, policy=self.policy
        )

    async def call(self, id_: str) -> None:
        subject = f"breakwater.{self.edge.caller}.v1.{id_.rpartition('-')[0]}"
        message = BusMessage(subject, f"{id_}:{PADDING}".encode(), {"Nats-Msg-Id": id_})
        await self.bus.publish_batch([message])

    async def close(self) -> None:
        await self.bus.close()


@dataclass
class Objects:
    policy: Policy

    async def open(self, port: int) -> None:
        options = OBJECT_OPTIONS | {"aws_endpoint": f"http://127.0.0.1:{port}"}
        self.store = ObjectStore("s3://matrix", self.policy, options)

    async def call(self, id_: str) -> None:
        async with self.store.writing(id_) as write:
            await write(PADDING.encode())

    async def close(self) -> None:
        pass  # obstore keeps its connections until it is collected


@dataclass
class Http:
    policy: Policy

    async def open(self, port: int) -> None:
        self.client = HttpClient("robot", f"http://127.0.0.1:{port}", self.policy, egress=LOOPBACK)

    async def call(self, id_: str) -> None:
        await self.client.request("POST", "/send", content=f"{id_}:{PADDING}".encode())

    async def close(self) -> None:
        await self.client.close()


@dataclass
class Smtp:
    policy: Policy

    async def open(self, port: int) -> None:
        self.mail = MailClient("smtp", MailServer("127.0.0.1", port, tls=Tls.NONE), self.policy, egress=LOOPBACK)

    async def call(self, id_: str) -> None:
        message = EmailMessage()
        message["Subject"] = id_
        message.set_content("x" * 70 + "\n" + PADDING)
        await self.mail.send(message, sender="crm@matrix.example", recipients=["ann@matrix.example"])

    async def close(self) -> None:
        pass  # a connection for each message


Effects = Callable[[str], Awaitable[list[str]]]
"""The ids of one cell that took effect at the server, each as often as it did."""
