"""What changed and who changed it: circuits, overrides, incidents, deployments, on one line of time. Pure."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Kind(StrEnum):
    """What an entry is about."""

    CIRCUIT = "circuit"
    OVERRIDE_SET = "override_set"
    OVERRIDE_LIFTED = "override_lifted"
    OVERRIDE_KEPT = "override_kept"
    OVERRIDE_REFUSED = "override_refused"
    INCIDENT_OPENED = "incident_opened"
    INCIDENT_RESOLVED = "incident_resolved"
    INCIDENT_CHANGED = "incident_changed"
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"
    INCIDENT_HANDED_OVER = "incident_handed_over"
    ALARM_TOLD = "alarm_told"
    ALARM_UNTOLD = "alarm_untold"
    DEPLOYED = "deployed"
    GATE_SAID = "gate_said"
    DEAD_LETTER_REPLAYED = "dead_letter_replayed"
    ALERT_FIRED = "alert_fired"
    ALERT_RESOLVED = "alert_resolved"
    PLAYBOOK_BEGUN = "playbook_begun"
    PLAYBOOK_ENDED = "playbook_ended"
    PLAYBOOK_REFUSED = "playbook_refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `actor` is empty where no person acted."""

    id: str
    at: datetime
    kind: str
    """A `Kind`, or what a later release wrote: going back to the pin must not lose the record."""
    text: str
    dependency: str
    actor: str = ""


GENESIS = bytes(32)
"""What stands before the first entry of the chain."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as it is stored; `seq` counts from 1, `sha256` covers the entry and the link before it."""

    seq: int
    entry: Entry
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look through the whole chain found. `seq` and `sha256` are of its last link, to be compared with the logs."""

    entries: int
    seq: int
    sha256: bytes
    problem: str | None


def hash_of(before: bytes, seq: int, entry: Entry) -> bytes:
    """The hash of a link: of the one before it and of every field, in a form that nothing else has."""
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    fields = [seq, entry.id, at, str(entry.kind), entry.text, entry.dependency, entry.actor]
    return hashlib.sha256(before + json.dumps(fields, ensure_ascii=True).encode()).digest()


class Examination:
    """Goes through a chain, link by link, and remembers the first thing that is wrong."""

    def __init__(self) -> None:
        self._seq, self._sha256 = 0, GENESIS
        self._entries = 0
        self._problem: str | None = None

    def take(self, link: Link) -> None:
        """The next link, in the order of their numbers."""
        self._entries += 1
        if self._problem is None:
            if link.seq != self._seq + 1:
                self._problem = f"entry {self._seq + 1} is missing"
            elif link.sha256 != hash_of(self._sha256, link.seq, link.entry):
                self._problem = f"entry {link.seq} was altered"
        self._seq, self._sha256 = link.seq, link.sha256

    def verdict(self, *, unchained: int, saved_seq: int) -> Verdict:
        """`unchained`: entries without a number since the chain began; `saved_seq`: the last that this process saved."""
        problem = self._problem
        if problem is None and unchained:
            problem = f"{unchained} entries were put in past the chain"
        if problem is None and self._seq < saved_seq:
            problem = f"entry {self._seq + 1} is missing"
        return Verdict(self._entries, self._seq, self._sha256, problem)
