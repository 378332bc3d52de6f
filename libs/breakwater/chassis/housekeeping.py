"""What a service's tables and streams need by the hour: old rows are removed, in bounded portions, and figures refreshed."""

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.database import Database


class Housekeeping:
    """Prunes outbox, inbox and idempotency keys; sets `breakwater_outbox_pending` and `breakwater_dead_letters`.

    `service.background("housekeeping", Housekeeping(database, bus, service.clock).run)`.
    """

    def __init__(self, db: Database, bus: Bus, clock: Clock | None = None) -> None:
        self._db, self._bus, self._clock = db, bus, clock or SystemClock()

    async def run(self) -> None:
        """Runs until cancelled."""
        raise NotImplementedError
