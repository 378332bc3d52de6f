"""A stand-in for every neighbour of a candidate: answers any RPC, records what it was sent, or fails as it is told to."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from breakwater.local.ports import HOST

Answer = Callable[["Received", Any], Any]


@dataclass(frozen=True, slots=True)
class Received:
    """One call as it came to the stand-in for `provider`. `method` is `breakwater.files.v1.FilesService/GetExport`."""

    provider: str
    method: str
    metadata: tuple[tuple[str, str], ...]
    request: bytes
    """The first message."""
    at_s: float

    def header(self, name: str) -> str | None:
        """A metadata value; None where it was not sent."""
        return next((value for key, value in self.metadata if key == name), None)


@dataclass(slots=True)
class Peers:
    """A gRPC server for each neighbour. `answers` by provider or method says what they do; an empty message without."""

    addresses: dict[str, str] = field(default_factory=dict)
    calls: list[Received] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def of(self, method: str) -> list[Received]:
        """The calls whose method starts so."""
        return [call for call in self.calls if call.method.startswith(method)]


@asynccontextmanager
async def standing_in(providers: Iterable[str]) -> AsyncIterator[Peers]:
    """Serves in the place of `providers` until the block ends."""
    peers = Peers()
    servers = []
    try:
        for provider in providers:
            # Generous: what is recorded here is what candidates send, whatever its size.
            server = grpc.aio.server(options=[("grpc.max_metadata_size", 64 * 1024)])
            peers.addresses[provider] = f"{HOST}:{server.add_insecure_port(f'{HOST}:0')}"
            servicer = health.aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
            server.add_generic_rpc_handlers((_Everything(provider, peers),))
            await server.start()
            servers.append(server)
        yield peers
    finally:
        await asyncio.gather(*(server.stop(0) for server in servers))


class _Everything(grpc.GenericRpcHandler):
    """A stream of bytes for a stream of bytes: on the wire every kind of RPC is one."""

    def __init__(self, provider: str, peers: Peers) -> None:
        self._provider = provider
        self._peers = peers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        details: Any = handler_call_details
        method = details.method.lstrip("/")
        if not method.startswith("breakwater."):
            return None

        async def serve(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            first = b""
            async for request in requests:
                first = first or request
            metadata = tuple((key, str(value)) for key, value in context.invocation_metadata() or ())
            received = Received(self._provider, method, metadata, first, time.monotonic())
            self._peers.calls.append(received)
            answers = self._peers.answers
            answer = answers.get(method) or answers.get(self._provider) or saying(b"")
            async for message in answer(received, context):
                yield message

        return grpc.stream_stream_rpc_method_handler(serve)


def token_of(call: Received) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of the first JWT among the metadata; None without one."""
    for _, value in call.metadata:
        found = parts_of(value)
        if found is not None:
            return found
    return None


def parts_of(credential: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of a credential such as `Bearer <jwt>`; None when it holds none."""
    segments = credential.rpartition(" ")[2].split(".")
    if len(segments) != 3:  # noqa: PLR2004 - header, payload, signature
        return None
    try:
        head, claims = (json.loads(base64.urlsafe_b64decode(part + "===")) for part in segments[:2])
    except ValueError:
        return None
    return (head, claims) if isinstance(head, dict) and isinstance(claims, dict) else None


def saying(content: bytes) -> Answer:
    """An answer of one message."""

    async def answer(_: Received, __: Any) -> AsyncIterator[bytes]:
        yield content

    return answer


def refusing(
    code: grpc.StatusCode, details: bytes = b"", *, delay_s: float = 0.0, headers_first: bool = False
) -> Answer:
    """An answer that ends with `code`; `details` are its `grpc-status-details-bin`."""

    async def answer(_: Received, context: Any) -> AsyncIterator[bytes]:
        if headers_first:
            await context.send_initial_metadata(())
        await asyncio.sleep(delay_s)
        trailers = (("grpc-status-details-bin", details),) if details else ()
        await context.abort(code, "refused", trailers)
        yield b""

    return answer


async def hanging(_: Received, __: Any) -> AsyncIterator[bytes]:
    """Never answers; ends with the call."""
    await asyncio.sleep(3600)
    yield b""
