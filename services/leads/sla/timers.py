"""First-touch timers, in the transaction of what moves them. They start with a decision: routing.store."""

from collections.abc import Sequence
from datetime import timedelta

from breakwater.chassis.database import Transaction
from services.leads.intake.capture import Lead
from services.leads.routing.snapshot import Snapshot

_MILLISECOND = timedelta(milliseconds=1)


async def stop_timers(tx: Transaction, lead_ids: Sequence[str]) -> None:
    """Nothing more becomes due for these leads."""
    if lead_ids:
        await tx.execute("DELETE FROM first_touch_timers WHERE lead_id = ANY($1::uuid[])", list(lead_ids))


async def claim_timer(tx: Transaction, snapshot: Snapshot, lead: Lead) -> None:
    """A claim ends the first stage; the second, the first work on the lead, is still awaited (5)."""
    timer = await tx.fetchrow(
        "SELECT started_at, used_ms FROM first_touch_timers WHERE lead_id = $1 AND stage = 1 FOR UPDATE", lead.id
    )
    if timer is None:
        return
    due = snapshot.first_touch.due(
        snapshot.directory.team_of(lead.owner_id or ""),
        lead.draft.source,
        timer["started_at"],
        stage=2,
        used=timer["used_ms"] * _MILLISECOND,
    )
    await tx.execute(
        "UPDATE first_touch_timers SET stage = 2, due_at = $2, remind_at = $3 WHERE lead_id = $1",
        *(lead.id, due.at, due.remind_at),
    )
