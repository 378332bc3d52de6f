"""The encoder process: `python -m services.files.exports.encoder`. Rows come in on stdin, the file leaves on stdout.

A process of its own because encoding is nothing but CPU work: the event loop of files keeps its deadlines, a second core
is used, memory is bounded by the kernel, and an encoder that dies takes nothing with it. It holds no credential.
"""

import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from zoneinfo import ZoneInfo

from breakwater.leads.v1 import leads_pb2
from breakwater.sheets import (
    Column,
    ColumnType,
    CsvWriter,
    FileFullError,
    Sink,
    XlsxWriter,
    isal_deflate,
    vector_rows,
)
from services.files.documents.domain import DocumentFullError, DocumentLimits, UnknownTemplateError
from services.files.exports.frames import CELL_END, PROGRESS, ROW_END, Kind, frame, read_frame

if TYPE_CHECKING:
    from breakwater.sheets.encryption import EncryptedPackage

CONTENT_BYTES_MIN = 256 * 1024
"""Content is sent on in pieces of at least this, but for the first, which lets a download begin, and the last."""
MANY_ROWS_MIN = 20_000
"""With fewer rows the fast tier is not loaded: that alone takes as long as they do."""

_TYPES = {
    leads_pb2.COLUMN_TYPE_INTEGER: ColumnType.INTEGER,
    leads_pb2.COLUMN_TYPE_DECIMAL: ColumnType.DECIMAL,
    leads_pb2.COLUMN_TYPE_DATE: ColumnType.DATE,
    leads_pb2.COLUMN_TYPE_DATETIME: ColumnType.DATETIME,
    leads_pb2.COLUMN_TYPE_BOOLEAN: ColumnType.BOOLEAN,
}


class Table(Protocol):
    """Takes the rows of a file in chunks."""

    def take(self, chunk: leads_pb2.StreamDatasetResponse, /) -> Iterator[int]:
        """Adds a chunk; how many rows are done with each step of it."""
        ...

    def close(self) -> None:
        """Ends the file."""
        ...


class FewRows:
    """Row by row, for CSV and for files of few rows."""

    def __init__(self, writer: CsvWriter | XlsxWriter) -> None:
        self._writer = writer

    def take(self, chunk: leads_pb2.StreamDatasetResponse) -> Iterator[int]:
        rows = rows_of(chunk)
        self._writer.write_rows(rows)
        yield len(rows)

    def close(self) -> None:
        self._writer.close()


class ManyRows:
    """By column, more than twice as fast."""

    def __init__(self, writer: XlsxWriter) -> None:
        # Only now: see there.
        from services.files.exports.columns import PackedTable  # noqa: PLC0415

        self._writer = writer
        self._packed = PackedTable(writer)

    def take(self, chunk: leads_pb2.StreamDatasetResponse) -> Iterator[int]:
        if chunk.packed_rows:
            yield self._packed.take(chunk.packed_rows)
            return
        rows = rows_of(chunk)
        self._writer.write_rows(rows)
        yield len(rows)

    def close(self) -> None:
        self._packed.flush()
        self._writer.close()


class Documents:
    """As PDF, in the confinement of `documents.confinement`."""

    def __init__(self, order: dict[str, Any], sink: Sink, columns: list[Column]) -> None:
        # Only now: typst and the fonts.
        from services.files.documents.confinement import confine  # noqa: PLC0415
        from services.files.documents.renderer import Renderer  # noqa: PLC0415
        from services.files.documents.tables import Letters, Report  # noqa: PLC0415
        from services.files.documents.templates import load  # noqa: PLC0415

        document = order["document"]
        zone, limits = ZoneInfo(order["zone"]), DocumentLimits(**document["limits"])
        confine(limits)
        template = load(document["template"], document["version"])
        self.stamp = template.stamp
        created_at = datetime.fromisoformat(document["created_at"])
        renderer = Renderer(template, created_at=created_at, pages_max=limits.pages_max)
        self._table: Letters | Report
        if document["letter"] is not None:
            letter, at = document["letter"], created_at.astimezone(zone)
            self._table = Letters(
                sink, renderer, stamp=self.stamp, letter=letter, at=at, letters_max=limits.letters_max
            )
        else:
            self._table = Report(
                sink, renderer, columns, title=order["title"], facts=document["facts"], zone=zone, limits=limits
            )

    def take(self, chunk: leads_pb2.StreamDatasetResponse) -> Iterator[int]:
        yield from self._table.take(rows_of(chunk))

    def close(self) -> None:
        self._table.close()


def rows_of(chunk: leads_pb2.StreamDatasetResponse) -> list[list[str]]:
    """The rows of a chunk; a leads older than 0.3.0 does not pack them."""
    packed = chunk.packed_rows.decode()
    return (
        [row.split(CELL_END) for row in packed.split(ROW_END)[:-1]]
        if packed
        else [list(row.cells) for row in chunk.rows]
    )


