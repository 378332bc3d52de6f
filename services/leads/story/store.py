"""A customer's story in PostgreSQL: every table that knows something of it, merged by time in one statement.

First the keys of the page alone, each source giving at most a page of its own by its index; then what the chosen ones say.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from breakwater.chassis.database import Database, Reader
from services.leads.followups.reads import sees_customer
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.story.domain import Entry, Order, Place


@dataclass(frozen=True, slots=True)
class _Source:
    """One kind of entry: where it is found, and what it says."""

    kind: str
    table: str
    """With what it is joined to; `mine` are the leads of the customer that may be seen."""
    at: str
    condition: str
    """$1 is the customer, $2 whether all of it may be seen."""
    detail: str
    """Of the row `x` with the entry's id, as jsonb; lead_id and actor_id stand in it too."""
    id: str = "x.id"
    seen: str = "x.id < $6::uuid"
    """Whether the first page could see it: $5 is when it was asked for, $6 an id made then."""
    found: str = "x.id = page.id"


_OF_MINE = "x.lead_id IN (SELECT id FROM mine)"
_WHOLE = "x.customer_id = $1 AND $2"
_PAUSE_ID = "md5('{kind}' || x.lead_id || x.paused_at)::uuid"

SOURCES = (
    _Source(
        "lead_captured", "leads AS x", "x.captured_at", "x.id IN (SELECT id FROM mine)",
        "'lead_id', x.id, 'name', x.name, 'company', x.company, 'source', x.source, 'need', x.need",
    ),
    _Source(
        "assigned", "assignments AS x", "x.decided_at", _OF_MINE,
        "'lead_id', x.lead_id, 'actor_id', x.owner_id, 'rule_id', x.rule_id, 'rule_version', x.rule_version,"
        "'priority', x.priority, 'reason', x.reason",
    ),
    *(
        _Source(
            kind, "lead_steps AS x", "x.at", f"{_OF_MINE} AND x.kind = '{kind}'",
            "'lead_id', x.lead_id, 'actor_id', x.actor_id, 'from_stage', x.from_stage, 'to_stage', x.to_stage,"
            "'reason', x.reason",
        )
        for kind in ("claimed", "stage_changed", "overdue")
    ),
    _Source(
        "follow_up", "follow_ups AS x", "x.created_at", f"x.customer_id = $1 AND ($2 OR {_OF_MINE})",
        "'lead_id', x.lead_id, 'actor_id', x.author_id, 'goal', x.goal, 'customer_words', x.customer_words,"
        "'our_response', x.our_response, 'next_action', x.next_action, 'next_action_due', x.next_action_due,"
        "'blocker', x.blocker, 'objection', x.objection, 'pain_tags', array_to_string(x.pain_tags, '、'),"
        "'stage', x.stage, 'action_code', x.action_code",
    ),
    _Source(
        "transcript", "activities AS x JOIN transcripts AS t ON t.activity_id = x.id", "x.occurred_at",
        "x.customer_id = $1 AND ($2 OR t.lead_id IN (SELECT id FROM mine))",
        "'lead_id', t.lead_id, 'actor_id', x.owner_id, 'kind', x.kind, 'subject', x.subject, 'tags',"
        "(SELECT string_agg(tag->>1, '、') FROM jsonb_array_elements(t.tags) AS tag)",
    ),
    _Source(
        "activity", "activities AS x", "x.occurred_at",
        f"{_WHOLE} AND NOT EXISTS (SELECT FROM transcripts AS t WHERE t.activity_id = x.id)",
        "'actor_id', x.owner_id, 'kind', x.kind, 'subject', x.subject, 'direction', x.direction, 'purpose', x.purpose,"
        "'duration_s', nullif(x.duration_s, 0)",
    ),
    _Source(
        "opportunity", "opportunities AS x", "x.occurred_at", _WHOLE,
        "'actor_id', x.owner_id, 'name', x.name, 'stage', x.stage, 'amount', x.amount::text, 'probability', x.probability,"
        "'closing_at', x.closing_at",
    ),
    _Source(
        "invoice", "invoices AS x", "x.occurred_at", _WHOLE,
        "'actor_id', x.owner_id, 'number', x.number, 'subject', x.subject, 'status', x.status, 'amount', x.amount::text",
    ),
    *(
        _Source(
            kind, "sla_pauses AS x", f"x.{kind}_at", f"{_OF_MINE} AND x.{kind}_at IS NOT NULL",
            f"'lead_id', x.lead_id, 'actor_id', x.{kind}_by, 'reason', x.reason",
            id=_PAUSE_ID.format(kind=kind),
            seen=f"x.{kind}_at <= $5",
            found=f"x.lead_id IN (SELECT id FROM mine) AND {_PAUSE_ID.format(kind=kind)} = page.id",  # noqa: S608 - names of ours
        )
        for kind in ("paused", "resumed")
    ),
)  # fmt: skip
"""In no order: entries are told apart by time and id."""


