"""What a notification is. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

TITLE_CHARS_MAX = 200
BODY_CHARS_MAX = 4_000
DEDUP_KEY_CHARS_MAX = 200


class Severity(StrEnum):
    """How loud a notification is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AttemptState(StrEnum):
    """What became of one try on one channel. Unknown stays unknown (expectations.md, Promises)."""

    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Message:
    """A notification to be stored. The same `dedup_key` is stored once, whoever asks and however often."""

    recipient_id: str
    kind: str
    title: str
    body: str
    subject: str
    dedup_key: str
    severity: Severity = Severity.INFO
    batch: str = ""
    """What leaves us together, such as `import:0198...`; its notifications stay one each in the inbox."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try on one channel."""

    channel: str
    state: AttemptState
    at: datetime
    detail: str = ""


class OutgoingState(StrEnum):
    """Where a notification is on its way out."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    """A channel took it."""
    UNKNOWN = "unknown"
    """It may have arrived; it is not sent again by itself."""
    ENDED = "ended"
    """Every channel was tried to the end, or there is none: a dead letter, which can be sent again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The way of a notification beyond the inbox."""

    state: OutgoingState
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Notification:
    """A stored notification. It is delivered in-app by being stored."""

    id: str
    recipient_id: str
    kind: str
    title: str
    body: str
    subject: str
    severity: Severity
    created_at: datetime
    read_at: datetime | None = None
    attempts: tuple[Attempt, ...] = field(default=())
    batch: str = ""
    outgoing: Outgoing | None = None
    """What became of it beyond the inbox; None where nothing had to leave."""
