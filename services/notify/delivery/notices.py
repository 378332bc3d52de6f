"""Whom each event concerns, by which template, and the key that lets it be told once. Pure.

A message names the lead so that nobody has to look it up; a key comes from what it is about, so that an event published anew
under another id notifies nobody twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.notify.delivery.domain import Severity

_NOTHING = "—"
BOARD_READY = "board_ready"
"""The kind of what the clock tells, each morning."""
UNREACHABLE = "unreachable"
"""The kind of what a supervisor is told."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message before it has words: those depend on the person's language."""

    recipient_id: str
    kind: str
    template: str
    values: Mapping[str, str]
    subject: str
    dedup_key: str
    severity: Severity = Severity.INFO
    batch: str = ""


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead as its events name it."""

    id: str
    name: str = ""
    company: str = ""

    @property
    def subject(self) -> str:
        return f"lead:{self.id}"

    @property
    def who(self) -> str:
        """Company and name; the end of its id where the event says neither."""
        return f"{self.company} {self.name}".strip() or f"#{self.id[-8:]}"


def lead_assigned(
    lead: Lead,
    *,
    assignment_id: str,
    owner_id: str,
    source: str,
    priority: str,
    reason: str,
    claim_by: datetime | None,
    import_id: str,
    zone: ZoneInfo,
) -> Notice:
    """Tells the owner of a new lead (5, 125): once for each assignment, those of an import in one message (1)."""
    urgent = priority == "P0"
    return Notice(
        owner_id,
        "lead_assigned",
        "lead_assigned_p0" if urgent else "lead_assigned",
        {
            "who": lead.who,
            "source": source or "未知",
            "claim_by": _local(claim_by, zone) if claim_by else _NOTHING,
            "reason": reason,
        },
        lead.subject,
        f"lead_assigned:{assignment_id}",
        Severity.WARNING if urgent else Severity.INFO,
        batch_of_import(import_id) if import_id else "",
    )


def batch_of_import(import_id: str) -> str:
    """What the assignments of an import leave together as."""
    return f"import:{import_id}"


def lead_due_soon(lead: Lead, *, owner_id: str, stage: int, due_at: datetime, zone: ZoneInfo) -> Notice:
    """Reminds the owner before a limit passes (127)."""
    values = {"who": lead.who, "due_at": _local(due_at, zone), "stage": str(stage)}
    key = f"lead_due_soon:{lead.id}:{stage}:{due_at.isoformat()}"
    return Notice(owner_id, "lead_due_soon", "lead_due_soon", values, lead.subject, key, Severity.WARNING)


def lead_overdue(
    lead: Lead, *, owner_id: str, supervisor_id: str, stage: int, due_at: datetime, zone: ZoneInfo
) -> list[Notice]:
    """The two-stage timeout (双阶超时, 5): stage 1 reminds the owner, stage 2 tells owner and supervisor.

    Where nobody is above the owner it stays with them, and they have the work order.
    """
    values = {"who": lead.who, "due_at": _local(due_at, zone)}
    key = f"lead_overdue:{lead.id}:{stage}:{due_at.isoformat()}"

    def notice(recipient_id: str, template: str, role: str, severity: Severity) -> Notice:
        return Notice(recipient_id, "lead_overdue", template, values, lead.subject, f"{key}:{role}", severity)

    if stage == 1:
        return [notice(owner_id, "lead_overdue", "owner", Severity.WARNING)]
    if supervisor_id in {"", owner_id}:
        return [notice(owner_id, "lead_escalated", "owner", Severity.CRITICAL)]
    return [
        notice(owner_id, "lead_handed_over", "owner", Severity.WARNING),
        notice(supervisor_id, "lead_escalated", "supervisor", Severity.CRITICAL),
    ]


def lead_silent(
    lead: Lead,
    *,
    owner_id: str,
    owner_name: str,
    supervisor_id: str,
    assigned_at: datetime,
    times: int,
    zone: ZoneInfo,
) -> list[Notice]:
    """A lead unfollowed for 24 h alarms owner and supervisor, whatever is switched off (117), and again later (136)."""
    template = "lead_silent" if owner_id else "lead_silent_unowned"
    values = {"who": lead.who, "owner": owner_name or owner_id, "assigned_at": _local(assigned_at, zone)}
    key = f"lead_silent:{lead.id}:{assigned_at.isoformat()}:{times}"
    return [
        Notice(person, "lead_silent", template, values, lead.subject, f"{key}:{person}", Severity.CRITICAL)
        for person in dict.fromkeys((owner_id, supervisor_id))
        if person
    ]


def import_completed(
    *, import_id: str, started_by: str, dataset: str, rows: int, created: int, merged: int, rejected: int, failure: str
) -> Notice:
    """Tells who started an import how it ended (53)."""
    if failure:
        template, severity = "import_failed", Severity.WARNING
        values = {"dataset": dataset, "failure": failure}
    else:
        template, severity = "import_completed", Severity.WARNING if rejected else Severity.INFO
        counts = {"rows": rows, "created": created, "merged": merged, "rejected": rejected}
        values = {"dataset": dataset, **{name: str(count) for name, count in counts.items()}}
    key = f"import_completed:{import_id}"
    return Notice(started_by, "import_completed", template, values, f"import:{import_id}", key, severity)


def export_delivered(*, export_id: str, requester_id: str, supersedes: str, rows: int, fmt: str) -> Notice:
    """Tells the requester that the full file is there; after a degraded one this is the second receipt (37)."""
    template = "export_replaced" if supersedes else "export_completed"
    values = {"format": fmt.upper(), "rows": str(rows)}
    key = f"export_completed:{export_id}"
    return Notice(requester_id, "export_completed", template, values, f"export:{export_id}", key)


def export_degraded(*, export_id: str, requester_id: str, dependency: str, missing: tuple[str, ...]) -> Notice:
    """Tells the requester that a lesser file was made and that the full one follows (37)."""
    values = {"dependency": dependency, "missing": "、".join(missing) or _NOTHING}
    subject, key = f"export:{export_id}", f"export_degraded:{export_id}"
    return Notice(requester_id, "export_degraded", "export_degraded", values, subject, key, Severity.WARNING)


def board_ready(*, board: str, day: str, recipient_id: str, title: str, body: str) -> Notice:
    """The board of the morning (6, 101), once a day for each reader."""
    subject, key = f"board:{board}:{day}", f"board_ready:{board}:{day}:{recipient_id}"
    return Notice(recipient_id, BOARD_READY, BOARD_READY, {"title": title, "body": body}, subject, key)


def form_alerted(*, form: str, lead_id: str, recipient_id: str, title: str, body: str) -> Notice:
    """A lead came by a form that alarms somebody of it (121)."""
    key = f"form_alerted:{form}:{lead_id}:{recipient_id}"
    return Notice(recipient_id, "form_alerted", "form_alerted", {"title": title, "body": body}, f"lead:{lead_id}", key)


def unreachable(
    *, supervisor_id: str, person_id: str, name: str, titles: list[str], reason: str, key: str, critical: bool
) -> Notice:
    """Tells the supervisor what did not reach a person (119)."""
    values = {"name": name, "count": str(len(titles)), "titles": "；".join(titles[:3]), "reason": reason}
    severity = Severity.CRITICAL if critical else Severity.WARNING
    dedup_key = f"{UNREACHABLE}:{key}:{supervisor_id}"
    return Notice(supervisor_id, UNREACHABLE, UNREACHABLE, values, f"person:{person_id}", dedup_key, severity)


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%m-%d %H:%M")