def _statement(order: Order) -> str:
    beyond, direction = (">", "ASC") if order is Order.OLDEST else ("<", "DESC")
    keys = " UNION ALL ".join(
        f"""(
        SELECT {each.at} AS at, {each.id} AS id, '{each.kind}' AS kind FROM {each.table}
        WHERE {each.condition} AND {each.seen} AND {each.at} {beyond}= $3 AND ({each.at}, {each.id}) {beyond} ($3, $4::uuid)
        ORDER BY 1 {direction}, 2 {direction} LIMIT $7
        )"""  # noqa: S608 - names of ours
        for each in SOURCES
    )
    details = " ".join(
        f"WHEN '{each.kind}' THEN (SELECT jsonb_build_object({each.detail}) FROM {each.table} WHERE {each.found})"  # noqa: S608 - names of ours
        for each in SOURCES
    )
    return f"""
    WITH mine AS MATERIALIZED (
        SELECT id FROM leads WHERE customer_id = $1 AND ($2 OR owner_id = ANY($8::text[]))
    ), page AS MATERIALIZED (
        SELECT * FROM ({keys}) AS keys ORDER BY at {direction}, id {direction} LIMIT $7
    )
    SELECT at, id::text, kind, CASE kind {details} END AS detail FROM page ORDER BY at {direction}, page.id {direction}
    """  # noqa: S608 - names of ours


_STATEMENTS = {order: _statement(order) for order in Order}


class PostgresStoryReader:
    """The `StoryReader` of one connection."""

    def __init__(self, reader: Reader, snapshots: Snapshots) -> None:
        self._reader = reader
        self._snapshots = snapshots

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresStoryReader"]:
        async with database.read() as reader:
            yield cls(reader, snapshots)

    async def snapshot(self) -> Snapshot:
        return await self._snapshots.current(self._reader)

    async def sees_customer(self, customer_id: str, owners: Sequence[str] | None) -> bool | None:
        return await sees_customer(self._reader, customer_id, owners)

    async def page(self, customer_id: str, owners: Sequence[str] | None, place: Place, limit: int) -> list[Entry]:
        rows = await self._reader.fetch(
            _STATEMENTS[place.order],
            customer_id,
            owners is None,
            place.at,
            place.id,
            place.seen_at,
            place.seen_id,
            limit,
            owners or [],
        )
        return [_entry(row["at"], row["kind"], row["id"], orjson.loads(row["detail"])) for row in rows]


def _entry(at: object, kind: str, entry_id: str, detail: dict[str, object]) -> Entry:
    lead_id, actor_id = detail.pop("lead_id", None), detail.pop("actor_id", None)
    known = {name: str(value) for name, value in detail.items() if value not in {None, ""}}
    return Entry(at, kind, entry_id, str(lead_id or ""), str(actor_id or ""), known)  # type: ignore[arg-type]  # asyncpg's rows are untyped
