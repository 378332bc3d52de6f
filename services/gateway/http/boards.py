"""Boards: how soon leads are answered, and what one person has to do: `/v1/boards`."""

from collections.abc import Iterable
from typing import Annotated, Literal

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import boards_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Identifier, QueryInput

Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Figure = Literal["leads", "responded", "on_time", "late", "assigned_late", "contacted_late", "unassigned", "lost"]
Value = Annotated[str, StringConstraints(max_length=200)]


class SpreadView(TypedDict):
    """Seconds."""

    mean_s: float
    p50_s: float
    p90_s: float


class ShareView(TypedDict):
    """`share` is `met / of`; null when it can be said of none."""

    met: int
    of: int
    share: float | None


class TimelinessView(TypedDict):
    """A group of leads: everybody's, a team's, a person's. Leads belong to whom they were first given.

    `business` is working time of the team's calendar, `wall` is time as it passes. `on_time_points` is what `on_time` brings in a
    person's performance, of 100 points: its share by `on_time_weight` (7).
    """

    id: str | None
    name: str | None
    team_id: str | None
    leads: int
    responded: int
    business: SpreadView | None
    wall: SpreadView | None
    on_time: ShareView
    assigned_in_time: ShareView
    contacted_in_time: ShareView
    late: int
    on_time_points: float | None


class LostView(TypedDict):
    """Lost leads of one kind."""

    value: str
    leads: int


class LostProfileView(TypedDict):
    """画像: 行业, 来源, 停留时段."""

    leads: int
    by_industry: list[LostView]
    by_source: list[LostView]
    by_dwell: list[LostView]


class MeasuresView(TypedDict):
    """What the figures are measured by; `on_time_weight` is that of the on-time share in a person's performance (7), the smallest
    shares are what is wanted to be assigned (43) and contacted (63) in time.
    """

    assigned_within_s: int
    contact_within_s: int
    unassigned_after_s: int
    on_time_weight: float
    assigned_share_min: float
    contact_share_min: float


TimelinessBoard = TypedDict(
    "TimelinessBoard",
    {
        "from": str,
        "to": str,
        "time_zone": str,
        "as_of": str | None,
        "total": TimelinessView,
        "teams": list[TimelinessView],
        "people": list[TimelinessView],
        "late": list[TimelinessView],
        "unassigned": int,
        "lost": LostProfileView,
        "measures": MeasuresView,
    },
)


class BoardLeadView(TypedDict):
    """A lead as a figure counts it; without name and company where it has gone to somebody else's."""

    id: str
    name: str | None
    company: str | None
    owner_id: str | None
    owner_name: str | None
    stage: str
    industry: str | None
    source: str
    captured_at: str | None
    assigned_at: str | None
    due_at: str | None
    responded_at: str | None
    contacted_at: str | None
    lost_at: str | None
    business_s: float | None


class BoardLeadPage(TypedDict):
    """Newest first."""

    items: list[BoardLeadView]
    next_cursor: str | None


class HeatCellView(TypedDict):
    """Open leads that share industry, band of amount and stage."""

    industry: str
    amount: str
    stage: str
    leads: int
    overdue: int


class DueActionView(TypedDict):
    """Something to do; without `action` the lead is to be claimed."""

    lead_id: str
    name: str
    company: str | None
    stage: str
    action: str | None
    due_at: str | None
    overdue: bool


class PersonalBoard(TypedDict):
    """One person's open leads, what is due, and their timeliness of the last 30 days."""

    person_id: str
    name: str
    day: str
    time_zone: str
    as_of: str | None
    open_leads: int
    overdue: int
    amounts: list[str]
    cells: list[HeatCellView]
    actions: list[DueActionView]
    timeliness: TimelinessView
    measures: MeasuresView


class TimelinessQuery(QueryInput):
    """The days and whose leads; by default the last seven days, and everybody the caller may see."""

    model_config = ConfigDict(populate_by_name=True)

    first: Annotated[Day | Literal[""], Field(alias="from")] = ""
    """The first day, in the time zone of the team, without a team in that of the platform."""
    last: Annotated[Day | Literal[""], Field(alias="to")] = ""
    team_id: Identifier | Literal[""] = ""
    owner_id: Identifier | Literal[""] = ""


class TimelinessLeadsQuery(TimelinessQuery):
    """A figure of the board; lost leads may be narrowed."""

    figure: Figure = "leads"
    industry: Value = ""
    source: Value = ""
    dwell: Value = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=500)] = ""


