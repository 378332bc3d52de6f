"""A table of twelve mixed columns in PostgreSQL, and what of it every file must show."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from breakwater.sheets import Column, ColumnType

ZONE = ZoneInfo("Asia/Shanghai")
FETCH_ROWS = 500
PACKED_FETCH_ROWS = 5_000

_T = ColumnType
COLUMNS = [
    Column("id", "编号"),
    Column("name", "姓名"),
    Column("company", "公司"),
    Column("phone", "电话"),
    Column("email", "邮箱"),
    Column("city", "城市"),
    Column("stage", "阶段"),
    Column("visits", "次数", _T.INTEGER),
    Column("budget", "预算", _T.DECIMAL),
    Column("due_on", "截止日期", _T.DATE),
    Column("created_at", "创建时间", _T.DATETIME),
    Column("active", "有效", _T.BOOLEAN),
]
HOSTILE = {3: "=1+1", 5: "A&B <c> 公司", 7: "_x0041_", 9: "0086"}
"""Companies that rows begin with, by number: what a spreadsheet takes for something else."""

_CREATE = """
CREATE TABLE customers AS SELECT
  n, lpad(to_hex(n), 24, '0') AS id, '王小' || n % 1000 AS name, '上海测试科技有限公司' || n % 5000 AS company,
  '0138' || lpad((n % 100000000)::text, 8, '0') AS phone, 'user' || n || '@example.com' AS email, '310000' AS city,
  'contacted' AS stage, n AS visits, ((n % 100000)::numeric + (n % 100)::numeric / 100)::numeric(12, 2) AS budget,
  date '2026-01-01' + n % 365 AS due_on,
  timestamptz '2026-01-05 01:30:00Z' + n * interval '37.123456 seconds' AS created_at, n % 3 > 0 AS active
FROM generate_series(1, $1::int) AS n
"""
_NATIVE = f"SELECT {', '.join(column.name for column in COLUMNS)} FROM customers ORDER BY n"  # noqa: S608 only our names
_TEXTS = {
    _T.DATETIME: """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    _T.BOOLEAN: "{}::text",
}
# As leads has it (services/leads/datasets/store.py): one text a row.
_PACKED = r" || U&'\001F' || ".join(_TEXTS.get(column.type, "{}::text").format(column.name) for column in COLUMNS)


async def create(dsn: str, rows: int) -> None:
    """The table, with `rows` rows."""
    connection = await asyncpg.connect(dsn)
    try:
        # A parameter is not taken by CREATE TABLE AS.
        await connection.execute(_CREATE.replace("$1::int", str(int(rows))))
        await connection.executemany("UPDATE customers SET company = $2 WHERE n = $1", list(HOSTILE.items()))
        await connection.execute("ALTER TABLE customers ADD PRIMARY KEY (n)")
    finally:
        await connection.close()


async def native(dsn: str, rows: int) -> AsyncIterator[list[Any]]:
    """The rows by a server-side cursor, as Python values, chunk by chunk, one ahead: what every peer is given."""
    async for chunk in _chunks(dsn, _NATIVE, rows, FETCH_ROWS):
        yield chunk


async def packed(dsn: str, rows: int) -> AsyncIterator[list[str]]:
    """The rows by a server-side cursor, each one text, as leads reads them for an export."""
    async for chunk in _chunks(dsn, f"SELECT {_PACKED} FROM customers ORDER BY n", rows, PACKED_FETCH_ROWS):  # noqa: S608
        yield [row[0] for row in chunk]


async def _chunks(dsn: str, sql: str, rows: int, size: int) -> AsyncIterator[list[Any]]:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            cursor = await connection.cursor(f"{sql} LIMIT {rows:d}")
            ahead = asyncio.create_task(cursor.fetch(size))
            while chunk := await ahead:
                ahead = asyncio.create_task(cursor.fetch(size))
                await asyncio.sleep(0)  # it is asked now: PostgreSQL works while this chunk is written
                yield chunk
    finally:
        await connection.close()


def local(moment: datetime) -> datetime:
    """As people of the zone read it; spreadsheets keep no zone."""
    return moment.astimezone(ZONE).replace(tzinfo=None)


def as_peers_take_it(row: Any) -> list[Any]:
    """Amounts as floats and times without zone: the only ones that spreadsheets, and so the peers, know."""
    values = list(row)
    values[8] = float(values[8]) if isinstance(values[8], Decimal) else values[8]
    values[10] = local(values[10])
    return values
