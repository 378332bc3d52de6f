"""Boards as rows of text, as exports take them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from breakwater.chassis.identity import Actor
from services.leads.boards.domain import Share, Spread, Timeliness, TimelinessBoard
from services.leads.boards.personal.domain import DueAction, amount_of
from services.leads.boards.personal.usecases import PersonalReader, personal_board
from services.leads.boards.usecases import BoardOptions, BoardQuery, timeliness
from services.leads.datasets.domain import Column

CLAIM = "认领"
"""The next action of a lead nobody has claimed."""
_SEPARATORS = str.maketrans("", "", "\x1e\x1f")
_STAGES = {"new": "新线索", "contacted": "已联系", "qualified": "已确认"}


async def board_rows(
    reader: PersonalReader,
    actor: Actor,
    dataset: str,
    columns: Sequence[Column],
    owner_id: str,
    options: BoardOptions,
    now: datetime,
) -> list[list[str]]:
    """The rows of a board, of everybody the actor may see or of one person. Raises as the board does."""
    if dataset == "personal-board":
        board = await personal_board(reader, actor, owner_id, now=now, options=options)
        found = [_action(each, board.name) for each in board.actions]
    else:
        query = BoardQuery(owner_id=owner_id)
        found = list(_groups(await timeliness(reader, actor, query, now=now, options=options)))
    return [[row[column.name].translate(_SEPARATORS) for column in columns] for row in found]


def _groups(board: TimelinessBoard) -> Iterator[dict[str, str]]:
    names, weight = {team.id: team.name for team in board.teams}, board.measures.on_time_weight
    days = {"from": board.days.first.isoformat(), "to": board.days.last.isoformat()}
    yield {"group": "全部", "team": "", "name": "", **_figures(board.total, weight), **days}
    for team in board.teams:
        yield {"group": "小组", "team": team.name or "未分配", "name": "", **_figures(team, weight), **days}
    for person in board.people:
        team_name = names.get(person.team_id, person.team_id)
        yield {"group": "个人", "team": team_name, "name": person.name, **_figures(person, weight), **days}


def _figures(each: Timeliness, weight: float) -> dict[str, str]:
    points = each.on_time.points(weight)
    return {
        "leads": str(each.leads),
        "responded": str(each.responded),
        **_minutes("business", each.business),
        **_minutes("wall", each.wall),
        "late": str(each.late),
        "on_time_percent": _percent(each.on_time),
        "on_time_points": "" if points is None else f"{points:.1f}",
        "assigned_percent": _percent(each.assigned),
        "contacted_percent": _percent(each.contacted),
    }


def _minutes(name: str, spread: Spread | None) -> dict[str, str]:
    return {
        f"{name}_{figure}_min": "" if spread is None else f"{getattr(spread, f'{figure}_s') / 60:.1f}"
        for figure in ("mean", "p50", "p90")
    }


def _percent(share: Share) -> str:
    return f"{100 * share.met / share.of:.1f}" if share.of else ""


def _action(each: DueAction, owner_name: str) -> dict[str, str]:
    lead = each.lead
    return {
        "due_at": f"{each.due_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
        "overdue": "是" if each.overdue else "否",
        "action": each.action or CLAIM,
        "name": lead.name,
        "company": lead.company,
        "industry": lead.industry,
        "amount": amount_of(lead.budget),
        "stage": _STAGES.get(lead.stage, lead.stage),
        "lead_id": lead.id,
        "owner_name": owner_name,
    }
