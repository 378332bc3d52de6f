"""Whether a file shows what is in the table: read by openpyxl, which tells types apart and sees formulas."""

import csv
import itertools
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.escape import unescape

from bench.exports import source

LOOKED_AT = 200
"""Rows from the beginning, where the hostile ones are."""
_MILLISECOND = timedelta(milliseconds=1)


async def wrong_columns(dsn: str, path: Path) -> list[str]:
    """Names of the columns of which some cell is not as in the table, by value or type; empty for a right file."""
    wanted = [list(row) async for chunk in source.native(dsn, LOOKED_AT) for row in chunk]
    shown = _of_csv(path) if path.suffix == ".csv" else _of_xlsx(path)
    wrong: dict[str, None] = {}
    for row, cells in zip(wanted, shown, strict=True):
        for column, value, cell in zip(source.COLUMNS, row, cells, strict=True):
            if not _same(column.name, value, cell):
                wrong[column.name] = None
    return list(wrong)


def _same(name: str, value: Any, cell: Any) -> bool:
    if name == "budget":
        return isinstance(cell, int | float) and abs(float(value) - cell) < 1e-9
    if name == "created_at":
        return isinstance(cell, datetime) and abs(source.local(value) - cell) < _MILLISECOND
    if name == "due_on":
        return isinstance(cell, date) and (cell.date() if isinstance(cell, datetime) else cell) == value
    return type(cell) is type(value) and cell == value


def _of_xlsx(path: Path) -> list[list[Any]]:
    book = openpyxl.load_workbook(path, read_only=True)
    try:
        rows = book.worksheets[0].iter_rows(min_row=2, max_row=1 + LOOKED_AT)
        return [[_value(cell) for cell in row] for row in rows]
    finally:
        book.close()


def _value(cell: Any) -> Any:
    if cell.data_type == "f":
        return ("formula", cell.value)
    return unescape(cell.value) if isinstance(cell.value, str) else cell.value


def _of_csv(path: Path) -> list[list[Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [_typed(row) for row in itertools.islice(csv.reader(file), 1, 1 + LOOKED_AT)]


def _typed(row: list[str]) -> list[Any]:
    # CSV has no types: what can be read as the right value is right, and the guard's apostrophe is not of the text.
    texts = [text.removeprefix("'") if text[1:2] in set("=+-@") else text for text in row[:7]]
    return [
        *texts,
        int(row[7]),
        float(row[8]),
        date.fromisoformat(row[9]),
        datetime.fromisoformat(row[10]),  # without zone, as spreadsheets have it
        row[11] == "true",
    ]
