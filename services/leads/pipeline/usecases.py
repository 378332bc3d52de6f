"""Records of other systems find their customer, at once or as soon as the customer is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.leads.pipeline.domain import Activity, Invoice, Opportunity, PipelineRecord, R, Recorded, last_of_each

LINK_ROWS_MAX = 500
"""Waiting records looked at in one transaction."""

_KINDS: tuple[type[PipelineRecord], ...] = (Activity, Opportunity, Invoice)


class PipelineStore(Protocol):
    """What this capability needs of one open transaction; `pipeline.store.PipelineSql` is it."""

    async def customers_of(self, refs: Sequence[str]) -> Mapping[str, str]:
        """Customer ids by the refs that are known."""
        ...

    async def save(self, records: Sequence[PipelineRecord], customers: Sequence[str | None], import_id: str) -> int:
        """Inserts or updates records of one kind by external id; returns how many were new.

        `customers` are the ids of their customers. Each record that is new or differs and has one gets its event.
        """
        ...

    async def link(self, kind: type[PipelineRecord], after_id: str, rows_max: int) -> str:
        """Links waiting records behind `after_id` whose customer is known by now, with their events.

        Returns the id to go on after, empty when there are no more.
        """
        ...


async def record(store: PipelineStore, records: Sequence[R], import_id: str) -> Recorded:
    """Keeps records of one kind in the transaction `store` stands on; three statements in all. The caller commits."""
    known = await store.customers_of(sorted({ref for item in records for ref in item.refs}))
    kept = last_of_each(records)
    customers = [next((known[ref] for ref in item.refs if ref in known), None) for item in kept]
    created = await store.save(kept, customers, import_id)
    linked = [any(ref in known for ref in item.refs) for item in records]
    outcomes = tuple(
        ("recorded" if found else "unlinked", item.external_id) for item, found in zip(records, linked, strict=True)
    )
    return Recorded(created, len(records) - created, len(records) - sum(linked), outcomes)


@dataclass(frozen=True, slots=True)
class LinkPlace:
    """How far `link_waiting` is: the kind of record, and the id it goes on after."""

    kind: type[PipelineRecord] = _KINDS[0]
    after_id: str = ""


async def link_waiting(store: PipelineStore, place: LinkPlace) -> LinkPlace | None:
    """Links one portion of waiting records; returns where to go on, None at the end. Doing it twice changes nothing."""
    after_id = await store.link(place.kind, place.after_id, LINK_ROWS_MAX)
    if after_id:
        return LinkPlace(place.kind, after_id)
    following = _KINDS.index(place.kind) + 1
    return LinkPlace(_KINDS[following]) if following < len(_KINDS) else None
