"""Sends what is due, beside any number of other replicas."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import prometheus_client

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import BreakwaterError
from breakwater.chassis.logging import get_logger
from breakwater.chassis.metrics import REGISTRY, TIMER_LAG, BacklogGauge
from services.notify.delivery.store import WOKEN, Posting
from services.notify.escalation.domain import Outcome, Rules, Verdict
from services.notify.escalation.store import ChainStore, Departures
from services.notify.escalation.usecases import Begin, Parcel, record, take_parcel

Send = Callable[[Parcel], Awaitable[Verdict]]

MESSAGES = prometheus_client.Counter(
    "breakwater_messages_total",
    "Messages that left for a person, by channel and what became of them.",
    ("channel", "outcome"),
    registry=REGISTRY,
)
PEOPLE_MAX: Final = 256
"""Looked at in one turn."""
KEEP: Final = timedelta(days=30)
"""How long messages are remembered; attempts stay with their notification."""
_CRITICAL_MORE: Final = 4
"""Messages in flight beside `in_flight_max`, for what is critical alone."""
_PRUNE_EVERY_S: Final = 3600.0
_AGAIN_S: Final = 0.5
_DRAIN_S_MAX: Final = 4.0
GONE: Final = Verdict(Outcome.UNKNOWN, "its sender went away")
LATE: Final = Verdict(Outcome.FAILED, "not sent: its lease was nearly over")

_log = get_logger(__name__)


class Dispatcher:
    """`service.background("dispatcher", dispatcher.run)`: looks every `poll_s` seconds, and at once for what was just stored."""

    def __init__(
        self,
        database: Database,
        posting: Posting,
        send: Send,
        clock: Clock,
        *,
        rules: Rules,
        zone: ZoneInfo,
        poll_s: float = 1.0,
        in_flight_max: int = 16,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`send` answers what became of a parcel and raises nothing. `checkpoint` is told where drills kill."""
        self._begin: Begin = partial(ChainStore.begin, database, posting)
        self._departures = Departures(database)
        self._send = send
        self._clock = clock
        self._rules = rules
        self._zone = zone
        self._poll_s = poll_s
        self._in_flight_max = in_flight_max
        self._checkpoint = checkpoint
        self._sending: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._pruned_at_s = clock.monotonic()
        self._lag = BacklogGauge(TIMER_LAG, "notify", "dispatcher")
        database.listen(WOKEN, self._woken.set)

    async def run(self) -> None:
        """Works until cancelled; what is in flight then may still end."""
        try:
            while True:
                self._woken.clear()
                while await self.turn():
                    pass
                await self._wait()
        except asyncio.CancelledError:
            if self._sending:
                await asyncio.wait(self._sending, timeout=_DRAIN_S_MAX)
            raise

    async def turn(self) -> int:
        """Takes at most one message for each person who has something due; returns how many left.

        It waits for none of them: while a slow channel has taken all room, what is critical has some of its own.
        """
        now = self._clock.now()
        for message_id in await self._departures.expired(now, PEOPLE_MAX):
            await record(self._begin, message_id, GONE, now, self._rules)
        await self._departures.release(now)
        await self._prune()
        left = 0
        people, since = await self._departures.due_people(now, self._rules, PEOPLE_MAX)
        self._lag.set((now - since).total_seconds() if since else 0)
        for person_id, critical in people.items():
            if len(self._sending) >= self._in_flight_max + (_CRITICAL_MORE if critical else 0):
                # The most urgent come first: there is room for none behind.
                break
            parcel = await take_parcel(self._begin, person_id, self._clock.now(), self._rules, self._zone)
            if parcel is None:
                continue
            self._checkpoint("dispatcher:taken")
            left += 1
            task = asyncio.create_task(self._deliver(parcel))
            self._sending.add(task)
            task.add_done_callback(self._left)
        return left

    async def settled(self) -> None:
        """Returns when nothing is in flight here."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        # There is room again.
        self._woken.set()

    async def _deliver(self, parcel: Parcel) -> None:
        # A process that stood still for long must not send what another replica may take over meanwhile.
        late = self._clock.now() > parcel.lease_until - self._rules.lease / 2
        verdict = LATE if late else await self._send(parcel)
        self._checkpoint("dispatcher:sent")
        MESSAGES.labels(parcel.binding.channel, verdict.outcome.value).inc()
        await self._record(parcel, verdict)

    async def _record(self, parcel: Parcel, verdict: Verdict) -> None:
        """Until it is recorded, or the lease ends: an outage of PostgreSQL is no reason to send anything twice."""
        while True:
            now = self._clock.now()
            try:
                await record(self._begin, parcel.message_id, verdict, now, self._rules)
            except BreakwaterError as error:
                _log.warning("message_outcome_waits", outcome=verdict.outcome.value, code=error.code)
                if now > parcel.lease_until:
                    return
                await self._clock.sleep(_AGAIN_S)
            else:
                return

    async def _prune(self) -> None:
        if self._clock.monotonic() - self._pruned_at_s >= _PRUNE_EVERY_S:
            self._pruned_at_s = self._clock.monotonic()
            await self._departures.prune(self._clock.now() - KEEP)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._woken.wait()
        except TimeoutError:
            pass
