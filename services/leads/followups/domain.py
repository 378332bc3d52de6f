"""What a follow-up must say, how a lead may move, and how it stands.

Pure. Rules: five columns, three of them mandatory, no free 备注 (9); the objection is a choice (10); source, first touch,
pain tags, stage and the next time are mandatory (12, 99); a refusal names the fields (100); a next action has a due date
(44); status is derived, never typed in (104).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from breakwater.chassis.errors import ConflictError, FieldError, InvalidRequestError
from services.leads.intake.domain import OPEN_STAGES, Stage, clean

COLUMNS: Mapping[str, str] = {
    "goal": "本次目标",
    "customer_words": "客户原话",
    "our_response": "我方回应",
    "next_action": "下一步动作",
    "blocker": "阻塞原因",
}
COLUMN_CHARS_MAX = 2_000
PAIN_TAG_CHARS_MAX = 30
REASON_CHARS_MAX = 500

NO_PAIN = "无"
"""The pain tag that says there is none: an answer, where a blank is none. It stays out of the customer's profile."""

FORWARD = (Stage.NEW, Stage.CONTACTED, Stage.QUALIFIED)
"""Open stages in the order a lead goes through them."""

_ENDS_WITH_REASON = frozenset({Stage.LOST, Stage.CLOSED})


@dataclass(frozen=True, slots=True)
class Standards:
    """What an organisation asks of every follow-up."""

    mandatory_columns: frozenset[str] = frozenset({"goal", "customer_words", "next_action"})
    objections: tuple[str, ...] = ("无", "价格", "交付周期", "定制能力", "预算不足", "决策流程", "竞品", "其他")
    """What keeps the customer from buying; one must be chosen (10)."""
    pain_tags_max: int = 3


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One contact with a customer."""

    goal: str
    customer_words: str
    next_action: str
    next_action_due: datetime | None
    objection: str
    our_response: str = ""
    blocker: str = ""
    pain_tags: tuple[str, ...] = ()
    stage: str = ""
    """The lead's stage after it; empty in a request: it stays."""
    source: str = ""
    first_touch_at: datetime | None = None
    """Both are the lead's: nobody types them."""
    action_code: str = ""


@dataclass(frozen=True, slots=True)
class LeadFacts:
    """What a follow-up takes from its lead."""

    stage: Stage
    source: str
    first_touch_at: datetime
    """When somebody first followed it up; now, if this is the first time."""


def check_follow_up(record: FollowUp, standards: Standards, lead: LeadFacts, now: datetime) -> FollowUp:
    """The record in its stored form; raises InvalidRequestError naming every field that is missing or wrong."""
    texts = {name: clean(getattr(record, name)) for name in COLUMNS}
    objection = clean(record.objection)
    pain_tags = tuple(dict.fromkeys(tag for tag in map(clean, record.pain_tags) if tag))
    stage = clean(record.stage) or lead.stage
    errors = [
        *_column_errors(texts, standards.mandatory_columns),
        *_objection_errors(objection, standards.objections),
        *_due_errors(record.next_action_due, now),
        *_pain_tag_errors(pain_tags, standards.pain_tags_max),
        *_stage_errors(stage, lead.stage),
    ]
    if not lead.source:
        errors.append(FieldError("source", "is mandatory（来源）: the lead has none"))
    if errors:
        raise InvalidRequestError("The follow-up is not complete.", code="incomplete_follow_up", errors=errors)
    return replace(
        record,
        **texts,  # type: ignore[arg-type]  # texts holds text fields only
        objection=objection,
        pain_tags=pain_tags,
        stage=stage,
        source=lead.source,
        first_touch_at=lead.first_touch_at,
    )


def _column_errors(texts: Mapping[str, str], mandatory: Collection[str]) -> Iterator[FieldError]:
    for name, text in texts.items():
        if not text and name in mandatory:
            yield FieldError(name, f"is mandatory（{COLUMNS[name]}）")
        if len(text) > COLUMN_CHARS_MAX:
            yield FieldError(name, f"is longer than {COLUMN_CHARS_MAX} characters")


def _objection_errors(objection: str, choices: Collection[str]) -> Iterator[FieldError]:
    if not objection:
        yield FieldError("objection", "is mandatory（异议）")
    elif objection not in choices:
        yield FieldError("objection", f"is none of {'、'.join(choices)}")


