"""The connection to NATS: core messages for hints and figures, JetStream for events. Nothing here waits without a bound."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from breakwater.resilience import Policy


@dataclass(frozen=True, slots=True)
class BusLimits:
    """The limits of one connection."""

    connect_timeout_s: float = 2.0
    request_timeout_s: float = 5.0
    """For one answer of JetStream."""
    pending_size_bytes_max: int = 8 * 1024 * 1024
    """What may wait for a reconnect."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A message for JetStream. Header values of any text are percent-encoded on the wire."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream of events: on files, bounded by age and size."""

    name: str
    subjects: tuple[str, ...]
    age_days_max: int = 7
    size_bytes_max: int = 1024 * 1024 * 1024
    duplicate_window_s: float = 120.0
    replicas: int = 1


class Bus:
    """One connection that is kept up for the process's life."""

    service: str

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
        wait_s: float = 5.0,
    ) -> Self:
        """Connects, waiting `wait_s` at most: a service starts without NATS and is connected when it comes.

        `url` may name several servers, separated by commas. `policy` guards what waits for JetStream.
        """
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether NATS is reachable now."""
        raise NotImplementedError

    @property
    def jetstream(self) -> JetStreamContext:
        """nats-py's own JetStream, for key-value buckets. Bound every wait.

        Raises `UnavailableError` before the first connection.
        """
        raise NotImplementedError

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Calls `callback` after each connect and reconnect."""
        raise NotImplementedError

    async def publish(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Sends a core message to whoever listens. Raises `UnavailableError` while disconnected."""
        raise NotImplementedError

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]], *, queue: str = "") -> None:
        """Core messages of `subject` to `handler`, for the life of the bus, also across reconnects."""
        raise NotImplementedError

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Creates the stream or brings it to `spec`; harmless when several processes do so at once."""
        raise NotImplementedError

    async def publish_batch(self, messages: Sequence[BusMessage]) -> None:
        """Returns when JetStream has stored all of `messages`, in order: atomically up to 100, else one by one.

        Each must carry `Nats-Msg-Id`. Raises `UnavailableError`; then some may be stored.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Flushes and disconnects, bounded."""
        raise NotImplementedError
