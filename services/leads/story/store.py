"""A customer's story in PostgreSQL: every table that knows something of it, merged by time in one statement.

First the keys of the page alone, each source giving at most a page of its own by its index; then what the chosen ones say.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import orjson

from breakwater.chassis.database import Database, Reader
from services.leads.followups.reading import Sight
from services.leads.followups.reads import sight_of
from services.leads.routing.snapshot import Snapshot
from services.leads.routing.store import Snapshots
from services.leads.story.domain import Entry, Order, Place


@dataclass(frozen=True, slots=True)
class _Source:
    """A table: where its keys are found, and what a row of it says."""

    kind: str
    """An expression: the kind of entry, or what `kinds` are told apart by."""
    table: str
    at: str
    condition: str
    """$1 is the customer, $2 whether all of it may be seen; `mine` are its leads that may be."""
    detail: str
    """Of the row with the entry's id, as jsonb; lead_id and actor_id stand in it too."""
    kinds: tuple[str, ...] = ()
    """Those that `kind` may be, where it is a column."""
    joined: str = ""
    """With what the row is read whole."""
    id: str = "x.id"
    seen: str = "x.id < $6::uuid"
    """Whether the first page could see it: $5 is when it was asked for, $6 an id made then."""
    found: str = "x.id = page.id"

    def keys(self, beyond: str, direction: str) -> str:
        return f"""(
        SELECT {self.at} AS at, {self.id} AS id, {self.kind} AS kind FROM {self.table} AS x
        WHERE {self.condition} AND {self.seen} AND {self.at} {beyond}= $3 AND ({self.at}, {self.id}) {beyond} ($3, $4::uuid)
        ORDER BY 1 {direction}, 2 {direction} LIMIT $7
        )"""  # noqa: S608 - names of ours

    def details(self) -> str:
        kinds = ", ".join(f"'{kind}'" for kind in self.kinds) or self.kind
        row = f"SELECT jsonb_build_object({self.detail}) FROM {self.table} AS x {self.joined} WHERE {self.found}"  # noqa: S608 - names of ours
        return f"WHEN kind IN ({kinds}) THEN ({row})"


_OF_MINE = "x.lead_id IN (SELECT id FROM mine)"
_WHOLE = "x.customer_id = $1 AND $2"
# Told by entries of their own, or by none: bookkeeping.
_TOLD_ELSEWHERE = "('stage', 'owner_id', 'claimed_at', 'priority', 'customer_id', 'merged_into')"
_UNDONE_ID = "md5('undone' || x.id)::uuid"
_PAUSE_ID = "md5('{kind}' || x.lead_id || x.paused_at)::uuid"

