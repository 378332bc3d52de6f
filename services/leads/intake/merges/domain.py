"""What a merge changes, and whether it can still be undone. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from breakwater.chassis.errors import FieldError, InvalidRequestError

FIELDS = ("name", "company", "phone", "email")
REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two customers; its row is locked until the transaction ends."""

    id: str
    fields: Mapping[str, str]
    owner_id: str | None
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class OwnedLead:
    """A lead of one of the two; its row is locked until the transaction ends."""

    id: str
    customer_id: str
    owner_id: str | None
    is_open: bool
    sequence: int
    row: Mapping[str, Any]
    """The whole row."""
    timer: Mapping[str, Any] | None
    """The whole row of its first-touch timer."""


@dataclass(frozen=True, slots=True)
class Moved:
    """All that a merge moved, as it was before."""

    fields: Mapping[str, tuple[str | None, str | None]]
    """Of the kept customer, `owner_id` among them: before and after."""
    keys: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    """Ids by table."""
    leads: tuple[OwnedLead, ...] = ()
    """Open leads that changed hands."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Two customers that were made one."""

    id: str
    kept_id: str
    merged_id: str
    by: str
    reason: str
    at: datetime
    moved: Moved
    undone_by: str = ""
    undone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Present:
    """What undoing looks at: everything a merge moved, as it is now."""

    kept: Side
    merged: Side
    keys: Mapping[str, str]
    """Who has each of the moved keys."""
    rows: Mapping[str, Collection[str]]
    """Which of the moved rows are still the kept customer's."""
    leads: Mapping[str, OwnedLead]
    """Those that changed hands."""
    worked_on: Collection[str]
    """Ids of those that were claimed or followed up by whom they were given to."""
    later_merges: tuple[str, ...]
    """Of the kept customer, not undone."""
    later_leads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Leads that came to the kept customer since, with the keys they came by."""


def changes_of(
    kept: Side, merged: Side, take: Collection[str], may_own: Callable[[str | None], bool]
) -> dict[str, tuple[str | None, str | None]]:
    """What the kept customer's fields become: its blanks are filled, and `take` names those the merged one knows better.

    The owner stays, unless it may own no leads (any more) and the merged one's may. Raises InvalidRequestError for a name
    of no field, and for a blank that would be taken.
    """
    errors = [
        FieldError(f"take.{name[:60]}", f"is not one of {', '.join(FIELDS)}") for name in take if name not in FIELDS
    ]
    errors += [
        FieldError(f"take.{name}", "is blank there") for name in take if name in FIELDS and not merged.fields[name]
    ]
    if errors:
        raise InvalidRequestError("The merge names fields that cannot be taken.", errors=errors)
    changes: dict[str, tuple[str | None, str | None]] = {}
    for name in FIELDS:
        before, other = kept.fields[name], merged.fields[name]
        if other and other != before and (not before or name in take):
            changes[name] = (before, other)
    if not may_own(kept.owner_id) and may_own(merged.owner_id):
        changes["owner_id"] = (kept.owner_id, merged.owner_id)
    return changes


def against_undoing(merge: Merge, present: Present) -> list[FieldError]:
    """Everything that has changed since and would be lost or torn apart; empty when the merge can be undone exactly."""
    moved, kept = merge.moved, present.kept
    found = [FieldError("merges", f"{later} came later and has to be undone first") for later in present.later_merges]
    if kept.merged_into is not None:
        found.append(FieldError("merges", f"the customer was itself merged into {kept.merged_into}"))
    for name, (_, after) in moved.fields.items():
        now = kept.owner_id if name == "owner_id" else kept.fields[name]
        if now != after:
            found.append(FieldError(f"customer.{name}", "was changed later"))
    found += [
        FieldError(f"keys.{key[:80]}", "belongs to another customer by now")
        for key in moved.keys
        if present.keys.get(key) != merge.kept_id
    ]
    for table, ids in moved.rows.items():
        found += [
            FieldError(f"{table}.{each}", "belongs to another customer by now")
            for each in ids
            if each not in present.rows[table]
        ]
    for before in moved.leads:
        now_lead = present.leads.get(before.id)
        stays = now_lead is not None and now_lead.owner_id == kept.owner_id and now_lead.is_open
        if not stays or before.id in present.worked_on:
            found.append(FieldError(f"leads.{before.id}", "was worked on or given to somebody else later"))
    found += [
        FieldError(f"leads.{lead_id}", f"came later by {keys[0]}, which would go back")
        for lead_id, keys in present.later_leads.items()
        if (set(keys) & set(moved.keys))
    ]
    return found
