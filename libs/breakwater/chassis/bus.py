"""The connection to NATS: core messages for hints and figures, JetStream for events. Every wait has a bound."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, Final, Self, TypeVar

import nats.errors
import nats.js.errors
import orjson
from nats.aio.client import Server
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from breakwater.chassis.buserrors import DEPENDENCY, DRIVER_ERRORS, StreamMissingError, classify, translated
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.logging import get_logger
from breakwater.chassis.natsclient import EventClient
from breakwater.chassis.policies import error_of_policy
from breakwater.resilience import Policy, PolicyError

__all__ = ["Bus", "BusLimits", "BusMessage", "StreamMissingError", "StreamSpec", "classify"]

log = get_logger(__name__)
T = TypeVar("T")

BATCH_MESSAGES_MAX: Final = 200
"""Of one atomic batch (measurements.md: 50 to 200 pay the disk's sync once)."""

_RECONNECT_MIN_S: Final = 0.1
_RECONNECT_MAX_S: Final = 1.0
_PING_INTERVAL_S: Final = 5
_PINGS_UNANSWERED_MAX: Final = 2
_CLOSE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class BusLimits:
    """The limits of one connection."""

    connect_timeout_s: int = 2
    request_timeout_s: float = 5.0
    """For one answer of JetStream, where no policy says less."""
    pending_size_bytes_max: int = 8 * 1024 * 1024
    """What may wait for a reconnect."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A message for JetStream; header values are printable ASCII (see `chassis.cloudevents.encoded`)."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream of events on files, bounded by age and size; the oldest messages go first."""

    name: str
    subjects: tuple[str, ...]
    age_days_max: int = 7
    size_bytes_max: int = 1024 * 1024 * 1024
    duplicate_window_s: float = 120.0

    def config(self, replicas: int) -> StreamConfig:
        """As nats-py takes it."""
        return StreamConfig(
            name=self.name,
            subjects=list(self.subjects),
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=self.age_days_max * 86_400,
            max_bytes=self.size_bytes_max,
            duplicate_window=self.duplicate_window_s,
            num_replicas=replicas,
            allow_atomic=True,
        )


@dataclass(frozen=True, slots=True)
class _Subscription:
    subject: str
    handler: Callable[[Msg], Awaitable[None]]
    queue: str


class Bus:
    """One connection that is kept up for the process's life, whatever the server says meanwhile."""

    def __init__(
        self, service: str, options: Mapping[str, Any], policy: Policy | None, limits: BusLimits, stream_replicas: int
    ) -> None:
        self.service = service
        self._options = dict(options)
        self._policy = policy
        self._limits = limits
        self._stream_replicas = stream_replicas
        self._client: EventClient | None = None
        self._subscriptions: list[_Subscription] = []
        self._on_connected: list[Callable[[], None]] = []
        self._first_connect = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        service: str,
        user: str | None = None,
        password: str | None = None,
        policy: Policy | None = None,
        limits: BusLimits | None = None,
        stream_replicas: int = 1,
        wait_s: float = 5.0,
    ) -> Self:
        """Connects, waiting `wait_s` at most: a service starts without NATS and is connected when it comes.

        `url` may name several servers, separated by commas. `policy` guards what waits for JetStream; its classifier is
        `bus.classify`. `stream_replicas` of each stream made here, in a cluster.
        """
        limits = limits or BusLimits()
        options = {
            "servers": url.split(","),
            "name": f"breakwater-{service}",
            "user": user,
            "password": password,
            # Of its own, so that no other service's answers can be overheard (deploy/nats/permissions.yaml).
            "inbox_prefix": f"_INBOX_{user or service}",
            "connect_timeout": limits.connect_timeout_s,
            "reconnect_time_wait": _RECONNECT_MIN_S,
            "max_reconnect_attempts": -1,
            "reconnect_to_server_handler": _next_server,
            "ping_interval": _PING_INTERVAL_S,
            "max_outstanding_pings": _PINGS_UNANSWERED_MAX,
            "pending_size": limits.pending_size_bytes_max,
        }
        bus = cls(service, options, policy, limits, stream_replicas)
        bus._keeper = asyncio.create_task(bus._keep_up(), name="bus")
        try:
            async with asyncio.timeout(wait_s):
                await bus._first_connect.wait()
        except TimeoutError:
            log.warning("nats_absent", waited_s=wait_s)
        return bus

    @property
    def connected(self) -> bool:
        """Whether NATS is reachable now."""
        return self._client is not None and self._client.is_connected

    @property
    def client(self) -> EventClient:
        """nats-py's connection, while there is one; a later one may replace it. Raises `UnavailableError`."""
        if self._client is None or not self._client.is_connected:
            raise UnavailableError("NATS cannot be reached.", dependency=DEPENDENCY)
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """nats-py's own JetStream, for key-value buckets. Bound every wait. Raises `UnavailableError`."""
        return self.client.jetstream(timeout=self._limits.request_timeout_s)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Calls `callback` after each connect and reconnect from now on."""
        self._on_connected.append(callback)

    async def publish(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Sends a core message to whoever listens. Raises `UnavailableError` while disconnected."""
        try:
            # nats-py changes the headers it is given.
            await self.client.publish(subject, payload, headers=dict(headers) if headers else None)
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]], *, queue: str = "") -> None:
        """Core messages of `subject` to `handler`, for the life of the bus, also across reconnects."""
        subscription = _Subscription(subject, handler, queue)
        self._subscriptions.append(subscription)
        if self.connected:
            await self._attach(self.client, subscription)

    async def has_stream(self, name: str) -> bool:
        """Whether JetStream has this stream. Raises `UnavailableError`."""
        try:
            await self._guarded(lambda _: self._call(lambda js: js.stream_info(name)))
        except StreamMissingError:
            return False
        return True

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Creates the stream or brings it to `spec`; harmless when several processes do so at once.

        Raises `UnavailableError`.
        """
        wanted = spec.config(self._stream_replicas)
        try:
            info = await self._guarded(lambda _: self._call(lambda js: js.stream_info(spec.name)))
        except StreamMissingError:
            await self._guarded(lambda _: self._call(lambda js: js.add_stream(wanted)))
            return
        stated = {name: value for name, value in wanted.as_dict().items() if value is not None}
        present = info.config.as_dict()
        if any(present.get(name) != stated[name] for name in _CHANGEABLE if name in stated):
            changed = replace(info.config, **{name: getattr(wanted, name) for name in _CHANGEABLE})
            await self._guarded(lambda _: self._call(lambda js: js.update_stream(changed)))

    async def publish_batch(self, messages: Sequence[BusMessage]) -> None:
        """Returns when JetStream has stored all of `messages`, in order: atomically up to 200, else one by one.

        Each carries `Nats-Msg-Id`, so that sending it again is harmless. Raises `UnavailableError`; then some may be
        stored.
        """
        if len(messages) > BATCH_MESSAGES_MAX:
            raise ValueError(f"a batch has at most {BATCH_MESSAGES_MAX} messages")
        if messages:
            await self._guarded(lambda timeout_s: self._publish_batch(messages, timeout_s))

    async def close(self) -> None:
        """Flushes and disconnects, bounded."""
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._client is not None:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    if self._client.is_connected:
                        await self._client.flush()
                    await self._client.close()
            except DRIVER_ERRORS as error:
                log.warning("nats_close_failed", error=type(error).__name__)

    async def _publish_batch(self, messages: Sequence[BusMessage], timeout_s: float) -> None:
        if len(messages) > 1:
            try:
                await self._publish_atomically(messages, timeout_s)
            except nats.js.errors.APIError as error:
                # A message stored before rejects the whole batch (10201); a server without batches rejects it too.
                log.info("batch_sent_singly", messages=len(messages), reason=error.err_code)
            except DRIVER_ERRORS as error:
                raise translated(error) from error
            else:
                return
        outcomes = await asyncio.gather(
            *(self._publish_one(message, dict(message.headers), timeout_s) for message in messages),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, DRIVER_ERRORS):
                raise translated(outcome) from outcome
            if outcome is not None:
                raise outcome

    async def _publish_atomically(self, messages: Sequence[BusMessage], timeout_s: float) -> None:
        batch_id = token_hex(8)
        batch = [
            {**message.headers, "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(position)}
            for position, message in enumerate(messages, 1)
        ]
        body = zip(messages[:-1], batch[:-1], strict=True)
        await self.client.publish_many([(message.subject, message.payload, headers) for message, headers in body])
        await self._publish_one(messages[-1], batch[-1] | {"Nats-Batch-Commit": "1"}, timeout_s)

    async def _publish_one(self, message: BusMessage, headers: dict[str, str], timeout_s: float) -> None:
        answer = await self.client.request(message.subject, message.payload, timeout=timeout_s, headers=headers)
        acknowledgement = orjson.loads(answer.data)
        if "error" in acknowledgement:
            nats.js.errors.APIError.from_error(acknowledgement["error"])

    async def _call(self, request: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        try:
            return await request(self.jetstream)
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def _guarded(self, attempt: Callable[[float], Awaitable[T]]) -> T:
        timeout_s = self._limits.request_timeout_s
        if self._policy is None:
            try:
                async with asyncio.timeout(timeout_s):
                    return await attempt(timeout_s)
            except TimeoutError as error:
                raise translated(error) from error
        try:
            return await self._policy.call(attempt)
        except PolicyError as error:
            raise error_of_policy(error) from error

    async def _keep_up(self) -> None:
        """Holds a connection. nats-py reconnects by itself, but gives up for good on some of the server's errors."""
        while True:
            closed = asyncio.Event()
            try:
                self._client = await self._new_client(closed)
                for subscription in self._subscriptions:
                    await self._attach(self._client, subscription)
                self._connected()
                await closed.wait()
            except DRIVER_ERRORS as error:
                log.warning("nats_connect_failed", error=type(error).__name__)
            await asyncio.sleep(random.uniform(_RECONNECT_MIN_S, _RECONNECT_MAX_S))  # noqa: S311 - a jitter

    async def _new_client(self, closed: asyncio.Event) -> EventClient:
        async def disconnected() -> None:
            if not self._closing:
                log.warning("nats_disconnected")

        async def reconnected() -> None:
            self._connected()

        async def ended() -> None:
            closed.set()

        async def failed(error: Exception) -> None:
            # What NATS denies shows nowhere else: the caller sees a time-out only.
            level = (
                log.error
                if isinstance(error, nats.errors.SlowConsumerError) or "ermission" in str(error)
                else log.debug
            )
            level("nats_error", error=str(error) or type(error).__name__)

        client = EventClient()
        try:
            await client.connect(
                **self._options,
                disconnected_cb=disconnected,
                reconnected_cb=reconnected,
                closed_cb=ended,
                error_cb=failed,
            )
        except BaseException:
            # Cancelled half-way: its socket would stay open.
            await client.close()
            raise
        return client

    def _connected(self) -> None:
        log.info("nats_connected")
        self._first_connect.set()
        for callback in self._on_connected:
            callback()

    async def _attach(self, client: EventClient, subscription: _Subscription) -> None:
        await client.subscribe(subscription.subject, queue=subscription.queue, cb=subscription.handler)


# Replicas stay as they are: whoever grew a stream by hand keeps it.
_CHANGEABLE: Final = ("subjects", "max_age", "max_bytes", "duplicate_window", "allow_atomic")


def _next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """The server that failed least, after a wait that doubles with its failures."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    wait_s = min(_RECONNECT_MAX_S, _RECONNECT_MIN_S * 2**server.reconnects)
    return server, wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - a jitter
