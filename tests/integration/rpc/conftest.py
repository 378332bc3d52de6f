"""A real gRPC server of the service `files` and a guarded channel of `gateway` to it, on free ports."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier
from breakwater.chassis.channels import Channel
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import ServiceSettings
from breakwater.resilience import Policy, PolicySettings
from tests.support.echo import Echo, EchoStub, add_echo
from tests.support.tokens import Key, write_jwks


class Guarded:
    """A guarded channel in the words of the tests: texts in, texts out."""

    def __init__(self, channel: Channel, policy: Policy) -> None:
        self.channel = channel
        self.policy = policy
        self.stub = EchoStub(channel.grpc)

    async def unary(self, text: str = "hello", **options: Any) -> str:
        return (await self.channel.unary(self.stub.Unary, StringValue(value=text), **options)).value

    async def many(self, text: str = "a b c", **options: Any) -> AsyncIterator[str]:
        async for answer in self.channel.stream(self.stub.Many, StringValue(value=text), **options):
            yield answer.value

    async def upload(self, texts: AsyncIterator[str], **options: Any) -> str:
        requests = (StringValue(value=text) async for text in texts)
        return (await self.channel.upload(self.stub.Collect, requests, **options)).value

    def errors(self) -> dict[str, int]:
        """Attempts without an answer, by kind."""
        return {kind: count for kind, count in self.policy.snapshot().errors.items() if count}


@dataclass
class Platform:
    """The keys of all services, and what the test starts."""

    directory: Path
    stack: AsyncExitStack
    keys: dict[str, Key]

    async def verifier(self, service: str = "files") -> ServiceVerifier:
        source = KeySource(str(self.directory / "jwks.json"), production=False)
        await source.start()
        return ServiceVerifier(source, service)

    def signer(self, service: str = "gateway", key: Key | None = None) -> ServiceSigner:
        path = (key or self.keys[service]).write(self.directory / f"{service}.jwk")
        return ServiceSigner(path, service, production=False)

    async def serve(
        self,
        echo: Echo | None = None,
        *,
        callers=frozenset({"gateway"}),
        callers_of=None,
        together=None,
        service="files",
        **settings: Any,
    ) -> Server:
        """Starts a server; stopped at the test's end."""
        own = ServiceSettings(**{"environment": "development", **settings})
        server = Server(service, own, await self.verifier(service))
        server.add(add_echo, echo or Echo(), callers=callers, callers_of=callers_of, together=together)
        await server.start()
        self.stack.push_async_callback(server.drain, 0)
        return server

    def channel(
        self, *ports: int, signer: ServiceSigner | None = None, credential: bool = True, **policy: Any
    ) -> Guarded:
        """A channel of gateway to files at those ports; `policy` are fields of PolicySettings."""
        settings = PolicySettings(
            **{"caller": "gateway", "dependency": "files", "attempt_timer": False, "attempt_timeout_s": 5.0, **policy}
        )
        guard = Policy(settings)
        credentials = (signer or self.signer()) if credential else None
        channel = Channel("files", [f"127.0.0.1:{port}" for port in ports], guard, credentials)
        self.stack.push_async_callback(channel.close)
        return Guarded(channel, guard)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    keys = {name: Key(name) for name in ("gateway", "leads", "files", "ops")}
    write_jwks(tmp_path / "jwks.json", *keys.values())
    async with AsyncExitStack() as stack:
        yield Platform(tmp_path, stack, keys)


@pytest.fixture
def echo() -> Echo:
    return Echo()
