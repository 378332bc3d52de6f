"""The idempotent receiver: an event and its effect are one transaction, so that a redelivery does nothing.

A batch is one transaction; when it fails each event gets its own; what keeps failing goes to the dead letters, visible
and replayable (chassis.deadletters).
"""

import asyncio
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from breakwater.chassis import deadletters, metrics, telemetry
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.cloudevents import MalformedEventError, Received, received
from breakwater.chassis.database import Database, Transaction
from breakwater.chassis.errors import BreakwaterError, DeadlineExceededError, RateLimitedError, UnavailableError
from breakwater.chassis.gathering import pause_s
from breakwater.chassis.logging import get_logger
from breakwater.chassis.pull import Pull, PullLostError
from breakwater.chassis.sqlerrors import DEPENDENCY

__all__ = ["BatchHandler", "Consumer", "Handler", "Received"]

log = get_logger(__name__)

Handler = Callable[[Transaction, Received], Awaitable[None]]
"""Does the effect of one event in the transaction given, and nothing outside of it.

`UnavailableError` and `RateLimitedError` mean "later" and are tried again without end; any other exception counts
against the event.
"""

BatchHandler = Callable[[Transaction, Sequence[Received]], Awaitable[None]]
"""Does the effects of several events together, in their order: one statement for a crowd. Otherwise as `Handler`."""

BATCH_MAX: Final = 100
GATHER_S: Final = 0.02
"""A crowd shares a transaction: 3,000/s one by one, 13,400/s by the hundred (measurements.md, PostgreSQL)."""
DELIVERIES_MAX: Final = 5
KEEP_DAYS: Final = 35
"""How long an event is known: longer than it can come back. It may leave an outbox after 14 days, die and be replayed
after 14 more, and stay in its stream for 7."""

_LATER = (UnavailableError, RateLimitedError)
_REOPEN_MIN_S: Final = 0.1
_REOPEN_MAX_S: Final = 2.0
_REDELIVERY_MIN_S: Final = 0.25
_REDELIVERY_MAX_S: Final = 30.0
_POSTPONED_S: Final = 2.0
_DRAIN_S_MAX: Final = 5.0
_REFUSALS_MAX: Final = 10_000

_RECEIVE = """
INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id::text
"""


@dataclass(frozen=True, slots=True)
class _Delivery:
    message: Msg
    event: Received


