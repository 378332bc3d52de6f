"""A lead's history beside what has a table of its own: claims and changes of stage (15)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from breakwater.chassis.database import Transaction
from breakwater.chassis.ids import uuid7
from services.leads.rows import jsonb


@dataclass(frozen=True, slots=True)
class Step:
    """One of them."""

    lead_id: str
    kind: str
    """claimed, stage_changed or overdue."""
    actor_id: str
    """Who did it, or was late; empty: an import."""
    from_stage: str = ""
    to_stage: str = ""
    reason: str = ""


async def keep_steps(tx: Transaction, steps: Sequence[Step], at: datetime) -> None:
    """Adds steps to the history."""
    if not steps:
        return
    await tx.execute(
        """
        INSERT INTO lead_steps (id, lead_id, kind, actor_id, from_stage, to_stage, reason, at)
        SELECT (x->>0)::uuid, (x->>1)::uuid, x->>2, x->>3, x->>4, x->>5, x->>6, $2
        FROM jsonb_array_elements($1::jsonb) AS x
        """,
        jsonb(
            (uuid7(), each.lead_id, each.kind, each.actor_id, each.from_stage, each.to_stage, each.reason)
            for each in steps
        ),
        at,
    )
