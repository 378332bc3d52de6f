"""XLSX (ECMA-376, transitional) as a stream: the first bytes leave before the first row, memory stays bounded.

Sheets come as their rows come, what lists them at the end. Every cell keeps its reference `r=`, which Excel could do
without and other readers cannot.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from unicodedata import east_asian_width
from zoneinfo import ZoneInfo

from breakwater.sheets import xlsx_parts
from breakwater.sheets.cells import STYLE_GENERAL, STYLE_HEADER, STYLE_HEADLINE, CellEncoder, clean_text
from breakwater.sheets.columns import TEAM_ZONE, Cell, Column, ColumnType, Note, Sink, Summary, batches
from breakwater.sheets.deflate import STANDARD, Deflate
from breakwater.sheets.rows import PlainRows, RowEncoder
from breakwater.sheets.times import ZoneTimes
from breakwater.sheets.zip32 import ZipStream

ROWS_MAX = 1_048_576
"""Rows of a sheet, its header included (Excel specifications and limits)."""
COLUMNS_MAX = 16_384
SHEET_BYTES_MAX = 3 * 1024**3
"""XML of a sheet: a batch adds below 1 GiB, and an entry of plain ZIP stays below 4."""

_TITLE_UNITS_MAX = 31
_TITLE_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_WIDTH_MIN, _WIDTH_MAX, _WIDTH_ROWS = 8, 60, 100
_WIDTH_OF_TYPE = {ColumnType.DATE: 12, ColumnType.DATETIME: 20}


class XlsxWriter:
    """Writes one table to `sink`, over as many sheets as it takes.

    `zone` is where times are read; the headers of datetime columns name it. `rows_max` and `sheet_bytes_max` bound a
    sheet and are there for tests. After an error the file is worthless and its writer is to be dropped.
    """

    def __init__(
        self,
        sink: Sink,
        columns: Sequence[Column],
        *,
        zone: ZoneInfo = TEAM_ZONE,
        sheet_title: str = "Sheet1",
        note: Note | None = None,
        deflate: Deflate = STANDARD,
        rows: Callable[[Sequence[Column], ZoneInfo], RowEncoder] = PlainRows,
        rows_max: int = ROWS_MAX,
        sheet_bytes_max: int = SHEET_BYTES_MAX,
    ) -> None:
        if not 0 < len(columns) <= COLUMNS_MAX:
            raise ValueError(f"a sheet has 1 to {COLUMNS_MAX} columns, not {len(columns)}")
        self._columns = tuple(columns)
        self._titles = [
            f"{column.title}（{zone.key}）" if column.type is ColumnType.DATETIME else column.title
            for column in columns
        ]
        self._sheet_title = sheet_title
        self._note = note
        self._rows_max = rows_max
        self._sheet_bytes_max = sheet_bytes_max
        self._cells = CellEncoder(ZoneTimes(zone))
        self._letters = [xlsx_parts.column_letters(index) for index in range(len(columns))]
        self._sheets: list[xlsx_parts.SheetEntry] = []
        self._open_title = ""
        self._sheet_rows = 0  # of the open sheet, its header included; 0 when none is open
        self._rows = 0
        self._zip = ZipStream(sink, deflate)
        # The relations come first: they are the same for every file, and readers tell the kind of file by them.
        self._zip.add("_rels/.rels", xlsx_parts.PACKAGE_RELATIONS)
        self._zip.add("xl/styles.xml", xlsx_parts.STYLES)
        self._encoder = rows(self._columns, zone)

    def write_rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Adds rows, with cells as canonical text or as Python values.

        Canonical: decimals plain, dates ISO 8601, datetimes RFC 3339 UTC, `true` or `false`, empty for null. What does
        not fit a column's type is written as text, unchanged.

        Raises ValueError for a row of another length, TypeError for a value of no known kind, FileFullError past 4 GiB.
        """
        for batch in batches(rows, self._columns, self._encoder.batch_cells):
            self._write_batch(batch)

    def write_columns(self, columns: Sequence[Sequence[str]]) -> None:
        """Adds rows that come by column, as canonical texts; `vector_rows` takes Series of polars as well.

        Raises ValueError where a column is missing or shorter than the others, FileFullError past 4 GiB.
        """
        if len(columns) != len(self._columns) or len(set(map(len, columns))) != 1:
            raise ValueError(f"{len(self._columns)} columns of one length are needed")
        self._write_batch(columns)

    def close(self) -> Summary:
        """Writes what ends the file and tells what was written. Raises FileFullError."""
        if not self._sheet_rows:
            self._begin_sheet([[] for _ in self._columns])
        self._end_sheet()
        data_sheets = len(self._sheets)
        if self._note is not None:
            self._write_note(self._note)
        self._zip.add(
            "xl/workbook.xml", xlsx_parts.workbook(self._sheets, active=len(self._sheets) - 1 if self._note else 0)
        )
        self._zip.add("xl/_rels/workbook.xml.rels", xlsx_parts.workbook_relations(len(self._sheets)))
        self._zip.add("[Content_Types].xml", xlsx_parts.content_types(len(self._sheets)))
        self._zip.close()
        cells_cut = self._cells.cells_cut + self._encoder.cells_cut
        return Summary(self._rows, data_sheets, self._zip.size_bytes, cells_cut=cells_cut)

    def _write_batch(self, batch: Sequence[Sequence[str]]) -> None:
        total, done = len(batch[0]), 0
        while done < total:
            if self._sheet_rows >= self._rows_max or (
                self._sheet_rows and self._zip.entry_bytes > self._sheet_bytes_max
            ):
                self._end_sheet()
            if not self._sheet_rows:
                self._begin_sheet(batch)
            taken = min(total - done, self._rows_max - self._sheet_rows)
            self._write_part([values[done : done + taken] for values in batch] if taken < total else batch, taken)
            done += taken

    def _write_part(self, batch: Sequence[Sequence[str]], count: int) -> None:
        self._zip.write(self._encoder.encode(self._sheet_rows + 1, batch))
        self._sheet_rows += count
        self._rows += count

    def _begin_sheet(self, sample: Sequence[Sequence[str]]) -> None:
        self._open_title = sheet_title(self._sheet_title, {sheet.title for sheet in self._sheets})
        widths = [
            _width(column, shown, values)
            for column, shown, values in zip(self._columns, self._titles, sample, strict=True)
        ]
        selected = not self._sheets and self._note is None
        header = "".join(
            self._cells.text(f"{letters}1", shown, STYLE_HEADER)
            for letters, shown in zip(self._letters, self._titles, strict=True)
        )
        self._zip.begin(xlsx_parts.sheet_path(len(self._sheets) + 1))
        self._zip.write((xlsx_parts.sheet_head(widths, frozen=True, selected=selected) + _row(1, header)).encode())
        self._sheet_rows = 1

    def _end_sheet(self) -> None:
        last = self._letters[-1], self._sheet_rows
        self._zip.write(xlsx_parts.sheet_tail("A1:{}{}".format(*last)).encode())
        self._zip.end()
        self._sheets.append(xlsx_parts.SheetEntry(self._open_title, "$A$1:${}${}".format(*last)))
        self._sheet_rows = 0

    def _write_note(self, note: Note) -> None:
        title = sheet_title(note.sheet_title, {sheet.title for sheet in self._sheets})
        rows = [_row(1, self._cells.text("A1", note.headline, STYLE_HEADLINE))]
        for number, (label, value) in enumerate(note.rows, start=3):
            label_cell = self._cells.text(f"A{number}", label, STYLE_HEADER)
            rows.append(_row(number, label_cell + self._cells.text(f"B{number}", value, STYLE_GENERAL)))
        head = xlsx_parts.sheet_head([20, _WIDTH_MAX], frozen=False, selected=True)
        self._sheets.append(xlsx_parts.SheetEntry(title))
        self._zip.add(xlsx_parts.sheet_path(len(self._sheets)), head + "".join(rows) + xlsx_parts.sheet_tail(None))


