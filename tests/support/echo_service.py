"""A whole process with one RPC, composed as services are, for tests of the life cycle."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis import lifecycle
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.service import Service
from breakwater.chassis.settings import ServiceSettings, load
from tests.support.echo import Echo, EchoStub, add_echo


def main() -> None:
    lifecycle.run(serve)


async def serve() -> None:
    settings = load(ServiceSettings)
    async with Service("files", settings, policies=Path(sys.argv[1])) as service:
        if settings.nats_url:
            await service.open_bus()
        echo = Echo()
        channel = service.channel("leads")
        stub = EchoStub(channel.grpc)

        async def handle(text: str, context: Any) -> str:
            if text == "leads":
                return (await channel.unary(stub.Unary, StringValue(value="hello"))).value
            if text == "slow":
                await asyncio.sleep(0.7)
            return text

        async def failing() -> None:
            raise BreakwaterError("canary of the background")

        echo.handle = handle
        service.add_rpc(add_echo, echo, callers={"gateway"})
        service.background("failing", failing)
        await service.run()


if __name__ == "__main__":
    main()
