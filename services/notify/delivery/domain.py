"""What a notification is, and the words of each kind. Pure.

Templates are Chinese first (domain.md); a message names the lead so that nobody has to look it up.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try on one channel."""

    channel: str
    state: AttemptState
    at: datetime
    detail: str = ""


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


def lead_assigned(
    *,
    assignment_id: str,
    lead_id: str,
    owner_id: str,
    lead_name: str,
    company: str,
    source: str,
    priority: str,
    reason: str,
    claim_by: datetime | None,
    zone: ZoneInfo,
) -> Message:
    """Tells the owner of a new lead (5, 125): once for each assignment."""
    urgent = priority == "P0"
    due = f"，请在 {_local(claim_by, zone)} 前认领" if claim_by else ""
    return Message(
        recipient_id=owner_id,
        kind="lead_assigned",
        title=_cut(f"{'【P0】' if urgent else ''}新线索：{_who(lead_name, company)}", TITLE_CHARS_MAX),
        body=_cut(f"来源 {source or '未知'}{due}。分配原因：{reason}", BODY_CHARS_MAX),
        subject=f"lead:{lead_id}",
        dedup_key=f"lead_assigned:{assignment_id}",
        severity=Severity.WARNING if urgent else Severity.INFO,
    )


def lead_overdue(
    *,
    lead_id: str,
    owner_id: str,
    supervisor_id: str,
    stage: int,
    due_at: datetime,
    zone: ZoneInfo,
) -> list[Message]:
    """The two-stage timeout (双阶超时, 5): stage 1 reminds the owner, stage 2 tells owner and supervisor."""
    due = _local(due_at, zone)
    key = f"lead_overdue:{lead_id}:{stage}:{due_at.isoformat()}"
    if stage == 1:
        text = f"该线索应在 {due} 前认领，请立即处理。"
        return [_overdue(owner_id, "线索超时未认领", text, lead_id, f"{key}:owner", Severity.WARNING)]
    messages = [
        _overdue(
            owner_id,
            "线索已移交主管",
            f"该线索应在 {due} 前跟进，现已移交主管。",
            lead_id,
            f"{key}:owner",
            Severity.WARNING,
        )
    ]
    if supervisor_id and supervisor_id != owner_id:
        text = f"线索在 {due} 前未跟进，现由您处理。"
        messages.append(_overdue(supervisor_id, "线索超时升级", text, lead_id, f"{key}:supervisor", Severity.CRITICAL))
    return messages


def import_completed(
    *, import_id: str, started_by: str, dataset: str, rows: int, created: int, merged: int, rejected: int, failure: str
) -> Message:
    """Tells who started an import how it ended (53)."""
    if failure:
        title, body, severity = "导入失败", f"{dataset}：{failure}", Severity.WARNING
    else:
        title = "导入完成"
        body = f"{dataset}：共 {rows} 行，新建 {created}，合并 {merged}，拒绝 {rejected}。"
        severity = Severity.WARNING if rejected else Severity.INFO
    return Message(
        recipient_id=started_by,
        kind="import_completed",
        title=title,
        body=_cut(body, BODY_CHARS_MAX),
        subject=f"import:{import_id}",
        dedup_key=f"import_completed:{import_id}",
        severity=severity,
    )


def export_delivered(*, export_id: str, requester_id: str, supersedes: str, rows: int, fmt: str) -> Message:
    """Tells the requester that the full file is there; after a degraded one this is the second receipt (37)."""
    replaced = "，替代此前的精简文件" if supersedes else ""
    return Message(
        recipient_id=requester_id,
        kind="export_completed",
        title="导出完成",
        body=f"{fmt.upper()} 文件共 {rows} 行，可以下载{replaced}。",
        subject=f"export:{export_id}",
        dedup_key=f"export_completed:{export_id}",
    )


def export_degraded(*, export_id: str, requester_id: str, dependency: str, missing: tuple[str, ...]) -> Message:
    """Tells the requester that a lesser file was made and that the full one follows (37)."""
    lacking = "、".join(missing) or "无"
    return Message(
        recipient_id=requester_id,
        kind="export_degraded",
        title="导出已降级",
        body=_cut(
            f"{dependency} 暂不可用，已用本地引擎生成精简文件（缺少：{lacking}）。完整文件恢复后自动补发。",
            BODY_CHARS_MAX,
        ),
        subject=f"export:{export_id}",
        dedup_key=f"export_degraded:{export_id}",
        severity=Severity.WARNING,
    )


def _overdue(recipient_id: str, title: str, body: str, lead_id: str, key: str, severity: Severity) -> Message:
    return Message(recipient_id, "lead_overdue", title, body, f"lead:{lead_id}", key, severity)


def _who(name: str, company: str) -> str:
    return f"{company} {name}" if company else name


def _local(moment: datetime | None, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%m-%d %H:%M") if moment else ""


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
