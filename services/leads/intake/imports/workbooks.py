"""XLSX files, which may be hostile, into rows of text."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

import openpyxl

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.mapping import Mapping
from services.leads.intake.imports.tables import PREAMBLE_ROWS_MAX, unreadable

_XLSX_MAGIC = b"PK\x03\x04"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0"
_ENTRIES_MAX = 10_000
"""Of a zip file."""


def is_xlsx(content: bytes, mapping: Mapping, filename: str) -> bool:
    """Whether the file is to be read as a workbook; raises when it says so but is none."""
    if content.startswith(_XLSX_MAGIC):
        if mapping.format == "csv":
            raise unreadable("is a zip file such as XLSX, the mapping says csv")
        return True
    if content.startswith(_OLE_MAGIC):
        raise unreadable("is an old or a protected Excel file; save it as XLSX without a password")
    if mapping.format == "xlsx" or filename.lower().endswith(".xlsx"):
        raise unreadable("is no XLSX: it is no zip file")
    return False


def xlsx_rows(content: BinaryIO, mapping: Mapping, limits: ImportLimits) -> Iterator[list[str]]:
    """Every row of the sheet as text, blank ones too; at most one cell wider than the header."""
    _check_zip(content, limits)
    try:
        # An XLSX is whatever a stranger sends; openpyxl answers with errors of many kinds.
        workbook = openpyxl.load_workbook(content, read_only=True, data_only=True, keep_links=False)
        if mapping.sheet and mapping.sheet not in workbook.sheetnames:
            raise unreadable(f"has no sheet {mapping.sheet!r}")  # noqa: TRY301
        sheet = workbook[mapping.sheet] if mapping.sheet else workbook.worksheets[0]
        # The size a sheet claims to have may be wrong; rows beyond it would be lost.
        sheet.reset_dimensions()
        above, header = _header_of(sheet.iter_rows(max_col=limits.columns_max + 1, values_only=True), mapping)
        width = max((index + 1 for index, value in enumerate(header) if value is not None), default=0)
        if width > limits.columns_max:
            raise unreadable(f"has more than {limits.columns_max} columns")  # noqa: TRY301
        # One column more than the header has: a row that reaches into it is refused, not cut.
        for number, values in enumerate(sheet.iter_rows(max_col=width + 1, values_only=True)):
            if number < above:
                yield []
                continue
            cells = [_text_of(value) for value in values]
            yield cells if cells[-1] else cells[:-1]
    except InvalidRequestError:
        raise
    except Exception as error:  # every kind means the same: this is no workbook
        raise unreadable(f"is no readable XLSX ({type(error).__name__})") from error


def _header_of(rows: Iterable[tuple[Any, ...]], mapping: Mapping) -> tuple[int, tuple[Any, ...]]:
    """How many rows stand above the header, and the header: the first row that is not blank, or that the mapping knows."""
    for number, row in enumerate(rows):
        if mapping.preamble:
            if number >= PREAMBLE_ROWS_MAX:
                break
            if mapping.is_header(_text_of(value) for value in row):
                return number, row
        elif any(row):
            return number, row
    if mapping.preamble:
        raise unreadable(f"has no header within its first {PREAMBLE_ROWS_MAX} rows")
    return 0, ()


def _check_zip(content: BinaryIO, limits: ImportLimits) -> None:
    try:
        entries = zipfile.ZipFile(content).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise unreadable("is no XLSX: the zip file is broken") from None
    if len(entries) > _ENTRIES_MAX or sum(entry.file_size for entry in entries) > limits.unpacked_bytes_max:
        raise unreadable(f"unpacks to more than {limits.unpacked_bytes_max} bytes")
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise unreadable("is protected by a password")
    content.seek(0)


def _text_of(value: object) -> str:  # noqa: PLR0911 one answer for each kind of cell
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            # Spreadsheets keep phones and ids as floating point: 13812345678.0 is 13812345678.
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)  # noqa: PLR2004
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value.total_seconds())
        case _:
            return str(value)


def csv_lines(rows: Iterator[list[str]]) -> Iterator[str]:
    """Rows as CSV text, one line for each, a blank row as a blank line, so that row numbers stay."""
    for cells in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells if any(cells) else [])
        yield line.getvalue()