def _row(number: int, cells: str) -> str:
    return f'<row r="{number}">{cells}</row>'


def sheet_title(wanted: str, taken: set[str]) -> str:
    r"""A title that Excel accepts and no other sheet has.

    At most 31 UTF-16 units, none of `[]:*?/\`, no apostrophe at an end, not blank, not the reserved `History`.
    """
    base = _TITLE_FORBIDDEN.sub(" ", clean_text(wanted)).strip(" '\n\t")
    if not base or base.casefold() == "history":
        base = f"{base} 1".strip() if base else "Sheet1"
    folded = {title.casefold() for title in taken}
    title, number = _first_units(base, _TITLE_UNITS_MAX), 2
    while title.casefold() in folded:
        suffix = f" ({number})"
        title, number = _first_units(base, _TITLE_UNITS_MAX - len(suffix)) + suffix, number + 1
    return title


def _first_units(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").rstrip(" '")


def _width(column: Column, title: str, values: Sequence[str]) -> int:
    # Room for the title with its filter button and for the widest of the first values, within reason.
    widest = _WIDTH_OF_TYPE.get(column.type) or max(map(_shown_width, values[:_WIDTH_ROWS]), default=0)
    return max(_WIDTH_MIN, min(_WIDTH_MAX, max(widest, _shown_width(title) + 3) + 1))


def _shown_width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text[:_WIDTH_MAX])
