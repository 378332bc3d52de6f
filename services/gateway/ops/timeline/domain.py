"""What changed and who changed it: circuits, overrides, incidents, on one line of time. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What an entry is about."""

    CIRCUIT = "circuit"
    OVERRIDE_SET = "override_set"
    OVERRIDE_LIFTED = "override_lifted"
    OVERRIDE_REFUSED = "override_refused"
    INCIDENT_OPENED = "incident_opened"
    INCIDENT_RESOLVED = "incident_resolved"
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `actor` is empty where no person acted."""

    id: str
    at: datetime
    kind: Kind
    text: str
    dependency: str
    actor: str = ""