SOURCES = (
    _Source(
        "'lead_captured'", "leads", "x.captured_at", "x.customer_id = $1 AND ($2 OR x.owner_id = ANY($8::text[]))",
        "'lead_id', x.id, 'name', x.name, 'company', x.company, 'source', x.source, 'need', x.need",
    ),
    _Source(
        "'assigned'", "assignments", "x.decided_at", _OF_MINE,
        "'lead_id', x.lead_id, 'actor_id', x.owner_id, 'rule_id', x.rule_id, 'rule_version', x.rule_version,"
        "'priority', x.priority, 'reason', x.reason",
    ),
    _Source(
        "x.kind", "lead_steps", "x.at", _OF_MINE,
        "'lead_id', x.lead_id, 'actor_id', x.actor_id, 'from_stage', x.from_stage, 'to_stage', x.to_stage,"
        "'reason', x.reason",
        kinds=("claimed", "stage_changed", "overdue"),
    ),
    _Source(
        "'follow_up'", "follow_ups", "x.created_at", f"x.customer_id = $1 AND ($2 OR {_OF_MINE})",
        "'lead_id', x.lead_id, 'actor_id', x.author_id, 'goal', x.goal, 'customer_words', x.customer_words,"
        "'our_response', x.our_response, 'next_action', x.next_action, 'next_action_due', x.next_action_due,"
        "'blocker', x.blocker, 'objection', x.objection, 'pain_tags', array_to_string(x.pain_tags, '、'),"
        "'stage', x.stage, 'action_code', x.action_code",
    ),
    _Source(
        "'activity'", "activities", "x.occurred_at",
        "x.customer_id = $1 AND ($2 OR x.id IN (SELECT activity_id FROM transcripts JOIN mine ON mine.id = lead_id))",
        "'told_as', CASE WHEN t.activity_id IS NOT NULL THEN 'transcript' ELSE 'activity' END, 'lead_id', t.lead_id,"
        "'actor_id', x.owner_id, 'kind', x.kind, 'subject', x.subject, 'direction', x.direction, 'purpose', x.purpose,"
        "'duration_s', nullif(x.duration_s, 0), 'tags',"
        "(SELECT string_agg(tag->>1, '、') FROM jsonb_array_elements(t.tags) AS tag)",
        joined="LEFT JOIN transcripts AS t ON t.activity_id = x.id",
    ),
    _Source(
        "'opportunity'", "opportunities", "x.occurred_at", _WHOLE,
        "'actor_id', x.owner_id, 'name', x.name, 'stage', x.stage, 'amount', x.amount::text, 'probability', x.probability,"
        "'closing_at', x.closing_at",
    ),
    _Source(
        "'invoice'", "invoices", "x.occurred_at", _WHOLE,
        "'actor_id', x.owner_id, 'number', x.number, 'subject', x.subject, 'status', x.status, 'amount', x.amount::text",
    ),
    *(
        _Source(
            f"'{kind}'", "sla_pauses", f"x.{kind}_at", f"{_OF_MINE} AND x.{kind}_at IS NOT NULL",
            f"'lead_id', x.lead_id, 'actor_id', x.{kind}_by, 'reason', x.reason",
            id=_PAUSE_ID.format(kind=kind),
            seen=f"x.{kind}_at <= $5",
            found=f"x.lead_id IN (SELECT id FROM mine) AND {_PAUSE_ID.format(kind=kind)} = page.id",  # noqa: S608 - names of ours
        )
        for kind in ("paused", "resumed")
    ),
    _Source(
        "'field_changed'", "changes", "x.changed_at",
        f"(x.subject_id = $1 AND $2 OR x.subject_id IN (SELECT id FROM mine)) AND x.field NOT IN {_TOLD_ELSEWHERE}",  # noqa: S608 - names of ours
        "'lead_id', CASE x.subject WHEN 'lead' THEN x.subject_id END, 'actor_id', nullif(x.changed_by, 'system'),"
        "'field', x.field, 'before', x.before, 'after', x.after, 'reason', x.reason",
        # There and back again: a number in the form of the other ids, smaller than any of them.
        id="lpad(to_hex(x.id), 32, '0')::uuid",
        seen="x.changed_at <= $9",
        found="x.id = ('x' || right(replace(page.id::text, '-', ''), 16))::bit(64)::bigint",
    ),
    _Source(
        "'merged'", "merges", "x.merged_at", "x.kept_id = $1 AND $2",
        "'actor_id', x.merged_by, 'reason', x.reason, 'merged_id', x.merged_id",
    ),
    _Source(
        "'merge_undone'", "merges", "x.undone_at", "x.kept_id = $1 AND $2 AND x.undone_at IS NOT NULL",
        "'actor_id', x.undone_by, 'merged_id', x.merged_id",
        id=_UNDONE_ID,
        seen="x.undone_at <= $5",
        found=f"x.kept_id = $1 AND {_UNDONE_ID} = page.id",
    ),
)  # fmt: skip
"""In no order: entries are told apart by time and id."""


def _statement(order: Order) -> str:
    beyond, direction = (">", "ASC") if order is Order.OLDEST else ("<", "DESC")
    keys = " UNION ALL ".join(each.keys(beyond, direction) for each in SOURCES)
    return f"""
    WITH mine AS MATERIALIZED (
        SELECT id FROM leads WHERE customer_id = $1 AND ($2 OR owner_id = ANY($8::text[]))
    ), page AS MATERIALIZED (
        SELECT * FROM ({keys}) AS keys ORDER BY at {direction}, id {direction} LIMIT $7
    )
    SELECT at, id::text, kind, CASE {" ".join(each.details() for each in SOURCES)} END AS detail
    FROM page ORDER BY at {direction}, page.id {direction}
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

    async def sight(self, customer_id: str, owners: Sequence[str] | None) -> Sight | None:
        return await sight_of(self._reader, customer_id, owners)

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
            # Changes have the database's time, by the moment of the id.
            datetime.fromtimestamp((UUID(place.seen_id).int >> 80) / 1000, UTC),
        )
        return [_entry(row["at"], row["kind"], row["id"], orjson.loads(row["detail"])) for row in rows]


def _entry(at: object, kind: str, entry_id: str, detail: dict[str, object]) -> Entry:
    lead_id, actor_id = detail.pop("lead_id", None), detail.pop("actor_id", None)
    kind = str(detail.pop("told_as", kind))
    known = {name: str(value) for name, value in detail.items() if value not in {None, ""}}
    return Entry(at, kind, entry_id, str(lead_id or ""), str(actor_id or ""), known)  # type: ignore[arg-type]  # asyncpg's rows are untyped
