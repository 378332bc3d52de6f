"""What a follow-up must say, and how a lead may move.

Pure. Rules: five columns, three mandatory, no free 备注 (9); the objection is a choice (10); pain tags (12, 99: at most
three); a refusal names the fields (100); a next action has a due date (44).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from breakwater.chassis.errors import ConflictError, FieldError, InvalidRequestError
from services.leads.intake.domain import OPEN_STAGES, Stage, clean

OBJECTIONS = ("无", "价格", "交付周期", "定制能力", "预算不足", "决策流程", "竞品", "其他")
"""What keeps the customer from buying; one must be chosen, 无 when nothing does (10)."""

TITLES: Mapping[str, str] = {
    "goal": "本次目标",
    "customer_words": "客户原话",
    "our_response": "我方回应",
    "next_action": "下一步动作",
    "blocker": "阻塞原因",
    "objection": "异议",
}
MANDATORY = ("goal", "customer_words", "next_action", "objection")
COLUMN_CHARS_MAX = 2_000
PAIN_TAGS_MAX = 3
PAIN_TAG_CHARS_MAX = 30
REASON_CHARS_MAX = 500

_ENDS_WITH_REASON = frozenset({Stage.LOST, Stage.CLOSED})


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One contact with a customer, in the five columns of 9."""

    goal: str
    customer_words: str
    next_action: str
    next_action_due: datetime | None
    objection: str
    our_response: str = ""
    blocker: str = ""
    pain_tags: tuple[str, ...] = ()


def check_follow_up(record: FollowUp, now: datetime) -> FollowUp:
    """The record in its stored form; raises InvalidRequestError naming every field that is missing or wrong."""
    errors: list[FieldError] = []
    texts = {name: clean(getattr(record, name)) for name in TITLES}
    for name, text in texts.items():
        if not text and name in MANDATORY:
            errors.append(FieldError(name, f"is mandatory（{TITLES[name]}）"))
        if len(text) > COLUMN_CHARS_MAX:
            errors.append(FieldError(name, f"is longer than {COLUMN_CHARS_MAX} characters"))
    if texts["objection"] and texts["objection"] not in OBJECTIONS:
        errors.append(FieldError("objection", f"is none of {'、'.join(OBJECTIONS)}"))
    if record.next_action_due is None:
        errors.append(FieldError("next_action_due", "is mandatory（下一步时间）"))
    elif record.next_action_due <= now:
        errors.append(FieldError("next_action_due", "is not in the future"))
    pain_tags = tuple(dict.fromkeys(tag for tag in map(clean, record.pain_tags) if tag))
    if len(pain_tags) > PAIN_TAGS_MAX:
        errors.append(FieldError("pain_tags", f"has more than {PAIN_TAGS_MAX} tags"))
    if any(len(tag) > PAIN_TAG_CHARS_MAX for tag in pain_tags):
        errors.append(FieldError("pain_tags", f"has a tag longer than {PAIN_TAG_CHARS_MAX} characters"))
    if errors:
        raise InvalidRequestError("The follow-up is not complete.", errors=errors)
    return replace(record, **texts, pain_tags=pain_tags)  # type: ignore[arg-type]  # texts holds text fields only


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
