"""Follow-ups (9, 10, 60, 99, 100), the playbook they are held to, and how good they are (44)."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.wire import actor_to
from breakwater.leads.v1 import followups_pb2 as pb
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Leads
from services.gateway.http.answers import Answer, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.periods import PeriodQuery, stamp_of
from services.gateway.http.routes import Identifier, Input, Moment, PageQuery, ShortText
from services.gateway.http.structs import document_of, struct_of

# A blank goes on to leads, which names every blank field of the record at once (100).
_Text = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=4_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")
]


class FollowUp(Input):
    """A contact with a customer.

    Five columns (9), of which goal, the customer's words and the next action are mandatory by default; the objection (10);
    the process fields (99): source and first touch are the lead's, pain tags (无 when nothing hurts) and the next time
    are mandatory, the stage stays unless one is given. Whatever is blank is named at once (100).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "goal": "确认型号",
                    "customer_words": "价格比上一家高",
                    "next_action": "发送对比报价",
                    "next_action_due": "2026-12-01T09:00:00+08:00",
                    "objection": "价格",
                    "pain_tags": ["ERP替换"],
                    "stage": "qualified",
                }
            ]
        }
    )

    goal: _Text | None = None
    customer_words: _Text | None = None
    our_response: _Text | None = None
    next_action: _Text | None = None
    next_action_due: Moment | None = None
    blocker: _Text | None = None
    objection: _Text | None = None
    pain_tags: Annotated[tuple[ShortText, ...], Field(max_length=20)] = ()
    stage: Annotated[str, StringConstraints(max_length=20)] | None = None


class QuickFollowUp(Input):
    """An action code of the playbook, which fills time, name, stage and script (60), and one keyword."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "quote-sent", "keyword": "ERP替换"}]})

    code: Identifier
    keyword: Annotated[str, StringConstraints(max_length=200)] = ""


class NewPlaybook(Input):
    """A playbook to put in force. `expected_version` is the version the author has seen; another one in force is 409."""

    document: dict[str, Any]
    expected_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class FollowUpCreated(TypedDict):
    """The record's id."""

    id: str


class FollowUpView(TypedDict):
    """A follow-up as it is kept."""

    id: str
    lead_id: str
    customer_id: str
    author_id: str
    author_name: str
    goal: str
    customer_words: str
    our_response: str | None
    next_action: str
    next_action_due: str | None
    blocker: str | None
    objection: str
    pain_tags: list[str]
    source: str | None
    first_touch_at: str | None
    stage: str | None
    action_code: str | None
    created_at: str | None


class FollowUpPage(TypedDict):
    """Newest first."""

    items: list[FollowUpView]
    next_cursor: str | None


class PlaybookView(TypedDict):
    """A version of the playbook."""

    version: int
    document: dict[str, Any]
    author: str
    created_at: str | None


class WordView(TypedDict):
    """A vague word and how many records use it (13)."""

    word: str
    records: int


class QualityView(TypedDict):
    """What was counted for somebody; `share` is of `records`, 0 to 1."""

    id: str | None
    name: str | None
    team_id: str | None
    records: int
    with_next_action_and_due: int
    share: float
    due: int
    done_in_time: int
    vague: int
    vague_words: list[WordView]


class QualityReport(TypedDict):
    """Everybody the caller may see, each person and each team, the smallest share first."""

    all: QualityView
    people: list[QualityView]
    teams: list[QualityView]


