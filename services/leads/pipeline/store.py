"""Pipeline records in PostgreSQL: row and event in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Record as Row
from google.protobuf.message import Message

from breakwater.chassis import outbox
from breakwater.chassis.database import Transaction
from breakwater.chassis.ids import uuid7
from breakwater.chassis.outbox import OutboxEvent
from breakwater.leads.v1.events_pb2 import ActivityRecorded, InvoiceRecorded, OpportunityChanged
from services.leads.pipeline.domain import Activity, Invoice, Opportunity, PipelineRecord
from services.leads.rows import jsonb
from services.leads.timestamps import timestamp


@dataclass(frozen=True, slots=True)
class _Table:
    """Where records of one kind live."""

    name: str
    columns: Mapping[str, str]
    """The record's own fields, with their types in PostgreSQL."""
    event: Callable[[Row], Message]

    @property
    def save(self) -> str:
        """Upserts by external id; returns the rows that are new or differ."""
        columns = ", ".join(self.columns)
        given = ", ".join(f"(x->>{place})::{type_}" for place, type_ in enumerate(self.columns.values(), start=4))
        updates = ", ".join(f"{column} = excluded.{column}" for column in self.columns)
        ours, theirs = (", ".join(f"{row}.{column}" for column in self.columns) for row in ("kept", "excluded"))
        return f"""
        INSERT INTO {self.name} AS kept (import_id, id, customer_id, external_id, refs, {columns})
        SELECT $2, (x->>0)::uuid, (x->>1)::uuid, x->>2, ARRAY(SELECT jsonb_array_elements_text(x->3)), {given}
        FROM jsonb_array_elements($1::jsonb) AS x
        ON CONFLICT (external_id) DO UPDATE
        SET customer_id = coalesce(excluded.customer_id, kept.customer_id), refs = excluded.refs, {updates},
            sequence = kept.sequence + 1
        WHERE ({ours}, kept.refs, kept.customer_id)
              IS DISTINCT FROM ({theirs}, excluded.refs, coalesce(excluded.customer_id, kept.customer_id))
        RETURNING *
        """  # noqa: S608 - only names of ours


def _activity_event(row: Row) -> Message:
    return ActivityRecorded(
        activity_id=str(row["id"]),
        customer_id=str(row["customer_id"]),
        kind=row["kind"],
        occurred_at=timestamp(row["occurred_at"]),
        duration_s=row["duration_s"],
        owner_id=row["owner_id"],
    )


def _opportunity_event(row: Row) -> Message:
    return OpportunityChanged(
        opportunity_id=str(row["id"]),
        customer_id=str(row["customer_id"]),
        stage=row["stage"],
        amount=_plain(row["amount"]),
        probability=row["probability"] or 0,
        kind=row["kind"],
        occurred_at=timestamp(row["occurred_at"]),
    )


def _invoice_event(row: Row) -> Message:
    return InvoiceRecorded(
        invoice_id=str(row["id"]),
        customer_id=str(row["customer_id"]),
        amount=_plain(row["amount"]),
        status=row["status"],
        occurred_at=timestamp(row["occurred_at"]),
    )


def _plain(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:f}"


_TABLES: Mapping[type, _Table] = {
    Activity: _Table(
        "activities",
        {
            "kind": "text", "subject": "text", "direction": "text", "purpose": "text", "owner_id": "text",
            "occurred_at": "timestamptz", "duration_s": "bigint",
        },
        _activity_event,
    ),
    Opportunity: _Table(
        "opportunities",
        {
            "name": "text", "stage": "text", "amount": "numeric", "expected_revenue": "numeric",
            "probability": "integer", "kind": "text", "owner_id": "text", "occurred_at": "timestamptz",
            "closing_at": "timestamptz",
        },
        _opportunity_event,
    ),
    Invoice: _Table(
        "invoices",
        {
            "number": "text", "subject": "text", "status": "text", "amount": "numeric", "owner_id": "text",
            "occurred_at": "timestamptz",
        },
        _invoice_event,
    ),
}  # fmt: skip

_CUSTOMERS_OF = "SELECT key, customer_id FROM customer_keys WHERE key = ANY($1)"

_LINK = """
WITH looked_at AS (
    SELECT id, refs FROM {table} WHERE customer_id IS NULL AND id > $1 ORDER BY id LIMIT $2
), found AS (
    SELECT id, (
        SELECT k.customer_id
        FROM unnest(refs) WITH ORDINALITY AS r (ref, place) JOIN customer_keys AS k ON k.key = 'ref:' || r.ref
        ORDER BY place LIMIT 1
    ) AS customer_id
    FROM looked_at
), linked AS (
    UPDATE {table} AS kept SET customer_id = found.customer_id, sequence = kept.sequence + 1
    FROM found WHERE kept.id = found.id AND kept.customer_id IS NULL AND found.customer_id IS NOT NULL
    RETURNING kept.*
)
SELECT linked.*, looked_at.id AS looked_at FROM looked_at LEFT JOIN linked USING (id) ORDER BY looked_at
"""
_FIRST = "00000000-0000-0000-0000-000000000000"


class PipelineSql:
    """`PipelineStore` on one open transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def customers_of(self, refs: Sequence[str]) -> dict[str, str]:
        if not refs:
            return {}
        rows = await self._tx.fetch(_CUSTOMERS_OF, [f"ref:{ref}" for ref in refs])
        return {row["key"].removeprefix("ref:"): str(row["customer_id"]) for row in rows}

    async def save(self, records: Sequence[PipelineRecord], customers: Sequence[str | None], import_id: str) -> int:
        if not records:
            return 0
        table = _TABLES[type(records[0])]
        rows = await self._tx.fetch(
            table.save,
            jsonb(
                (
                    uuid7(),
                    customer,
                    each.external_id or None,
                    each.refs,
                    *(getattr(each, name) for name in table.columns),
                )
                for each, customer in zip(records, customers, strict=True)
            ),
            import_id,
        )
        await self._publish(table, rows)
        return sum(row["sequence"] == 1 for row in rows)

    async def link(self, kind: type[PipelineRecord], after_id: str, rows_max: int) -> str:
        table = _TABLES[kind]
        rows = await self._tx.fetch(_LINK.format(table=table.name), after_id or _FIRST, rows_max)
        await self._publish(table, [row for row in rows if row["id"] is not None])
        return str(rows[-1]["looked_at"]) if len(rows) == rows_max else ""

    async def _publish(self, table: _Table, rows: Sequence[Row]) -> None:
        # They come in files, and nobody waits for them.
        events = [
            OutboxEvent.of(table.event(row), subject_id=str(row["id"]), sequence=row["sequence"], urgent=False)
            for row in rows
            if row["customer_id"] is not None
        ]
        if events:
            await outbox.add(self._tx, events)