class PersonalQuery(QueryInput):
    """Whose board; the caller's own by default."""

    person_id: Identifier | Literal[""] = ""


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of boards."""

    @api.route("GET", "/v1/boards/lead-timeliness", TimelinessBoard, tag="boards")
    async def get_lead_timeliness(call: Call, query: Annotated[TimelinessQuery, Query()]) -> Answer:
        """线索时效看板: how soon leads are answered, by team and person, who is late, which leads were lost (6)."""
        request = boards_pb2.GetLeadTimelinessRequest(actor=actor_to(call.actor), range=_range(query))
        board = await leads.channel.unary(leads.boards.GetLeadTimeliness, request, retryable=True)
        view: TimelinessBoard = {
            "from": board.from_day,
            "to": board.to_day,
            "time_zone": board.time_zone,
            "as_of": rfc3339(board.as_of),
            "total": _timeliness(board.total),
            "teams": [_timeliness(each) for each in board.teams],
            "people": [_timeliness(each) for each in board.people],
            "late": [_timeliness(each) for each in board.late],
            "unassigned": board.unassigned,
            "lost": {
                "leads": board.lost,
                "by_industry": _lost(board.lost_by_industry),
                "by_source": _lost(board.lost_by_source),
                "by_dwell": _lost(board.lost_by_dwell),
            },
            "measures": _measures(board.measures),
        }
        return answer(view)

    @api.route("GET", "/v1/boards/lead-timeliness/leads", BoardLeadPage, tag="boards")
    async def list_timeliness_leads(call: Call, query: Annotated[TimelinessLeadsQuery, Query()]) -> Answer:
        """The leads behind a figure of the board, newest first (88)."""
        request = boards_pb2.ListTimelinessLeadsRequest(
            actor=actor_to(call.actor),
            range=_range(query),
            figure=query.figure,
            industry=query.industry,
            source=query.source,
            dwell=query.dwell,
            limit=query.limit,
            cursor=query.cursor,
        )
        reply = await leads.channel.unary(leads.boards.ListTimelinessLeads, request, retryable=True)
        page: BoardLeadPage = {"items": [_lead(each) for each in reply.leads], "next_cursor": reply.next_cursor or None}
        return answer(page)

    @api.route("GET", "/v1/boards/personal", PersonalBoard, tag="boards")
    async def get_personal_board(call: Call, query: Annotated[PersonalQuery, Query()]) -> Answer:
        """One person's open leads by industry, amount and stage, and what they have to do today (101)."""
        request = boards_pb2.GetPersonalBoardRequest(actor=actor_to(call.actor), person_id=query.person_id)
        board = await leads.channel.unary(leads.boards.GetPersonalBoard, request, retryable=True)
        view: PersonalBoard = {
            "person_id": board.person_id,
            "name": board.name,
            "day": board.day,
            "time_zone": board.time_zone,
            "as_of": rfc3339(board.as_of),
            "open_leads": board.open_leads,
            "overdue": board.overdue,
            "amounts": list(board.amounts),
            "cells": [
                {
                    "industry": cell.industry,
                    "amount": cell.amount,
                    "stage": cell.stage,
                    "leads": cell.leads,
                    "overdue": cell.overdue,
                }
                for cell in board.cells
            ],
            "actions": [_action(each) for each in board.actions],
            "timeliness": _timeliness(board.timeliness),
            "measures": _measures(board.measures),
        }
        return answer(view)


def _range(query: TimelinessQuery) -> boards_pb2.BoardRange:
    return boards_pb2.BoardRange(
        from_day=query.first, to_day=query.last, team_id=query.team_id, owner_id=query.owner_id
    )


def _timeliness(each: boards_pb2.Timeliness) -> TimelinessView:
    return {
        "id": each.id or None,
        "name": each.name or None,
        "team_id": each.team_id or None,
        "leads": each.leads,
        "responded": each.responded,
        "business": _spread(each.business) if each.HasField("business") else None,
        "wall": _spread(each.wall) if each.HasField("wall") else None,
        "on_time": _share(each.on_time),
        "assigned_in_time": _share(each.assigned_in_time),
        "contacted_in_time": _share(each.contacted_in_time),
        "late": each.late,
        "on_time_points": each.on_time_points if each.HasField("on_time_points") else None,
    }


def _spread(spread: boards_pb2.Spread) -> SpreadView:
    return {"mean_s": spread.mean_s, "p50_s": spread.p50_s, "p90_s": spread.p90_s}


def _share(share: boards_pb2.Share) -> ShareView:
    return {"met": share.met, "of": share.of, "share": share.met / share.of if share.of else None}


def _lost(counts: Iterable[boards_pb2.LostCount]) -> list[LostView]:
    return [{"value": each.value, "leads": each.leads} for each in counts]


def _measures(measures: boards_pb2.BoardMeasures) -> MeasuresView:
    return {
        "assigned_within_s": measures.assigned_within_s,
        "contact_within_s": measures.contact_within_s,
        "unassigned_after_s": measures.unassigned_after_s,
        "on_time_weight": measures.on_time_weight,
        "assigned_share_min": measures.assigned_share_min,
        "contact_share_min": measures.contact_share_min,
    }


def _lead(each: boards_pb2.BoardLead) -> BoardLeadView:
    return {
        "id": each.id,
        "name": each.name or None,
        "company": each.company or None,
        "owner_id": each.owner_id or None,
        "owner_name": each.owner_name or None,
        "stage": each.stage,
        "industry": each.industry or None,
        "source": each.source,
        "captured_at": rfc3339(each.captured_at),
        "assigned_at": rfc3339(each.assigned_at),
        "due_at": rfc3339(each.due_at),
        "responded_at": rfc3339(each.responded_at),
        "contacted_at": rfc3339(each.contacted_at),
        "lost_at": rfc3339(each.lost_at),
        "business_s": each.business_s if each.HasField("responded_at") else None,
    }


def _action(each: boards_pb2.DueAction) -> DueActionView:
    return {
        "lead_id": each.lead_id,
        "name": each.name,
        "company": each.company or None,
        "stage": each.stage,
        "action": each.action or None,
        "due_at": rfc3339(each.due_at),
        "overdue": each.overdue,
    }
