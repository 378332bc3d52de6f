"""When a morning is, which days it tells of, and what it says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from services.leads.boards.domain import Spread, TimelinessBoard
from services.leads.boards.personal.domain import PersonalBoard
from services.leads.sla.calendar import Calendar

ACTIONS_TOLD = 5
"""Of a personal board; the page has them all."""
GROUPS_TOLD = 10
"""Of the teams below, the slowest first; the page has them all."""
_DAY = timedelta(days=1)
_WEEKS_MAX = 8 * 7
"""No calendar rests longer; one that does is told each day."""


@dataclass(frozen=True, slots=True)
class Told:
    """A board for one person. `board` is `lead-timeliness/TEAM` or `personal`: what one gets once a day."""

    board: str
    day: date
    recipient_id: str
    title: str
    body: str


def next_morning(calendar: Calendar | None, zone: ZoneInfo, at: time, now: datetime) -> datetime:
    """The first `at` o'clock of a working day after `now`, in UTC."""
    today = now.astimezone(zone).date()
    mornings = (datetime.combine(today + day * _DAY, at, zone).astimezone(UTC) for day in range(_WEEKS_MAX))
    later = [morning for morning in mornings if morning > now]
    worked = (each for each in later if calendar is None or calendar.hours(each.astimezone(zone).date()))
    return next(worked, later[0])


def is_morning(calendar: Calendar | None, zone: ZoneInfo, at: time, now: datetime) -> bool:
    """Whether boards of today can be told: it is a working day past `at` o'clock. Who comes late tells late, not yesterday's."""
    local = now.astimezone(zone)
    return local.timetz().replace(tzinfo=None) >= at and (calendar is None or bool(calendar.hours(local.date())))


def days_told(calendar: Calendar | None, today: date) -> tuple[date, date]:
    """From the last working day before `today` to yesterday: on a Monday with the weekend."""
    earlier = (today - day * _DAY for day in range(1, _WEEKS_MAX))
    return next((day for day in earlier if calendar is None or calendar.hours(day)), today - _DAY), today - _DAY


def timeliness_told(board: TimelinessBoard, team_id: str, team_name: str, day: date, recipient_id: str) -> Told:
    """线索时效看板 in a few lines."""
    total, lost, measures = board.total, board.lost, board.measures
    days = f"{board.days.first:%m-%d}"
    if board.days.last != board.days.first:
        days += f" 至 {board.days.last:%m-%d}"
    within_min = round(measures.assigned_within.total_seconds() / 60)
    within_h = round(measures.contact_within.total_seconds() / 3600)
    lines = [
        f"{days}：新线索 {total.leads} 条，已响应 {total.responded} 条",
        f"首次响应（工作时间）：{_spread(total.business)}",
        f"首次响应（自然时间）：{_spread(total.wall)}",
        f"按时率 {total.on_time}，超时 {total.late} 条",
        f"{within_min} 分钟内分配 {total.assigned}，{within_h} 小时内接触 {total.contacted}",
    ]
    if len(board.teams) > 1:
        slowest = sorted(board.teams, key=lambda each: -(each.business.mean_s if each.business else 0.0))
        told = [f"{each.name or '未分配'} {each.leads} 条，{_mean(each.business)}" for each in slowest[:GROUPS_TOLD]]
        lines.append("各组（工作时间）：" + "；".join(told) + ("；……" if len(slowest) > GROUPS_TOLD else ""))
    if board.late:
        lines.append("超时最多：" + "、".join(f"{each.name} {each.late} 条" for each in board.late))
    if board.unassigned:
        after_h = round(measures.unassigned_after.total_seconds() / 3600)
        lines.append(f"超过 {after_h} 小时未分配：{board.unassigned} 条")
    if lost.leads:
        kinds = [("行业", lost.by_industry()), ("来源", lost.by_source()), ("停留", lost.by_dwell())]
        lines.append(f"流失 {lost.leads} 条：" + "；".join(f"{name} {_most(values)}" for name, values in kinds))
    return Told(
        f"lead-timeliness/{team_id}", day, recipient_id, f"线索时效看板 · {team_name} · {day:%m-%d}", "\n".join(lines)
    )


def personal_told(board: PersonalBoard, day: date) -> Told:
    """What waits for somebody, in a few lines."""
    lines = [f"在途线索 {board.open_leads} 条，逾期 {board.overdue} 条，今天要做 {len(board.actions)} 件"]
    for each in board.actions[:ACTIONS_TOLD]:
        due = each.due_at.astimezone(board.days.zone)
        when = f"{due:%H:%M}" if due.date() == day else f"{due:%m-%d %H:%M}"
        who = " ".join(text for text in (each.lead.company, each.lead.name) if text)
        lines.append(f"{'【逾期】' if each.overdue else ''}{when} {who}：{each.action or '认领'}")
    if len(board.actions) > ACTIONS_TOLD:
        lines.append(f"另有 {len(board.actions) - ACTIONS_TOLD} 件")
    lines.append(f"近 30 天按时率 {board.timeliness.on_time}")
    return Told("personal", day, board.person_id, f"个人看板 · {day:%m-%d}", "\n".join(lines))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "尚无"
    return f"平均 {_long(spread.mean_s)}，中位数 {_long(spread.p50_s)}，P90 {_long(spread.p90_s)}"


def _mean(spread: Spread | None) -> str:
    return "尚无" if spread is None else f"平均 {_long(spread.mean_s)}"


def _long(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} 分钟" if minutes < 100 else f"{minutes / 60:.1f} 小时"  # noqa: PLR2004 - reads better


def _most(values: Sequence[tuple[str, int]]) -> str:
    shown = sorted((each for each in values if each[1]), key=lambda each: -each[1])[:2]
    return "、".join(f"{name} {leads}" for name, leads in shown)
