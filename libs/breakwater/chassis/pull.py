"""Messages of a durable JetStream consumer, taken as they come and answered when they are done with.

nats-py's own `fetch` waits for a full batch once one message has come, and may stall for ever after a reconnect; here a
request for messages always stands, heartbeats prove that the server knows of it, and any doubt is `PullLostError`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from breakwater.chassis.bus import Bus
from breakwater.chassis.buserrors import DRIVER_ERRORS, translated
from breakwater.chassis.logging import get_logger

log = get_logger(__name__)

ACK_WAIT_S: Final = 3.0
"""After this without a word JetStream delivers a message again: how long the messages of a killed process are lost from
sight. Whoever is at work says so every second."""
ACK_PENDING_MAX: Final = 2_000
"""Messages of one consumer under way at once, over all replicas."""

_PROGRESS_EVERY_S: Final = ACK_WAIT_S / 3
_REQUEST_EXPIRES_S: Final = 30.0
_HEARTBEAT_S: Final = 2.0
_SILENCE_S_MAX: Final = 2.5 * _HEARTBEAT_S
_NANOSECONDS: Final = 1_000_000_000


class PullLostError(Exception):
    """The server may have forgotten us: open another pull."""


class Pull:
    """At most two batches of one consumer's messages are here or under way."""

    def __init__(self, bus: Bus, stream: str, durable: str, subjects: list[str], batch_max: int) -> None:
        self._bus = bus
        self._client = bus.client
        self._stream = stream
        self._durable = durable
        self._subjects = subjects
        self._batch_max = batch_max
        self._subscription: Subscription | None = None
        self._progress: asyncio.Task[None] | None = None
        self._requested = 0
        self._arrived: deque[Msg] = deque()
        self._unanswered: dict[str, float] = {}
        self._something = asyncio.Event()
        self._lost: str | None = None

    async def open(self) -> None:
        """Creates the consumer, or brings it to its settings, and listens. Raises `UnavailableError`."""
        config = ConsumerConfig(
            name=self._durable,
            durable_name=self._durable,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            # Never given up by the server, which would tell nobody: the dead letters are ours.
            max_deliver=-1,
            max_ack_pending=ACK_PENDING_MAX,
            deliver_policy=DeliverPolicy.ALL,
            filter_subjects=self._subjects,
        )
        try:
            await self._bus.jetstream.add_consumer(self._stream, config)
            self._subscription = await self._client.subscribe(self._client.new_inbox(), cb=self._take)
        except DRIVER_ERRORS as error:
            raise translated(error) from error
        self._progress = asyncio.create_task(self._tell_progress(), name=f"progress-{self._stream}")

    async def messages(self) -> list[Msg]:
        """Waits for at least one message; returns what is there, one batch at most. Raises `PullLostError`."""
        while not self._arrived:
            if self._lost is not None:
                raise PullLostError(self._lost)
            # Cleared first: what arrives while we ask must not go unnoticed.
            self._something.clear()
            await self._request()
            try:
                async with asyncio.timeout(_SILENCE_S_MAX):
                    await self._something.wait()
            except TimeoutError:
                self.lose("silence")
        batch = [self._arrived.popleft() for _ in range(min(len(self._arrived), self._batch_max))]
        # The next messages travel while these are handled.
        await self._request()
        return batch

    async def ack(self, messages: Iterable[Msg]) -> None:
        """Says that they are done with. Should that get lost they come again."""
        await self._answer([message.reply for message in messages], b"+ACK")

    async def nak(self, messages: Iterable[Msg], delay_s: float = 0.0) -> None:
        """Says that they are wanted again, `delay_s` seconds from now."""
        answer = b"-NAK " + orjson.dumps({"delay": int(delay_s * _NANOSECONDS)}) if delay_s else b"-NAK"
        await self._answer([message.reply for message in messages], answer)

    def lose(self, reason: str) -> None:
        """Ends the waiting: the connection was replaced, or there is another doubt."""
        self._lost = reason
        self._something.set()

    async def close(self) -> None:
        """Stops listening; what has arrived and was not answered goes to another replica at once."""
        if self._progress is not None:
            self._progress.cancel()
        if self._subscription is not None:
            # One that is gone already is what was wanted.
            with suppress(*DRIVER_ERRORS):
                await self._subscription.unsubscribe()
        await self._answer(list(self._unanswered), b"-NAK")

    async def _request(self) -> None:
        if self._subscription is None or len(self._arrived) + self._requested > self._batch_max:
            return
        request = {
            "batch": self._batch_max,
            "expires": int(_REQUEST_EXPIRES_S * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_S * _NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        try:
            await self._client.publish(subject, orjson.dumps(request), reply=self._subscription.subject)
        except DRIVER_ERRORS as error:
            self.lose(type(error).__name__)
        else:
            self._requested += self._batch_max

    async def _take(self, message: Msg) -> None:
        headers = message.headers or {}
        status = None if message.reply else headers.get("Status")
        if status is None:
            self._requested -= 1
            self._arrived.append(message)
            self._unanswered[message.reply] = asyncio.get_running_loop().time()
        elif "Nats-Pending-Messages" in headers:
            # A request ended unfilled, by time or by its batch: the rest of it is no longer under way.
            self._requested -= int(headers["Nats-Pending-Messages"])
        elif status != "100":
            self.lose(headers.get("Description", status))
        self._requested = max(0, self._requested)
        self._something.set()

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_EVERY_S)
            before_s = asyncio.get_running_loop().time() - _PROGRESS_EVERY_S / 2
            held = [reply for reply, arrived_s in self._unanswered.items() if arrived_s < before_s]
            await self._publish(held, b"+WPI")

    async def _answer(self, replies: list[str], answer: bytes) -> None:
        for reply in replies:
            self._unanswered.pop(reply, None)
        await self._publish(replies, answer)

    async def _publish(self, replies: list[str], answer: bytes) -> None:
        try:
            for reply in replies:
                await self._client.publish(reply, answer)
        except DRIVER_ERRORS as error:
            # They come again and the inbox knows them.
            log.info("answers_lost", stream=self._stream, messages=len(replies), error=type(error).__name__)
