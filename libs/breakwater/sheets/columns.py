"""What a table is made of: columns with a type, and cells in one canonical text form whatever they came as."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

Cell = str | int | Decimal | date | datetime | bool | None
Sink = Callable[[bytes], object]

TEAM_ZONE = ZoneInfo("Asia/Shanghai")
"""The zone people read times in unless their team says otherwise (domain.md, open points)."""


class ColumnType(StrEnum):
    """How a column's cells are read. Ids, phones and account numbers are text."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "datetime"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is the field, `title` what people read above it."""

    name: str
    title: str
    type: ColumnType = ColumnType.TEXT


@dataclass(frozen=True, slots=True)
class Note:
    """A sheet that says what a reader must know of the file, such as why it is degraded (37); shown on opening."""

    headline: str
    rows: Sequence[tuple[str, str]] = ()
    sheet_title: str = "说明"


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written.

    `cells_cut` were longer than a spreadsheet cell may be; `characters_replaced` are not in the file's encoding.
    """

    rows: int
    sheets: int
    size_bytes: int
    cells_cut: int = 0
    characters_replaced: int = 0


BATCH_CELLS = 6_000
"""Cells encoded at a time: enough to spread the cost of a batch, little enough to bound memory."""


def batches(
    rows: Iterable[Sequence[Cell]], columns: Sequence[Column], cells: int = BATCH_CELLS
) -> Iterator[list[Sequence[str]]]:
    """The rows, about so many cells at a time, turned into canonical texts for each column.

    Raises ValueError for a row whose length is not that of the columns, TypeError for a value of no known kind.
    """
    size = max(1, cells // len(columns))
    source = iter(rows)
    while batch := list(itertools.islice(source, size)):
        by_column = list(zip(*batch, strict=True))
        if len(by_column) != len(columns):
            raise ValueError(f"a row has {len(by_column)} cells, the table {len(columns)} columns")
        yield [canonical_column(values) for values in by_column]


def canonical_column(values: Sequence[Cell]) -> Sequence[str]:
    """The values as canonical text, which `XlsxWriter.write_rows` describes."""
    if set(map(type, values)) == {str}:
        return values  # type: ignore[return-value]  # just checked, all at once because one by one is slow
    return [value if type(value) is str else _canonical(value) for value in values]


def _canonical(value: Cell) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a datetime without zone has no meaning")
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case date():
            return value.isoformat()
    raise TypeError(f"a cell cannot hold {type(value).__name__}")
