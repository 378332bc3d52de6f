"""One file by each engine, from the same cursor of PostgreSQL; the sink notes when its first byte came."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.exports import source
from breakwater.sheets import CsvWriter, XlsxWriter, isal_deflate, vector_rows

Write = Callable[[str, int, "Target"], Awaitable[None]]


class Target:
    """A file that knows when its first byte was written, in seconds from its making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first_byte_s: float | None = None
        self.size_bytes = 0
        self._began_s = time.perf_counter()
        self.file = path.open("w+b")

    def write(self, data: bytes) -> int:
        """Adds to the file."""
        if self.first_byte_s is None:
            self.first_byte_s = time.perf_counter() - self._began_s
        return self.file.write(data)

    def close(self) -> None:
        """No more comes."""
        self.file.close()
        self.size_bytes = self.path.stat().st_size

    def whole(self) -> None:
        """An engine that writes by itself, at its end."""
        self.first_byte_s = self.first_byte_s or time.perf_counter() - self._began_s


async def fast(dsn: str, rows: int, target: Target) -> None:
    """Ours, by column, packed by isal."""
    writer = XlsxWriter(target.write, source.COLUMNS, zone=source.ZONE, deflate=isal_deflate(), rows=vector_rows())
    # Only now, as the encoder of files has it: the first bytes are on their way by then.
    from services.files.exports.columns import PackedTable  # noqa: PLC0415

    table = PackedTable(writer)
    # In a thread, as files has it in a process: rows are read while others are encoded.
    encoding: asyncio.Future[int] | None = None
    async for chunk in source.packed(dsn, rows):
        packed = ("\x1e".join(chunk) + "\x1e").encode()
        if encoding is not None:
            await encoding
        encoding = asyncio.ensure_future(asyncio.to_thread(table.take, packed))
    if encoding is not None:
        await encoding
    table.flush()
    writer.close()


async def stdlib(dsn: str, rows: int, target: Target) -> None:
    """Ours, with the standard library alone: the engine of the fallback."""
    await _by_row(XlsxWriter(target.write, source.COLUMNS, zone=source.ZONE), dsn, rows)


async def csv(dsn: str, rows: int, target: Target) -> None:
    """Ours, with its guard against formulas."""
    await _by_row(CsvWriter(target.write, source.COLUMNS, zone=source.ZONE), dsn, rows)


async def _by_row(writer: CsvWriter | XlsxWriter, dsn: str, rows: int) -> None:
    async for chunk in source.packed(dsn, rows):
        writer.write_rows([row.split("\x1f") for row in chunk])
    writer.close()


async def xlsxwriter(dsn: str, rows: int, target: Target) -> None:
    """XlsxWriter in its mode of constant memory, the peer of the ratio."""
    from xlsxwriter import Workbook  # noqa: PLC0415

    book = Workbook(str(target.path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    sheet = book.add_worksheet()
    text, day, moment = (book.add_format({"num_format": shown}) for shown in ("@", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"))
    writes = [
        {
            "text": lambda row, column, value: sheet.write_string(row, column, value, text),
            "integer": sheet.write_number,
            "decimal": sheet.write_number,
            "date": lambda row, column, value: sheet.write_datetime(row, column, value, day),
            "datetime": lambda row, column, value: sheet.write_datetime(row, column, value, moment),
            "boolean": sheet.write_boolean,
        }[column.type]
        for column in source.COLUMNS
    ]
    for place, column in enumerate(source.COLUMNS):
        sheet.write_string(0, place, column.title)
    number = 0
    async for chunk in source.native(dsn, rows):
        for row in chunk:
            number += 1
            for place, (write, value) in enumerate(zip(writes, source.as_peers_take_it(row), strict=True)):
                write(number, place, value)
    book.close()
    target.whole()


async def openpyxl(dsn: str, rows: int, target: Target) -> None:
    """openpyxl in its mode for writing only."""
    from openpyxl import Workbook  # noqa: PLC0415

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append([column.title for column in source.COLUMNS])
    async for chunk in source.native(dsn, rows):
        for row in chunk:
            sheet.append(source.as_peers_take_it(row))
    book.save(target.file)
    target.whole()


async def pyexcelerate(dsn: str, rows: int, target: Target) -> None:
    """PyExcelerate, which has the whole table in memory."""
    from pyexcelerate import Workbook  # noqa: PLC0415

    data = [[column.title for column in source.COLUMNS]]
    async for chunk in source.native(dsn, rows):
        data += map(source.as_peers_take_it, chunk)
    book = Workbook()
    book.new_sheet("Sheet1", data=data)
    book.save(str(target.path))
    target.whole()


async def polars(dsn: str, rows: int, target: Target) -> None:
    """polars.write_excel, which has the whole table in memory and writes by XlsxWriter."""
    import polars as pl  # noqa: PLC0415

    data = [source.as_peers_take_it(row) async for chunk in source.native(dsn, rows) for row in chunk]
    frame = pl.DataFrame(data, schema=[column.title for column in source.COLUMNS], orient="row")
    frame.write_excel(str(target.path))
    target.whole()


async def rustpy(dsn: str, rows: int, target: Target) -> None:
    """rustpy-xlsxwriter in its mode of constant memory, which takes a generator but no asynchronous one."""
    from rustpy_xlsxwriter import write_worksheet  # noqa: PLC0415

    titles = [column.title for column in source.COLUMNS]
    data = [
        dict(zip(titles, source.as_peers_take_it(row), strict=True))
        async for chunk in source.native(dsn, rows)
        for row in chunk
    ]
    write_worksheet(data, str(target.path))
    target.whole()


ENGINES: dict[str, tuple[str, Write]] = {
    "xlsx_fast": ("breakwater.sheets, polars and isal", fast),
    "xlsx_stdlib": ("breakwater.sheets, standard library", stdlib),
    "csv": ("breakwater.sheets, CSV", csv),
    "xlsxwriter": ("XlsxWriter constant_memory", xlsxwriter),
    "openpyxl": ("openpyxl write_only", openpyxl),
    "pyexcelerate": ("PyExcelerate", pyexcelerate),
    "polars": ("polars.write_excel", polars),
    "rustpy": ("rustpy-xlsxwriter", rustpy),
}
"""By name: what people call it, and how it writes."""
