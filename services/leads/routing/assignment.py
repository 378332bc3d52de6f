"""A decision as it is kept and told: one row of a lead's history (8), one LeadAssigned event. Pure."""

from dataclasses import dataclass
from datetime import datetime

from services.leads.routing.domain import Decision


@dataclass(frozen=True, slots=True)
class Assignment:
    """One decision about one lead, with what a message to the owner needs so that nobody has to look it up."""

    id: str
    lead_id: str
    customer_id: str
    decision: Decision
    decided_at: datetime
    claim_by: datetime | None
    """When the first touch is due; None when nobody has the lead."""
    sequence: int
    """Of the lead's event."""
    lead_name: str
    company: str
    source: str
    remind_at: datetime | None = None
    """When the owner is reminded that the first touch will be due."""
    import_id: str = ""
    traceparent: str | None = None
    """The trace of the request that led to it; None: the one of whoever writes it."""