def add_routes(api: Api, leads: Leads) -> None:
    """Adds the routes of follow-ups."""

    @api.route("POST", "/v1/leads/{lead_id}/follow-ups", FollowUpCreated, status=201, tag="follow-ups", extra=KEYED)
    async def add_follow_up(call: Call, lead_id: str, body: FollowUp) -> Answer:
        """Records what was said and what comes next (9, 10)."""
        request = leads_pb2.AddFollowUpRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            lead_id=lead_id,
            goal=body.goal or "",
            customer_words=body.customer_words or "",
            our_response=body.our_response or "",
            next_action=body.next_action or "",
            next_action_due=stamp_of(body.next_action_due),
            blocker=body.blocker or "",
            objection=body.objection or "",
            pain_tags=body.pain_tags,
            stage=body.stage or "",
        )
        reply = await leads.channel.unary(leads.leads.AddFollowUp, request, retryable=bool(request.idempotency.key))
        created: FollowUpCreated = {"id": reply.id}
        return answer(created, status=201, replayed=reply.replayed)

    @api.route("POST", "/v1/leads/{lead_id}/quick-follow-ups", FollowUpView, status=201, tag="follow-ups", extra=KEYED)
    async def add_quick_follow_up(call: Call, lead_id: str, body: QuickFollowUp) -> Answer:
        """Records a follow-up by an action code and one keyword (60)."""
        request = pb.AddQuickFollowUpRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            lead_id=lead_id,
            code=body.code,
            keyword=body.keyword,
        )
        reply = await leads.channel.unary(
            leads.follow_ups.AddQuickFollowUp, request, retryable=bool(request.idempotency.key)
        )
        return answer(_follow_up_view(reply.follow_up), status=201, replayed=reply.replayed)

    @api.route("GET", "/v1/leads/{lead_id}/follow-ups", FollowUpPage, tag="follow-ups")
    async def list_lead_follow_ups(call: Call, lead_id: str, query: Annotated[PageQuery, Query()]) -> Answer:
        """A page of a lead's follow-ups, newest first."""
        return await _page(
            leads,
            pb.ListFollowUpsRequest(
                actor=actor_to(call.actor), lead_id=lead_id, limit=query.limit, cursor=query.cursor
            ),
        )

    @api.route("GET", "/v1/customers/{customer_id}/follow-ups", FollowUpPage, tag="follow-ups")
    async def list_customer_follow_ups(call: Call, customer_id: str, query: Annotated[PageQuery, Query()]) -> Answer:
        """A page of a customer's follow-ups, newest first; of the leads the caller may see."""
        return await _page(
            leads,
            pb.ListFollowUpsRequest(
                actor=actor_to(call.actor), customer_id=customer_id, limit=query.limit, cursor=query.cursor
            ),
        )

    @api.route("GET", "/v1/follow-ups/quality", QualityReport, tag="follow-ups")
    async def get_follow_up_quality(call: Call, query: Annotated[PeriodQuery, Query()]) -> Answer:
        """How many records name a next action and when it is due (44), and which words commit to nothing (13)."""
        request = pb.GetFollowUpQualityRequest(
            actor=actor_to(call.actor), since=stamp_of(query.since), until=stamp_of(query.until)
        )
        reply = await leads.channel.unary(leads.follow_ups.GetFollowUpQuality, request, retryable=True)
        report: QualityReport = {
            "all": _quality_view(reply.all),
            "people": [_quality_view(each) for each in reply.people],
            "teams": [_quality_view(each) for each in reply.teams],
        }
        return answer(report)

    @api.route("GET", "/v1/follow-ups/playbook", PlaybookView, tag="follow-ups")
    async def get_playbook(call: Call) -> Answer:
        """What follow-ups are held to, and the action codes."""
        request = pb.GetPlaybookRequest(actor=actor_to(call.actor))
        reply = await leads.channel.unary(leads.follow_ups.GetPlaybook, request, retryable=True)
        return answer(_playbook_view(reply.playbook))

    @api.route("PUT", "/v1/follow-ups/playbook", PlaybookView, tag="follow-ups")
    async def put_playbook(call: Call, body: NewPlaybook) -> Answer:
        """Validates a playbook and puts it in force as a new version."""
        request = pb.PutPlaybookRequest(
            actor=actor_to(call.actor), document=struct_of(body.document), expected_version=body.expected_version
        )
        reply = await leads.channel.unary(leads.follow_ups.PutPlaybook, request)
        return answer(_playbook_view(reply.playbook))


async def _page(leads: Leads, request: pb.ListFollowUpsRequest) -> Answer:
    reply = await leads.channel.unary(leads.follow_ups.ListFollowUps, request, retryable=True)
    page: FollowUpPage = {
        "items": [_follow_up_view(each) for each in reply.follow_ups],
        "next_cursor": reply.next_cursor or None,
    }
    return answer(page)


def _follow_up_view(kept: pb.FollowUp) -> FollowUpView:
    return {
        "id": kept.id,
        "lead_id": kept.lead_id,
        "customer_id": kept.customer_id,
        "author_id": kept.author_id,
        "author_name": kept.author_name,
        "goal": kept.goal,
        "customer_words": kept.customer_words,
        "our_response": kept.our_response or None,
        "next_action": kept.next_action,
        "next_action_due": rfc3339(kept.next_action_due),
        "blocker": kept.blocker or None,
        "objection": kept.objection,
        "pain_tags": list(kept.pain_tags),
        "source": kept.source or None,
        "first_touch_at": rfc3339(kept.first_touch_at),
        "stage": kept.stage or None,
        "action_code": kept.action_code or None,
        "created_at": rfc3339(kept.created_at),
    }


def _quality_view(quality: pb.FollowUpQuality) -> QualityView:
    return {
        "id": quality.id or None,
        "name": quality.name or None,
        "team_id": quality.team_id or None,
        "records": quality.records,
        "with_next_action_and_due": quality.with_next_action_and_due,
        "share": quality.share,
        "due": quality.due,
        "done_in_time": quality.done_in_time,
        "vague": quality.vague,
        "vague_words": [{"word": each.word, "records": each.records} for each in quality.vague_words],
    }


def _playbook_view(playbook: pb.PlaybookVersion) -> PlaybookView:
    return {
        "version": playbook.version,
        "document": document_of(playbook.document),
        "author": playbook.author,
        "created_at": rfc3339(playbook.created_at),
    }
