"""`BoardsService`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import boards_pb2 as pb
from breakwater.leads.v1.boards_pb2_grpc import BoardsServiceServicer
from services.leads.api.messages import cursor_from, cursor_to
from services.leads.boards import domain
from services.leads.boards.personal.domain import AMOUNTS, DueAction
from services.leads.boards.personal.usecases import BeginPersonal, get_personal_board
from services.leads.boards.usecases import (
    BoardLead,
    BoardOptions,
    BoardQuery,
    LostFilter,
    get_lead_timeliness,
    list_timeliness_leads,
)
from services.leads.timestamps import timestamp


class BoardsApi(BoardsServiceServicer):
    """Boards, as of now."""

    def __init__(self, begin: BeginPersonal, clock: Clock, options: BoardOptions) -> None:
        self._begin = begin
        self._clock = clock
        self._options = options

    async def GetLeadTimeliness(
        self, request: pb.GetLeadTimelinessRequest, context: Any
    ) -> pb.GetLeadTimelinessResponse:
        board = await get_lead_timeliness(
            self._begin,
            wire.actor_from(request.actor),
            _query(request.range),
            now=self._clock.now(),
            options=self._options,
        )
        return pb.GetLeadTimelinessResponse(
            from_day=board.days.first.isoformat(),
            to_day=board.days.last.isoformat(),
            time_zone=board.days.zone.key,
            as_of=timestamp(board.as_of),
            total=_timeliness(board.total, board.measures),
            teams=[_timeliness(each, board.measures) for each in board.teams],
            people=[_timeliness(each, board.measures) for each in board.people],
            late=[_timeliness(each, board.measures) for each in board.late],
            unassigned=board.unassigned,
            lost=board.lost.leads,
            lost_by_industry=_lost(board.lost.by_industry()),
            lost_by_source=_lost(board.lost.by_source()),
            lost_by_dwell=_lost(board.lost.by_dwell()),
            measures=_measures(board.measures),
        )

    async def ListTimelinessLeads(
        self, request: pb.ListTimelinessLeadsRequest, context: Any
    ) -> pb.ListTimelinessLeadsResponse:
        leads, next_place = await list_timeliness_leads(
            self._begin,
            wire.actor_from(request.actor),
            _query(request.range),
            request.figure,
            LostFilter(request.industry, request.source, request.dwell),
            cursor_from(request.cursor) if request.cursor else None,
            request.limit,
            now=self._clock.now(),
            options=self._options,
        )
        return pb.ListTimelinessLeadsResponse(leads=[_lead(each) for each in leads], next_cursor=cursor_to(next_place))

    async def GetPersonalBoard(self, request: pb.GetPersonalBoardRequest, context: Any) -> pb.GetPersonalBoardResponse:
        board = await get_personal_board(
            self._begin,
            wire.actor_from(request.actor),
            request.person_id,
            now=self._clock.now(),
            options=self._options,
        )
        return pb.GetPersonalBoardResponse(
            person_id=board.person_id,
            name=board.name,
            day=board.days.last.isoformat(),
            time_zone=board.days.zone.key,
            as_of=timestamp(board.as_of),
            open_leads=board.open_leads,
            overdue=board.overdue,
            cells=[
                pb.HeatCell(
                    industry=cell.industry,
                    amount=cell.amount,
                    stage=cell.stage,
                    leads=cell.leads,
                    overdue=cell.overdue,
                )
                for cell in board.cells
            ],
            actions=[_action(each) for each in board.actions],
            timeliness=_timeliness(board.timeliness, board.measures),
            measures=_measures(board.measures),
            amounts=[*(name for name, _ in AMOUNTS), domain.UNKNOWN],
        )


def _query(days: pb.BoardRange) -> BoardQuery:
    return BoardQuery(days.from_day, days.to_day, days.team_id, days.owner_id)


def _timeliness(each: domain.Timeliness, measures: domain.Measures) -> pb.Timeliness:
    return pb.Timeliness(
        id=each.id,
        name=each.name,
        team_id=each.team_id,
        leads=each.leads,
        responded=each.responded,
        business=_spread(each.business),
        wall=_spread(each.wall),
        on_time=_share(each.on_time),
        assigned_in_time=_share(each.assigned),
        contacted_in_time=_share(each.contacted),
        late=each.late,
        on_time_points=each.on_time.points(measures.on_time_weight),
    )


def _spread(spread: domain.Spread | None) -> pb.Spread | None:
    return None if spread is None else pb.Spread(mean_s=spread.mean_s, p50_s=spread.p50_s, p90_s=spread.p90_s)


def _share(share: domain.Share) -> pb.Share:
    return pb.Share(met=share.met, of=share.of)


def _lost(counts: Sequence[tuple[str, int]]) -> list[pb.LostCount]:
    return [pb.LostCount(value=value, leads=leads) for value, leads in counts]


def _measures(measures: domain.Measures) -> pb.BoardMeasures:
    return pb.BoardMeasures(
        assigned_within_s=round(measures.assigned_within.total_seconds()),
        contact_within_s=round(measures.contact_within.total_seconds()),
        unassigned_after_s=round(measures.unassigned_after.total_seconds()),
        on_time_weight=measures.on_time_weight,
        assigned_share_min=measures.assigned_share,
        contact_share_min=measures.contact_share,
    )


def _lead(each: BoardLead) -> pb.BoardLead:
    times = each.times
    return pb.BoardLead(
        id=times.id,
        name=each.name,
        company=each.company,
        owner_id=times.owner_id,
        owner_name=each.owner_name,
        stage=each.stage,
        industry=each.industry,
        source=each.source,
        captured_at=timestamp(times.captured_at),
        assigned_at=_moment(times.assigned_at),
        due_at=_moment(times.due_at),
        responded_at=_moment(times.responded_at),
        contacted_at=_moment(times.contacted_at),
        lost_at=_moment(each.lost_at),
        business_s=each.business_s or 0.0,
    )


def _action(each: DueAction) -> pb.DueAction:
    return pb.DueAction(
        lead_id=each.lead.id,
        name=each.lead.name,
        company=each.lead.company,
        stage=each.lead.stage,
        action=each.action,
        due_at=timestamp(each.due_at),
        overdue=each.overdue,
    )


def _moment(at: datetime | None) -> Timestamp | None:
    return timestamp(at) if at else None
