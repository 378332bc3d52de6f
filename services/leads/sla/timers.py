"""Stopping first-touch timers, in the transaction of what ends them. They start with a decision: routing.store."""

from collections.abc import Sequence

from breakwater.chassis.database import Transaction


async def stop_timers(tx: Transaction, lead_ids: Sequence[str]) -> None:
    """Nothing more becomes due for these leads."""
    if lead_ids:
        await tx.execute("DELETE FROM first_touch_timers WHERE lead_id = ANY($1::uuid[])", list(lead_ids))
