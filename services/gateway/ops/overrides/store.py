"""Orders in PostgreSQL: what was laid and lifted outlives the process that did it."""

from collections.abc import Sequence

from breakwater.chassis.clock import Clock
from breakwater.chassis.database import Database
from breakwater.edges.v1 import edges_pb2 as pb
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.translation import order_from_wire, order_to_wire

# Two ops processes may write for a moment during a restart: the later order stays.
_SAVE = """
INSERT INTO override_orders (dependency, caller, set_at, expires_at, content) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (dependency, caller) DO UPDATE
SET set_at = excluded.set_at, expires_at = excluded.expires_at, content = excluded.content
WHERE override_orders.set_at <= excluded.set_at
"""
_FORGET = "DELETE FROM override_orders WHERE expires_at <= $1"
_LOAD = "SELECT content FROM override_orders WHERE expires_at > $1"


class PostgresOrders:
    """Keeps the latest order for each edge until it ends."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def load(self) -> list[OverrideOrder]:
        """What has not ended. Raises `UnavailableError`."""
        async with self._database.read() as reader:
            rows = await reader.fetch(_LOAD, self._clock.now())
        return [order_from_wire(pb.Override.FromString(row["content"])) for row in rows]

    async def save(self, orders: Sequence[OverrideOrder]) -> None:
        """Adds or replaces; forgets what has ended. Raises `UnavailableError`."""
        async with self._database.transaction() as tx:
            await tx.execute(_FORGET, self._clock.now())
            for each in orders:
                content = order_to_wire(each).SerializeToString()
                await tx.execute(_SAVE, each.dependency, each.caller or "", each.set_at, each.expires_at, content)