class Encrypted:
    """A workbook behind a password. Its content leaves at the end."""

    def __init__(self, table: Table, package: "EncryptedPackage") -> None:
        self._table = table
        self._package = package

    def take(self, chunk: leads_pb2.StreamDatasetResponse) -> Iterator[int]:
        return self._table.take(chunk)

    def close(self) -> None:
        self._table.close()
        self._package.close()


class ContentFrames:
    """Collects what a writer sends into frames of a useful size."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._least_bytes = 1

    def __call__(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= self._least_bytes:
            self.flush()
            self._least_bytes = CONTENT_BYTES_MIN

    def flush(self) -> None:
        if self._pieces:
            self._target.write(frame(Kind.CONTENT, b"".join(self._pieces)))
            self._target.flush()
            self._pieces, self._waiting_bytes = [], 0


def encode(source: BinaryIO, target: BinaryIO) -> None:
    """Makes one file. Raises EOFError or ConnectionError when the other side is gone."""
    kind, content = read_frame(source)
    if kind is not Kind.ORDER:
        raise ValueError(f"the first frame is {kind.name}")
    order = json.loads(content)
    _limit_memory(order["memory_bytes_max"])
    try:
        _make(order, source, target)
    except (FileFullError, DocumentFullError) as error:
        last = _refused("file_full", error)
    except UnknownTemplateError as error:
        last = _refused("invalid_request", error)
    except (EOFError, ConnectionError):
        raise
    except Exception:  # noqa: BLE001 (whatever it is: a confined process has no log of its own)
        last = frame(Kind.DEFECT, traceback.format_exc().encode("utf-8", "replace"))
    else:
        last = frame(Kind.END)
    target.write(last)
    target.flush()


def _make(order: dict[str, Any], source: BinaryIO, target: BinaryIO) -> None:
    sink = ContentFrames(target)
    table: Table | None = None
    rows_done = rows_total = 0
    while (frame_ := read_frame(source))[0] is Kind.CHUNK:
        chunk = leads_pb2.StreamDatasetResponse.FromString(frame_[1])
        if table is None:
            rows_total = chunk.rows_total
            if rows_total >= MANY_ROWS_MIN:
                _give_way()
            table = _table(order, sink, [_column(column) for column in chunk.columns], rows_total)
            if isinstance(table, Documents):
                target.write(frame(Kind.DOCUMENT, json.dumps(asdict(table.stamp)).encode()))
        for rows in table.take(chunk):
            rows_done += rows
            target.write(frame(Kind.PROGRESS, PROGRESS.pack(rows_done, rows_total)))
            target.flush()
    if table is None:
        raise ValueError("rows came without columns")
    table.close()
    sink.flush()


def _give_way() -> None:
    # Requests are answered before files are made, and files of few rows made before those of many. A lower niceness is not
    # enough: the kernel lets whoever runs finish a slice, some milliseconds at each of a request's eight changes of hands.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _refused(code: str, error: Exception) -> bytes:
    return frame(Kind.REFUSED, json.dumps({"code": code, "detail": str(error)}).encode())


def _table(order: dict[str, Any], sink: Sink, columns: list[Column], rows_total: int) -> Table:
    if order["format"] == "pdf":
        return Documents(order, sink, columns)
    if order["format"] == "encrypted-xlsx":
        # Only now: AES takes 30 ms to load.
        from breakwater.sheets.encryption import EncryptedPackage  # noqa: PLC0415

        package = EncryptedPackage(
            sink, order["password"], spool_dir=order["spool_dir"], size_bytes_max=order["size_bytes_max"]
        )
        return Encrypted(_plain_table(order, package.write, columns, rows_total), package)
    return _plain_table(order, sink, columns, rows_total)


def _plain_table(order: dict[str, Any], sink: Sink, columns: list[Column], rows_total: int) -> Table:
    zone = ZoneInfo(order["zone"])
    if order["format"] == "csv":
        return FewRows(CsvWriter(sink, columns, zone=zone))
    if order["format"] == "gbk-csv":
        return FewRows(CsvWriter(sink, columns, zone=zone, encoding="gbk"))
    look = partial(XlsxWriter, sink, columns, zone=zone, sheet_title=order["title"], deflate=isal_deflate())
    return FewRows(look()) if rows_total < MANY_ROWS_MIN else ManyRows(look(rows=vector_rows()))


def _column(column: leads_pb2.Column) -> Column:
    return Column(column.name, column.title or column.name, _TYPES.get(column.type, ColumnType.TEXT))


def _limit_memory(memory_bytes_max: int) -> None:
    # What it may fill, not what it may reserve: the fast tier's allocator reserves addresses it never uses.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes_max, memory_bytes_max))


def main() -> None:
    """Makes one file and ends; ends as well when the files process is gone."""
    try:
        encode(sys.stdin.buffer, sys.stdout.buffer)
    except (EOFError, ConnectionError):
        os._exit(1)  # nobody is left to hear more; a flush of stdout would only fail again


if __name__ == "__main__":
    main()
