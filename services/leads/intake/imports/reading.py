"""A file by its mapping: judged at once when it arrives, read row by row when its turn comes."""

import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.intake.imports.domain import FileShape, ImportLimits, Rejection, reject
from services.leads.intake.imports.mapping import Mapping
from services.leads.intake.imports.rows import Plan, Record, plan_rows
from services.leads.intake.imports.tables import Broken, Layout, Row, csv_rows, header_of, layout_of, unreadable
from services.leads.intake.imports.workbooks import csv_lines, is_xlsx, xlsx_rows

CONVERTED = FileShape("csv", "utf-8", ",")
"""What a workbook is turned into."""


def inspect(content: bytes, mapping: Mapping, filename: str, limits: ImportLimits) -> FileShape:
    """How the file is to be read; raises InvalidRequestError with everything that can be told without its rows.

    That is: an empty file, one that is no text and no workbook, headers the mapping needs and the file lacks.
    """
    if not content.strip():
        raise unreadable("is empty")
    if is_xlsx(content, mapping, filename):
        first = itertools.islice(xlsx_rows(io.BytesIO(content), mapping, limits), 1_000)
        headers = next(filter(any, first), [])
        _planned(mapping, headers, limits)
        return FileShape("xlsx", "", "")
    layout = layout_of(content, mapping)
    _, headers = header_of(csv_rows(io.BytesIO(content), layout, limits, mapping))
    _planned(mapping, headers, limits)
    return FileShape("csv", layout.encoding, layout.delimiter)


def as_csv(content: BinaryIO, mapping: Mapping, limits: ImportLimits) -> Iterator[bytes]:
    """A workbook as pieces of CSV in UTF-8, row by row as it was, so that one reader serves both."""
    piece = bytearray()
    for line in csv_lines(xlsx_rows(content, mapping, limits)):
        piece += line.encode("utf-8", "replace")
        while len(piece) >= limits.piece_bytes_max:
            yield bytes(piece[: limits.piece_bytes_max])
            del piece[: limits.piece_bytes_max]
    if piece:
        yield bytes(piece)


def pieces_of(content: bytes, limits: ImportLimits) -> Iterator[bytes]:
    """The file in pieces that fit a message and a row."""
    for start in range(0, len(content), limits.piece_bytes_max):
        yield content[start : start + limits.piece_bytes_max]


def count_rows(content: BinaryIO, mapping: Mapping, shape: FileShape, limits: ImportLimits) -> int:
    """Data rows of a CSV file, the broken ones too; stops behind `rows_max`."""
    rows = csv_rows(content, Layout(shape.encoding, shape.delimiter), limits, mapping)
    header_of(rows)
    return sum(1 for _ in itertools.islice(rows, limits.rows_max + 1))


def read(
    content: BinaryIO, mapping: Mapping, shape: FileShape, limits: ImportLimits, *, skip: int
) -> Iterator[Record | Rejection]:
    """The data rows behind the first `skip`, each read or refused."""
    rows = csv_rows(content, Layout(shape.encoding, shape.delimiter), limits, mapping)
    _, headers = header_of(rows)
    plan = _planned(mapping, headers, limits)
    return (_judged(plan, row) for row in itertools.islice(rows, skip, None))


def _judged(plan: Plan, row: Row) -> Record | Rejection:
    number, cells = row
    if isinstance(cells, Broken):
        return reject(number, cells.line, [FieldError("", f"the row {cells.reason}")])
    return plan.record(number, cells)


def _planned(mapping: Mapping, headers: list[str], limits: ImportLimits) -> Plan:
    if not any(headers):
        raise unreadable("is empty")
    if len(headers) > limits.columns_max:
        raise unreadable(f"has more than {limits.columns_max} columns")
    plan, errors = plan_rows(mapping, headers)
    if plan is None:
        raise InvalidRequestError(f"The file does not fit the mapping {mapping.name!r}.", errors=errors)
    return plan


class PieceStream(io.RawIOBase):
    """A file whose pieces are fetched one by one, so that one piece is in memory."""

    def __init__(self, fetch: Callable[[int], bytes | None]) -> None:
        self._fetch = fetch
        self._number = 0
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._fetch(self._number) or b""
            self._number += 1
        target = memoryview(buffer).cast("B")
        size_bytes = min(len(target), len(self._rest))
        target[:size_bytes] = self._rest[:size_bytes]
        self._rest = self._rest[size_bytes:]
        return size_bytes


def stream_of(fetch: Callable[[int], bytes | None]) -> BinaryIO:
    """The pieces, numbered from 0 until None, as one file."""
    return io.BufferedReader(PieceStream(fetch), 262_144)
