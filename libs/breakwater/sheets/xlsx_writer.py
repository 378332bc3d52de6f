"""XLSX (ECMA-376, transitional) as a stream: the first bytes leave before the first row, memory stays bounded.

Sheets come as their rows come, what lists them at the end. Every cell keeps its reference `r=`, which Excel could do
without and other readers cannot.
"""

import re
from collections.abc import Iterable, Sequence
from unicodedata import east_asian_width
from zoneinfo import ZoneInfo

from breakwater.sheets import xlsx_parts
from breakwater.sheets.cells import STYLE_GENERAL, STYLE_HEADER, STYLE_HEADLINE, CellEncoder, clean_text
from breakwater.sheets.columns import TEAM_ZONE, Cell, Column, ColumnType, Note, Sink, Summary, batches
from breakwater.sheets.deflate import STANDARD, Deflate
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
        self._encoders = [self._cells.of(column.type) for column in columns]
        references = [xlsx_parts.column_letters(index) for index in range(len(columns))]
        self._last_letters = references[-1]
        self._row_template = '<row r="%s">' + "".join(f'<c r="{letters}%s"%s' for letters in references) + "</row>"
        self._sheets: list[xlsx_parts.SheetEntry] = []
        self._sheet_open = False
        self._sheet_rows = 0
        self._rows = 0
        self._zip = ZipStream(sink, deflate)
        # The relations come first: they are the same for every file, and readers tell the kind of file by them.
        self._zip.add("_rels/.rels", xlsx_parts.PACKAGE_RELATIONS)
        self._zip.add("xl/styles.xml", xlsx_parts.STYLES)

    def write_rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Adds rows, with cells as canonical text or as Python values.

        Canonical: decimals plain, dates ISO 8601, datetimes RFC 3339 UTC, `true` or `false`, empty for null. What does not
        fit a column's type is written as text, unchanged.

        Raises ValueError for a row of another length, TypeError for a value of no known kind, FileFullError past 4 GiB.
        """
        for batch in batches(rows, self._columns):
            self._write_batch(batch)

    def close(self) -> Summary:
        """Writes what ends the file and tells what was written. Raises FileFullError."""
        if not self._sheets:
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
        return Summary(self._rows, data_sheets, self._zip.size_bytes, cells_cut=self._cells.cells_cut)

    def _write_batch(self, batch: list[list[str]]) -> None:
        total, done = len(batch[0]), 0
        while done < total:
            if self._sheet_open and (
                self._sheet_rows >= self._rows_max or self._zip.entry_bytes > self._sheet_bytes_max
            ):
                self._end_sheet()
            if not self._sheet_open:
                self._begin_sheet(batch)
            taken = min(total - done, self._rows_max - self._sheet_rows)
            self._write_part([values[done : done + taken] for values in batch] if taken < total else batch, taken)
            done += taken

    def _write_part(self, batch: list[list[str]], count: int) -> None:
        numbers = list(map(str, range(self._sheet_rows + 1, self._sheet_rows + count + 1)))
        interleaved: list[list[str]] = [numbers]
        for encode, values in zip(self._encoders, batch, strict=True):
            interleaved += (numbers, encode(values))
        rows = "".join(map(self._row_template.__mod__, zip(*interleaved, strict=True)))
        self._zip.write(rows.encode())
        self._sheet_rows += count
        self._rows += count

    def _begin_sheet(self, sample: list[list[str]]) -> None:
        number = len(self._sheets) + 1
        title = sheet_title(self._sheet_title, {sheet.title for sheet in self._sheets})
        self._zip.begin(xlsx_parts.sheet_path(number))
        widths = [
            _width(column, shown, values)
            for column, shown, values in zip(self._columns, self._titles, sample, strict=True)
        ]
        header = [self._cells.text(shown, STYLE_HEADER) for shown in self._titles]
        interleaved: list[str] = ["1"]
        for cell in header:
            interleaved += ("1", cell)
        selected = number == 1 and self._note is None
        self._zip.write(
            (
                xlsx_parts.sheet_head(widths, frozen=True, selected=selected) + self._row_template % tuple(interleaved)
            ).encode()
        )
        self._sheets.append(xlsx_parts.SheetEntry(title))
        self._sheet_open = True
        self._sheet_rows = 1

    def _end_sheet(self) -> None:
        area = f"A1:{self._last_letters}{self._sheet_rows}"
        self._zip.write(xlsx_parts.sheet_tail(area).encode())
        self._zip.end()
        self._sheets[-1] = xlsx_parts.SheetEntry(
            self._sheets[-1].title, f"$A$1:${self._last_letters}${self._sheet_rows}"
        )
        self._sheet_open = False

    def _write_note(self, note: Note) -> None:
        title = sheet_title(note.sheet_title, {sheet.title for sheet in self._sheets})
        lines = [f'<row r="1"><c r="A1"{self._cells.text(note.headline, STYLE_HEADLINE)}</row>']
        for number, (label, value) in enumerate(note.rows, start=3):
            label_cell, value_cell = self._cells.text(label, STYLE_HEADER), self._cells.text(value, STYLE_GENERAL)
            lines.append(f'<row r="{number}"><c r="A{number}"{label_cell}<c r="B{number}"{value_cell}</row>')
        head = xlsx_parts.sheet_head([20, _WIDTH_MAX], frozen=False, selected=True)
        self._sheets.append(xlsx_parts.SheetEntry(title))
        self._zip.add(xlsx_parts.sheet_path(len(self._sheets)), head + "".join(lines) + xlsx_parts.sheet_tail(None))


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
