"""Where the figures come from: NATS, gRPC for whoever was not heard on it, and this process itself."""

import asyncio
from collections.abc import Callable

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock
from breakwater.chassis.logging import get_logger
from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.budgets.domain import Budgets
from services.gateway.ops.clients import Peers
from services.gateway.ops.console import Console
from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.edges.domain import Circuit, Report
from services.gateway.ops.history.domain import History
from services.gateway.ops.translation import report_from_wire

SUBJECT = "breakwater.edges.>"
TICK_S = 0.25
ASK_S = 0.5
POLL_AFTER_S = 1.5
"""A process not heard of for so long is asked directly."""

_log = get_logger(__name__)


class Feed:
    """Keeps the console's book up to date."""

    def __init__(
        self,
        console: Console,
        history: History,
        budgets: Budgets,
        backlogs: BacklogBook,
        peers: Peers,
        clock: Clock,
        *,
        own: Callable[[], pb.EdgeReport],
    ) -> None:
        """`own` is what this process tells of itself: to be known without NATS too."""
        self._console = console
        self._history = history
        self._budgets = budgets
        self._backlogs = backlogs
        self._peers = peers
        self._clock = clock
        self._own = own
        self._noted_s = 0

    async def subscribe(self, bus: Bus) -> None:
        """Takes what processes publish, for the life of the bus."""
        await bus.subscribe(SUBJECT, self._take)

    async def run(self) -> None:
        """Asks those that have to be asked and lets time pass over the book, for as long as it is awaited.

        Side by side: whoever does not answer must not delay that the others are called silent.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_on())
            group.create_task(self._pass_time())

    async def _ask_on(self) -> None:
        while True:
            own = report_from_wire(self._own())
            await asyncio.gather(*(self._ask(name) for name in self._to_be_asked(own)))
            await self._clock.sleep(ASK_S)

    async def _pass_time(self) -> None:
        while True:
            self._hear(report_from_wire(self._own()))
            self._console.settle()
            self._note()
            await self._clock.sleep(TICK_S)

    def _to_be_asked(self, own: Report) -> list[str]:
        """The silent ones, and those this process could not reach: its circuit closes by calls alone, and nobody else
        makes them once NATS brings the figures again.
        """
        unreached = {edge.dependency for edge in own.edges if edge.state is not Circuit.CLOSED}
        return [
            name for name in self._peers.names if name in unreached or self._console.silent_for_s(name) > POLL_AFTER_S
        ]

    async def _take(self, message: Msg) -> None:
        try:
            self._hear(report_from_wire(pb.EdgeReport.FromString(message.data)))
        except (DecodeError, ValueError) as error:
            _log.warning("edge_report_unusable", subject=message.subject, problem=type(error).__name__)

    async def _ask(self, process: str) -> None:
        for report in await self._peers.reports(process):
            self._hear(report)

    def _hear(self, report: Report) -> None:
        self._console.take(report)
        now_s = int(self._clock.now().timestamp())
        self._history.take(report, now_s)
        self._budgets.take(report, now_s)
        self._backlogs.take(report, self._clock.monotonic())

    def _note(self) -> None:
        now_s = int(self._clock.now().timestamp())
        if now_s != self._noted_s:
            self._noted_s = now_s
            edges = self._console.unsorted_edges()
            self._history.note(edges, now_s)
            self._budgets.keep(edges)