def _due_errors(due: datetime | None, now: datetime) -> Iterator[FieldError]:
    if due is None:
        yield FieldError("next_action_due", "is mandatory（下次跟进时间）")
    elif due <= now:
        yield FieldError("next_action_due", "is not in the future")


def _stage_errors(stage: str, present: Stage) -> Iterator[FieldError]:
    if stage not in set(Stage):
        yield FieldError("stage", f"is none of {', '.join(Stage)}（阶段）")
    elif Stage(stage) in _ENDS_WITH_REASON and stage != present:
        yield FieldError("stage", f"{stage} needs a reason: change the stage by itself")


def _pain_tag_errors(pain_tags: tuple[str, ...], most: int) -> Iterator[FieldError]:
    if not pain_tags:
        yield FieldError("pain_tags", f"is mandatory（痛点标签）: one to {most}, {NO_PAIN} when nothing hurts")
    if len(pain_tags) > most:
        yield FieldError("pain_tags", f"has more than {most} tags")
    if NO_PAIN in pain_tags and len(pain_tags) > 1:
        yield FieldError("pain_tags", f"{NO_PAIN} stands alone")
    if any(len(tag) > PAIN_TAG_CHARS_MAX for tag in pain_tags):
        yield FieldError("pain_tags", f"has a tag longer than {PAIN_TAG_CHARS_MAX} characters")


def further(present: Stage, wanted: Stage | None) -> Stage | None:
    """The stage a lead is moved on to; None when it is there, further, or at an end."""
    if wanted is None or present not in OPEN_STAGES or FORWARD.index(wanted) <= FORWARD.index(present):
        return None
    return wanted


def check_move(present: Stage, wanted: str, reason: str) -> Stage:
    """The stage a lead moves to. Raises InvalidRequestError naming the field, ConflictError for no such move."""
    errors: list[FieldError] = []
    if wanted not in set(Stage):
        errors.append(FieldError("stage", f"is none of {', '.join(Stage)}"))
    elif Stage(wanted) in _ENDS_WITH_REASON and not reason.strip():
        errors.append(FieldError("reason", f"is mandatory for {wanted}"))
    if len(reason) > REASON_CHARS_MAX:
        errors.append(FieldError("reason", f"is longer than {REASON_CHARS_MAX} characters"))
    if errors:
        raise InvalidRequestError("The stage cannot be changed like this.", errors=errors)
    stage = Stage(wanted)
    if present not in OPEN_STAGES:
        raise ConflictError(f"The lead is {present} and stays so.")
    if stage is Stage.NEW and present is not Stage.NEW:
        raise ConflictError("A lead that was worked on is not new again.")
    return stage


def utc(text: str) -> datetime:
    """The moment of a cursor; raises ValueError for none, or one without a zone, OverflowError for one UTC has no date for."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment has a zone")
    return moment.astimezone(UTC)


class LiveState(StrEnum):
    """How a lead stands (104)."""

    UNASSIGNED = "unassigned"
    UNCLAIMED = "unclaimed"
    WORKING = "working"
    OVERDUE = "overdue"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class LastFollowUp:
    """The newest follow-up of a lead."""

    at: datetime
    author_id: str
    next_action: str
    next_action_due: datetime


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """How a lead stands at one moment."""

    state: LiveState
    due_at: datetime | None
    """Of the claim, or of the next action: what is late, or comes next."""
    last: LastFollowUp | None

    @property
    def overdue(self) -> bool:
        return self.state is LiveState.OVERDUE


def live_status(
    stage: Stage,
    owner_id: str | None,
    claim_by: datetime | None,
    claimed_at: datetime | None,
    last: LastFollowUp | None,
    now: datetime,
) -> LiveStatus:
    """The status, of what was done alone (104)."""
    if stage not in OPEN_STAGES:
        return LiveStatus(LiveState.ENDED, None, last)
    if owner_id is None:
        return LiveStatus(LiveState.UNASSIGNED, None, last)
    # Whoever got the lead from somebody else has a claim to make, whatever their predecessor had planned.
    unclaimed = claimed_at is None and claim_by is not None
    due_at = claim_by if unclaimed else last.next_action_due if last else None
    if due_at is not None and due_at <= now:
        return LiveStatus(LiveState.OVERDUE, due_at, last)
    return LiveStatus(LiveState.UNCLAIMED if unclaimed else LiveState.WORKING, due_at, last)
