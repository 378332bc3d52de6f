"""Datasets from PostgreSQL: a repeatable-read snapshot, a server-side cursor, cells made text by the database."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from breakwater.chassis.database import Database
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.datasets.domain import ColumnType
from services.leads.datasets.usecases import ROW_END, Query
from services.leads.routing.store import Snapshots

CHUNK_ROWS = 500
"""Fastest over gRPC (measurements.md, Export streaming)."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a dataset's rows are. `special` are columns that are not simply those of `main`; `visible` tests owners."""

    tables: str
    main: str
    visible: str
    special: Mapping[str, str]


_OWNER_NAME = "(SELECT name FROM people WHERE people.id = {main}.owner_id)"
_LEAD_VISIBLE = "leads.owner_id = ANY({0}::text[])"
_SOURCES: Mapping[str, _Source] = {
    "leads": _Source("leads", "leads", _LEAD_VISIBLE, {"owner_name": _OWNER_NAME.format(main="leads")}),
    "customers": _Source(
        # Who was merged is part of another.
        "(SELECT * FROM customers WHERE merged_into IS NULL) AS customers",
        "customers",
        # As in GetCustomer: one's own, and those one has a lead of.
        "(customers.owner_id = ANY({0}::text[]) OR EXISTS (SELECT FROM leads WHERE leads.customer_id = customers.id"
        " AND leads.owner_id = ANY({0}::text[])))",
        {
            "owner_name": _OWNER_NAME.format(main="customers"),
            "leads": "(SELECT count(*) FROM leads WHERE leads.customer_id = customers.id)",
            "open_leads": "(SELECT count(*) FROM leads WHERE leads.customer_id = customers.id"
            " AND leads.stage IN ('new', 'contacted', 'qualified'))",
        },
    ),
    "assignments": _Source(
        "assignments JOIN leads ON leads.id = assignments.lead_id",
        "assignments",
        # Who owns the lead now sees its history, as in ListAssignments.
        _LEAD_VISIBLE,
        {
            "owner_name": _OWNER_NAME.format(main="assignments"),
            "lead_name": "leads.name",
            "company": "leads.company",
        },
    ),
}

_AS_TEXT: Mapping[ColumnType, str] = {
    # Without the two characters that separate cells and rows: no table of people's has a place for them.
    ColumnType.TEXT: r"translate(coalesce(({})::text, ''), U&'\001E\001F', '')",
    ColumnType.INTEGER: "coalesce(({})::text, '')",
    ColumnType.DECIMAL: "coalesce(({})::text, '')",
    ColumnType.DATETIME: """coalesce(to_char(({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '')""",
}


class PostgresDatasetReader(PostgresPersonalReader):
    """`DatasetReader` on one snapshot."""

    @classmethod
    @asynccontextmanager
    async def begin(cls, database: Database, snapshots: Snapshots) -> AsyncIterator["PostgresDatasetReader"]:
        async with database.snapshot() as tx:
            yield cls(tx, snapshots)

    async def count(self, query: Query) -> int:
        conditions, args = _conditions(query)
        found: int = await self._tx.fetchval(
            f"SELECT count(*) FROM {_SOURCES[query.dataset].tables} WHERE {conditions}",  # noqa: S608 only names of ours
            *args,
        )
        return found

    async def rows(self, query: Query) -> AsyncGenerator[str, None]:
        source = _SOURCES[query.dataset]
        # One text a row: twelve values a row cost the driver several times what one does.
        cells = r" || U&'\001F' || ".join(
            _AS_TEXT[column.type].format(source.special.get(column.name, f"{source.main}.{column.name}"))
            for column in query.columns
        )
        conditions, args = _conditions(query)
        sql = f"SELECT {cells} FROM {source.tables} WHERE {conditions} ORDER BY {source.main}.id"  # noqa: S608
        async for chunk in self._tx.stream(sql, *args, chunk_rows=CHUNK_ROWS):
            yield ROW_END.join([row[0] for row in chunk]) + ROW_END


def _conditions(query: Query) -> tuple[str, list[Any]]:
    source = _SOURCES[query.dataset]
    conditions: list[str] = ["true"]
    args: list[Any] = []
    for condition, value in (
        (source.visible, query.owners),
        (f"{source.main}.owner_id = {{}}", query.criteria.owner_id or None),
        ("leads.stage = {}", query.criteria.stage or None),
        ("leads.source = {}", query.criteria.source or None),
    ):
        if value is not None:
            args.append(value)
            conditions.append(condition.format(f"${len(args)}"))
    return " AND ".join(conditions), args
