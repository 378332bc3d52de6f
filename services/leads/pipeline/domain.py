"""Activities, opportunities and invoices as they come from another system. Pure.

`external_id` is the record's id there ("zoho:call:5000309"; empty: it has none): the same id is the same record. `refs`
are ids of the records it belongs to, in the order they are to be believed: the first that is known names the customer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias, TypeVar


@dataclass(frozen=True, slots=True)
class Activity:
    """A call, a visit, a mail."""

    external_id: str
    refs: tuple[str, ...]
    kind: str
    occurred_at: datetime
    subject: str = ""
    direction: str = ""
    purpose: str = ""
    owner_id: str = ""
    duration_s: int = 0


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A possible deal; its stage is a word of its own system."""

    external_id: str
    refs: tuple[str, ...]
    stage: str
    occurred_at: datetime
    name: str = ""
    amount: Decimal | None = None
    expected_revenue: Decimal | None = None
    probability: int | None = None
    """0 to 100."""
    kind: str = ""
    owner_id: str = ""
    closing_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice; without an amount while the source has none."""

    external_id: str
    refs: tuple[str, ...]
    status: str
    occurred_at: datetime
    number: str = ""
    subject: str = ""
    amount: Decimal | None = None
    owner_id: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of some records."""

    created: int = 0
    merged: int = 0
    unlinked: int = 0
    """Of both, those whose customer is not known yet."""
    outcomes: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """What became of each record, in their order, and the id of what it is now."""


PipelineRecord: TypeAlias = Activity | Opportunity | Invoice
R = TypeVar("R", bound=PipelineRecord)


def last_of_each(records: Sequence[R]) -> list[R]:
    """The records without those that a later one with the same external id replaces."""
    last = {record.external_id or str(index): record for index, record in enumerate(records)}
    return list(last.values())
