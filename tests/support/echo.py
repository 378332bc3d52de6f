"""A service with one RPC of each kind, written as generated code would be."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

NAME = "breakwater.test.v1.EchoService"


class Echo:
    """A servicer whose behaviour the test decides: `handle` for each request, by default the answer is the request."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.handle: Callable[[str, Any], Awaitable[str]] = self._echo

    async def _echo(self, text: str, context: Any) -> str:
        return text

    async def Unary(self, request, context):  # noqa: N802 - the RPC's name
        self.requests.append(request.value)
        return StringValue(value=await self.handle(request.value, context))

    async def Many(self, request, context):  # noqa: N802 - the RPC's name
        """As many answers as the request has words."""
        for word in request.value.split():
            yield StringValue(value=await self.handle(word, context))

    async def Collect(self, requests, context):  # noqa: N802 - the RPC's name
        return StringValue(value="".join([await self.handle(request.value, context) async for request in requests]))


def add_echo(servicer: Echo, server: Any) -> None:
    """What generated code does for a proto."""
    codec = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.Unary, **codec),
        "Many": grpc.unary_stream_rpc_method_handler(servicer.Many, **codec),
        "Collect": grpc.stream_unary_rpc_method_handler(servicer.Collect, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_registered_method_handlers(NAME, handlers)


class EchoStub:
    """The client's half."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec = {"request_serializer": StringValue.SerializeToString, "response_deserializer": StringValue.FromString}
        self.Unary = channel.unary_unary(f"/{NAME}/Unary", **codec)
        self.Many = channel.unary_stream(f"/{NAME}/Many", **codec)
        self.Collect = channel.stream_unary(f"/{NAME}/Collect", **codec)
