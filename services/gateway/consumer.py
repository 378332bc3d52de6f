"""Events of files that end an export. Translates only."""

from collections.abc import Mapping

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import Handler, Received
from breakwater.files.v1 import events_pb2
from services.gateway.exports.domain import Fail, File
from services.gateway.exports.store import ExportStore
from services.gateway.translation import document_from_wire

STREAM = "FILES"
DURABLE = "gateway"


class FilesEvents:
    """Finishes whichever export waits for the job; one that is finished already stays as it is."""

    def __init__(self, store: ExportStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """By event type."""
        return {
            "breakwater.files.v1.ExportCompleted": self.on_completed,
            "breakwater.files.v1.ExportFailed": self.on_failed,
        }

    async def on_completed(self, tx: Transaction, event: Received) -> None:
        """The full file is stored at files."""
        completed = events_pb2.ExportCompleted.FromString(event.data)
        file = File(completed.rows, completed.size_bytes, completed.sha256, document_from_wire(completed))
        now, encrypted = self._clock.now(), completed.encrypted
        await self._store.complete_job(tx, completed.export_id, file, now, encrypted=encrypted)

    async def on_failed(self, tx: Transaction, event: Received) -> None:
        """files cannot make it and would not another time."""
        failed = events_pb2.ExportFailed.FromString(event.data)
        await self._store.fail_job(tx, failed.export_id, Fail(failed.code, failed.reason), self._clock.now())
