"""One customer's whole story: what kinds of entries it has, where a page goes on, and each entry in one sentence (15). Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.followups.domain import utc
from services.leads.intake.domain import is_id

PAGE_DEFAULT, PAGE_MAX = 200, 1_000
"""Entries of a page: most customers' stories are one."""


class Order(StrEnum):
    """By time."""

    OLDEST = "oldest"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    at: datetime
    kind: str
    id: str
    lead_id: str
    """Empty: of the customer as a whole."""
    actor_id: str
    """Who did it, or whom it was done to; empty: nobody in particular."""
    detail: Mapping[str, str]
    """By kind; what is not known is left out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page goes on, and what the first page had seen: what was recorded since is not of this story."""

    order: Order
    at: datetime
    id: str
    seen_at: datetime
    seen_id: str
    """Made when the first page was asked for: ids of what was there are smaller."""

    @classmethod
    def of(cls, text: str) -> "Place":
        """Raises InvalidRequestError for one we did not give."""
        order, *rest = text.split(" ")
        try:
            at, entry_id, seen_at, seen_id = rest
            place = cls(Order(order), utc(at), entry_id, utc(seen_at), seen_id)
        except (ValueError, OverflowError):
            place = None
        if place is None or not (is_id(place.id) and is_id(place.seen_id)):
            raise InvalidRequestError(
                "The cursor is not one we gave.", errors=[FieldError("cursor", "is not one we gave")]
            )
        return place

    @classmethod
    def start(cls, order: Order, now: datetime, newest_id: str) -> "Place":
        """Before everything."""
        if order is Order.OLDEST:
            return cls(order, datetime(1, 1, 2, tzinfo=UTC), "00000000-0000-0000-0000-000000000000", now, newest_id)
        return cls(order, datetime(9999, 1, 1, tzinfo=UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff", now, newest_id)

    def after(self, entry: Entry) -> "Place":
        return Place(self.order, entry.at, entry.id, self.seen_at, self.seen_id)

    def __str__(self) -> str:
        return f"{self.order} {self.at.isoformat()} {self.id} {self.seen_at.isoformat()} {self.seen_id}"


_SENTENCES: Mapping[str, str] = {
    "lead_captured": "线索进入：{name}（{source}）",
    "assigned": "分配给{actor}：{reason}",
    "claimed": "{actor}领取线索",
    "stage_changed": "阶段 {from_stage} → {to_stage}：{reason}",
    "overdue": "{actor}{reason}",
    "paused": "{actor}暂停计时：{reason}",
    "resumed": "{actor}恢复计时",
    "follow_up": "{actor}跟进：{goal}；客户：{customer_words}；下一步：{next_action}",
    "transcript": "{actor}记录{kind}：{subject}（{tags}）",
    "activity": "{kind}：{subject}",
    "opportunity": "商机 {name}：{stage}，金额 {amount}",
    "invoice": "发票 {number}：{status}，金额 {amount}",
    "field_changed": "{actor}修改 {field}：{before} → {after}",
    "merged": "{actor}合并重复客户：{reason}",
    "merge_undone": "{actor}撤销合并",
}


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "—"


def sentence(entry: Entry, name_of: Callable[[str], str]) -> str:
    """The entry as people read it; `name_of` tells a person's name."""
    actor = name_of(entry.actor_id) if entry.actor_id else "系统"
    return _SENTENCES[entry.kind].format_map(_Known(entry.detail, actor=actor))
