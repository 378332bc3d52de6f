"""What on-call is told of an incident, and when. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from services.gateway.ops.alerts.domain import Alert
from services.gateway.ops.incidents.domain import Incident

TITLE_CHARS_MAX = 200
ABOUT = frozenset({"caller", "dependency", "journey", "service"})
"""Labels of an alert that say what it is about."""
INBOXES_STAND_ON = frozenset({"notify", "nats", "postgres", "gateway"})
"""Without one of them nobody can be sure that what is in an inbox is read."""


class Occasion(StrEnum):
    """Why somebody is told."""

    OPENED = "opened"
    RESOLVED = "resolved"
    NOTED = "noted"
    """A playbook has something to say."""


_HEADS = {Occasion.OPENED: "告警 Alarm", Occasion.RESOLVED: "恢复 Resolved", Occasion.NOTED: "预案 Playbook"}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One message to on-call. The same `key` is the same message, from whichever replica and by whichever path."""

    incident_id: str
    dependency: str
    occasion: Occasion
    number: int
    """How often the incident has called somebody."""
    title: str
    text: str
    at: datetime
    run_id: str = ""
    """Of the playbook that notes it."""
    of_alert: bool = False
    """No incident explains it: `incident_id` names the alert."""

    @property
    def key(self) -> str:
        return f"{self.incident_id}:{self.occasion}:{self.run_id}{self.number}"

    @property
    def subject(self) -> str:
        return f"{'alert' if self.of_alert else 'incident'}:{self.incident_id}"

    @property
    def urgent(self) -> bool:
        return self.occasion is Occasion.OPENED

    @property
    def concerns_inboxes(self) -> bool:
        return self.dependency in INBOXES_STAND_ON


def alarm_of(incident: Incident, occasion: Occasion, now: datetime, console_url: str) -> Alarm:
    """What broke, whom it hurts, what was changed before, what to do."""
    hurt = ", ".join(incident.journeys) or "no journey of users"
    lines = [
        f"影响 Hurt: {hurt}; {incident.failed:.0f} failed, {incident.degraded:.0f} degraded",
        *(f"此前变更 Changed before: {each}" for each in incident.changes[:1]),
        f"手册 Runbook: {incident.runbook}",
        f"编号 Incident: {incident.id}",
    ]
    if incident.owner:
        lines.insert(1, f"负责 Owner: {incident.owner}")
    if console_url:
        lines.append(console_url)
    title = f"【{_HEADS[occasion]}】{incident.title}"[:TITLE_CHARS_MAX]
    return Alarm(incident.id, incident.cause.dependency, occasion, incident.pages, title, "\n".join(lines), now)


def alarm_of_alert(alert: Alert, now: datetime, console_url: str, *, firing: bool) -> Alarm:
    """An alert that no incident explains: what it says, and what to do. Named alike by whichever process is told of it."""
    occasion = Occasion.OPENED if firing else Occasion.RESOLVED
    name = f"{alert.name}-{alert.since.astimezone(UTC):%Y%m%dT%H%M%S}-{alert.key[:8]}"
    about = ", ".join(f"{label} {value}" for label, value in sorted(alert.labels.items()) if label in ABOUT)
    lines = [
        "没有事件说明其原因 No incident explains it",
        *([f"涉及 About: {about}"] if about else []),
        *([f"手册 Runbook: {alert.runbook}"] if alert.runbook else []),
        f"编号 Alert: {name}",
        *([console_url] if console_url else []),
    ]
    title = f"【{_HEADS[occasion]}】{alert.summary or alert.name}"[:TITLE_CHARS_MAX]
    return Alarm(name, alert.dependency, occasion, 1, title, "\n".join(lines), now, of_alert=True)


def note_of(playbook: str, run_id: str, incident_id: str, number: int, text: str, now: datetime) -> Alarm:
    """What a run tells on-call; `number` tells its notes apart. It is of the incident that the playbook is for, or of none."""
    title = f"【{_HEADS[Occasion.NOTED]}】{playbook}"[:TITLE_CHARS_MAX]
    of = f"\n编号 Incident: {incident_id}" if incident_id else ""
    return Alarm(incident_id or playbook, "", Occasion.NOTED, number, title, f"{text}{of}", now, run_id)
