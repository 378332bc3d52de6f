"""Events of the gateway: an export is claimed in the event's own transaction, whether or not it was also asked by RPC."""

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import Handler, Received
from breakwater.gateway.v1.events_pb2 import ExportCancelled, ExportRequested
from services.files.exports.store import JobStore
from services.files.exports.usecases.requests import claim
from services.files.translation import spec_from_wire


class GatewayEvents:
    """What the gateway publishes and files acts upon."""

    def __init__(self, jobs: JobStore, clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        return {
            "breakwater.gateway.v1.ExportRequested": self.export_requested,
            "breakwater.gateway.v1.ExportCancelled": self.export_cancelled,
        }

    async def export_requested(self, tx: Transaction, event: Received) -> None:
        """A full queue means later: the event stays in the stream."""
        wanted = ExportRequested.FromString(event.data)
        actor, spec = wire.actor_from(wanted.actor), spec_from_wire(wanted.spec)
        await claim(self._jobs.within(tx), wanted.export_id, actor, spec, self._clock.now())

    async def export_cancelled(self, tx: Transaction, event: Received) -> None:
        """A job that is not claimed yet, because the queue was full, is made all the same: nobody asks for its file."""
        cancelled = ExportCancelled.FromString(event.data)
        await self._jobs.within(tx).cancel(cancelled.export_id, self._clock.now())
