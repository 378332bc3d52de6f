"""Something a person has to do and that stays on a list until it is done (5). Pure."""

from dataclasses import dataclass
from datetime import datetime

RESOLUTION_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """Open until `closed_at`."""

    id: str
    kind: str
    subject: str
    title: str
    assignee_id: str
    opened_at: datetime
    closed_at: datetime | None = None
    closed_by: str = ""
    resolution: str = ""
