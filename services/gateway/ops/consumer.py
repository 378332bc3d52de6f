"""Where the figures come from: NATS, and gRPC for whoever was not heard on it."""

import asyncio

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock
from breakwater.chassis.logging import get_logger
from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.clients import Peers
from services.gateway.ops.console import Console
from services.gateway.ops.translation import report_from_wire

SUBJECT = "breakwater.edges.>"
TICK_S = 0.5
POLL_AFTER_S = 1.5
"""A process not heard of for so long is asked directly."""

_log = get_logger(__name__)


class Feed:
    """Keeps the console's book up to date."""

    def __init__(self, console: Console, peers: Peers, clock: Clock) -> None:
        self._console = console
        self._peers = peers
        self._clock = clock

    async def subscribe(self, bus: Bus) -> None:
        """Takes what processes publish, for the life of the bus."""
        await bus.subscribe(SUBJECT, self._take)

    async def run(self) -> None:
        """Asks the silent ones and lets time pass over the book, for as long as it is awaited."""
        while True:
            silent = [name for name in self._peers.names if self._console.silent_for_s(name) > POLL_AFTER_S]
            await asyncio.gather(*(self._ask(name) for name in silent))
            self._console.settle()
            await self._clock.sleep(TICK_S)

    async def _take(self, message: Msg) -> None:
        try:
            self._console.take(report_from_wire(pb.EdgeReport.FromString(message.data)))
        except (DecodeError, ValueError) as error:
            _log.warning("edge_report_unusable", subject=message.subject, problem=type(error).__name__)

    async def _ask(self, process: str) -> None:
        for report in await self._peers.reports(process):
            self._console.take(report)