class Consumer:
    """Receives the events of one stream, each effect once. `service.background("leads-events", consumer.run)`."""

    def __init__(
        self,
        bus: Bus,
        db: Database,
        *,
        stream: str,
        durable: str,
        handlers: Mapping[str, Handler] | None = None,
        batch_handlers: Mapping[str, BatchHandler] | None = None,
        clock: Clock | None = None,
        gather_s: float = GATHER_S,
        deliveries_max: int = DELIVERIES_MAX,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`stream` is the publishing service in upper case, `LEADS`; `durable` names this consumer: the service's name.

        `handlers` maps event types, `breakwater.leads.v1.LeadAssigned`, to their handlers: only these are received.
        `batch_handlers` does so for types that come in crowds: a handler given for several types gets them together.
        `gather_s` is the least pause after a batch that was not full (chassis.gathering); whoever comes first does not wait.
        `deliveries_max` is how often an event may be refused. `checkpoint` is told the points at which drills kill.
        """
        self._bus = bus
        self._db = db
        self._stream = stream
        self._durable = durable
        self._handlers = dict(handlers or {})
        self._batch_handlers = dict(batch_handlers or {})
        self._clock = clock or SystemClock()
        self._gather_s = gather_s
        self._deliveries_max = deliveries_max
        self._checkpoint = checkpoint
        self._pull: Pull | None = None
        self._lag = metrics.BacklogGauge(metrics.CONSUMER_LAG, bus.service, stream)
        self._delay = metrics.EVENT_DELAY.labels(bus.service, stream)
        # Refusals are counted here and not by JetStream, whose count also grows when we are killed or the database is
        # out; a restart forgives.
        self._refusals: OrderedDict[str, int] = OrderedDict()
        bus.on_connected(self._reopen)

    async def run(self) -> None:
        """Receives until cancelled; a batch under way at that moment is ended first."""
        wait_s = _REOPEN_MIN_S
        while True:
            try:
                await self._bus.ensure_stream(deadletters.SPEC)
                async with self._opened() as pull:
                    while True:
                        messages = await pull.messages()
                        await _ended(self._handle(pull, messages))
                        wait_s = _REOPEN_MIN_S
                        if len(messages) < BATCH_MAX:
                            await asyncio.sleep(pause_s(len(messages), self._gather_s))
            except (PullLostError, *_LATER) as error:
                log.info("consumer_reopens", stream=self._stream, error=type(error).__name__, detail=str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _REOPEN_MAX_S)

    def _reopen(self) -> None:
        if self._pull is not None:
            self._pull.lose("reconnected")

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Pull]:
        types = [*self._handlers, *self._batch_handlers]
        pull = Pull(self._bus, self._stream, self._durable, types, BATCH_MAX)
        self._pull = pull
        try:
            await pull.open()
            yield pull
        finally:
            self._pull = None
            await pull.close()

    async def _handle(self, pull: Pull, messages: Sequence[Msg]) -> None:
        deliveries = [delivery for message in messages if (delivery := await self._parsed(pull, message))]
        if deliveries:
            await self._receive(pull, deliveries)
        self._lag.set(messages[-1].metadata.num_pending)

    async def _receive(self, pull: Pull, deliveries: Sequence[_Delivery]) -> None:
        messages = [delivery.message for delivery in deliveries]
        try:
            await self._apply(deliveries)
        except Exception as error:
            if _database_is_out(error, alone=len(deliveries) == 1):
                await pull.nak(messages, _REDELIVERY_MIN_S)
                raise
            if len(deliveries) == 1:
                await self._refuse(pull, deliveries[0], error)
                return
            log.info("batch_received_singly", stream=self._stream, events=len(deliveries), error=_reason(error))
            for delivery in deliveries:
                await self._receive(pull, [delivery])
        else:
            self._checkpoint("consumer:committed")
            await pull.ack(messages)
            self._checkpoint("consumer:acknowledged")

    async def _apply(self, deliveries: Sequence[_Delivery]) -> None:
        async with self._db.transaction() as tx:
            ids = [delivery.event.id for delivery in deliveries]
            fresh: set[str] = {row["event_id"] for row in await tx.fetch(_RECEIVE, self._durable, ids)}
            happened = {delivery.event.id: delivery.event.time for delivery in deliveries if delivery.event.id in fresh}
            crowds: dict[BatchHandler, list[Received]] = {}
            for delivery in deliveries:
                event = delivery.event
                if event.id not in fresh:
                    continue
                # The same event may be in a batch twice.
                fresh.discard(event.id)
                if event.type in self._batch_handlers:
                    crowds.setdefault(self._batch_handlers[event.type], []).append(event)
                else:
                    await self._call_handler(tx, event)
            for handler, events in crowds.items():
                await self._call_batch_handler(tx, handler, events)
            self._checkpoint("consumer:applied")
        now = self._clock.now()
        for time in happened.values():
            self._delay.observe(max(0.0, (now - time).total_seconds()))

    async def _call_handler(self, tx: Transaction, event: Received) -> None:
        handler = self._handlers.get(event.type)
        if handler is None:
            raise MalformedEventError("ce-type")
        with (
            telemetry.remote_context(event.traceparent),
            telemetry.span(f"process {event.type}", SpanKind.CONSUMER, {"messaging.system": "nats"}),
        ):
            await handler(tx, event)

    async def _call_batch_handler(self, tx: Transaction, handler: BatchHandler, events: Sequence[Received]) -> None:
        # A crowd has many traces; its span stands in that of the first.
        attributes: dict[str, str | int] = {"messaging.system": "nats", "messaging.batch.message_count": len(events)}
        with (
            telemetry.remote_context(events[0].traceparent),
            telemetry.span(f"process {events[0].type}", SpanKind.CONSUMER, attributes),
        ):
            await handler(tx, events)

    async def _parsed(self, pull: Pull, message: Msg) -> _Delivery | None:
        try:
            return _Delivery(message, received(message.headers, message.data))
        except MalformedEventError as error:
            # It will never be better.
            await self._give_up(pull, message, error, deliveries=1)
            return None

    async def _refuse(self, pull: Pull, delivery: _Delivery, error: Exception) -> None:
        event, reason = delivery.event, _reason(error)
        if isinstance(error, _LATER):
            log.info("event_postponed", event_id=event.id, type=event.type, reason=reason)
            await pull.nak([delivery.message], error.retry_after_s or _POSTPONED_S)
            return
        refusals = self._refusals.pop(event.id, 0) + 1
        log.warning("event_refused", event_id=event.id, type=event.type, refusals=refusals, reason=reason)
        if refusals >= self._deliveries_max:
            await self._give_up(pull, delivery.message, error, deliveries=refusals)
            return
        self._refusals[event.id] = refusals
        if len(self._refusals) > _REFUSALS_MAX:
            self._refusals.popitem(last=False)
        await pull.nak([delivery.message], min(_REDELIVERY_MAX_S, _REDELIVERY_MIN_S * 2 ** (refusals - 1)))

    async def _give_up(self, pull: Pull, message: Msg, error: Exception, *, deliveries: int) -> None:
        await deadletters.send(
            self._bus,
            message,
            consumer=self._durable,
            reason=_reason(error),
            deliveries=deliveries,
            failed_at=self._clock.now(),
        )
        log.error("event_given_up", subject=message.subject, reason=_reason(error), deliveries=deliveries)
        await pull.ack([message])


async def _ended(batch: Coroutine[None, None, None]) -> None:
    """Awaits `batch`; when we are cancelled it may still end, for a bounded time."""
    task = asyncio.create_task(batch)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_DRAIN_S_MAX)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def _database_is_out(error: Exception, *, alone: bool) -> bool:
    """Then no event is to blame. What one event may cause, such as a time-out, is looked at event by event first."""
    if not isinstance(error, UnavailableError) or error.dependency != DEPENDENCY:
        return False
    return alone or not (isinstance(error, DeadlineExceededError) or error.code == "transaction_conflict")


def _reason(error: Exception) -> str:
    """What went wrong and where; the text only of errors made for others' eyes, as it may hold personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = f": {error}" if isinstance(error, BreakwaterError | MalformedEventError) else ""
    return f"{type(error).__name__}{said}{where}"
