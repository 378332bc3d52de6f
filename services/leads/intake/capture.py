"""Capturing leads: the one way in, for a single form and for a chunk of an import alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.leads.intake.domain import LeadDraft, Stage
from services.leads.routing.domain import Decision


class CaptureStore(Protocol):
    """What capturing needs of one open transaction; `intake.store.PostgresCaptureStore(tx, snapshots)` is it."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What became of one draft, in the order of the drafts."""

    lead_id: str
    customer_id: str
    stage: Stage
    merged: bool
    """The lead was there already by its external id; nothing was doubled."""
    duplicate_of: str | None
    """The customer's earliest open lead before this one (53)."""
    owner_id: str | None
    assignment_id: str | None
    decision: Decision | None
    """None where nothing was decided: leads that are not open, and merged ones."""
    claim_by: datetime | None


async def capture_leads(
    store: CaptureStore,
    drafts: Sequence[LeadDraft],
    *,
    now: datetime,
    import_id: str = "",
    reassign: bool = False,
) -> list[Captured]:
    """Captures normalised drafts in the transaction `store` stands on; a constant number of statements a call.

    Finds or makes each draft's customer, inserts the lead (or merges it into the one with its external id), routes the
    open ones, writes assignments with their explanation, first-touch timers and outbox events. The caller commits.
    `reassign` routes open leads that come with an owner, or are there already, anew.
    """
    raise NotImplementedError
