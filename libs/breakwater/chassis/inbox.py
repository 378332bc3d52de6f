"""The idempotent receiver: an event and its effect are one transaction, so that a redelivery does nothing.

A batch is one transaction; when it fails each event gets its own; what keeps failing goes to the dead letters, visible
and replayable (chassis.deadletters).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it arrived. Order within `subject_id` is judged by `sequence`, not by arrival."""

    id: str
    type: str
    subject_id: str
    sequence: int
    time: datetime
    data: bytes
    traceparent: str | None


Handler = Callable[[Transaction, Received], Awaitable[None]]
"""Does the effect of one event in the transaction given, and nothing outside of it.

`UnavailableError` and `RateLimitedError` mean "later" and are tried again without end; any other exception counts against
the event.
"""


class Consumer:
    """Receives the events of one stream once. `service.background("leads-events", consumer.run)`."""

    def __init__(
        self,
        bus: Bus,
        db: Database,
        *,
        stream: str,
        durable: str,
        handlers: Mapping[str, Handler],
        clock: Clock | None = None,
        deliveries_max: int = 5,
    ) -> None:
        """`stream` is the publishing service in upper case, `LEADS`; `durable` names this consumer, such as `notify`;
        `handlers` maps event types, `breakwater.leads.v1.LeadAssigned`, to their handlers: only these are received.
        """
        self._bus, self._db, self._stream, self._durable = bus, db, stream, durable
        self._handlers, self._clock, self._deliveries_max = dict(handlers), clock or SystemClock(), deliveries_max

    async def run(self) -> None:
        """Receives until cancelled; a batch under way at that moment is ended first."""
        raise NotImplementedError

    @property
    def lag(self) -> int:
        """Events waiting in the stream for this consumer, as of the last delivery."""
        raise NotImplementedError
