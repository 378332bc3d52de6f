"""CSV (RFC 4180) for spreadsheets: a byte order mark so that Excel reads UTF-8, GBK on request, text that stays text.

A spreadsheet that opens a CSV file takes a cell beginning with `=` for a formula; so text that begins like one, or with
the full-width form of such a character, is led by an apostrophe. Numbers and times are left alone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from breakwater.sheets.cells import are_numbers, clean_text, is_number
from breakwater.sheets.columns import TEAM_ZONE, Cell, Column, ColumnType, Sink, Summary, batches
from breakwater.sheets.times import ZoneTimes

_FORMULA_STARTS = frozenset("=+-@\t\r\n\0＝＋－＠")
_NEEDS_QUOTES = re.compile('[",\n]')


class CsvWriter:
    """Writes one table to `sink`. Characters that `encoding` does not know become `?` and are counted."""

    def __init__(
        self,
        sink: Sink,
        columns: Sequence[Column],
        *,
        zone: ZoneInfo = TEAM_ZONE,
        encoding: Literal["utf-8", "gbk"] = "utf-8",
    ) -> None:
        if not columns:
            raise ValueError("a table has at least one column")
        self._sink = sink
        self._columns = tuple(columns)
        self._times = ZoneTimes(zone)
        self._encoding = encoding
        self._rows = 0
        self._size_bytes = 0
        self._characters_replaced = 0
        self._encoders = [self._encoder_of(column.type) for column in columns]
        titles = [
            f"{column.title}（{zone.key}）" if column.type is ColumnType.DATETIME else column.title
            for column in columns
        ]
        mark = "\ufeff" if encoding == "utf-8" else ""
        self._emit(mark + ",".join(_texts(titles)) + "\r\n")

    def write_rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Adds rows, with cells as `XlsxWriter.write_rows` takes them.

        Raises ValueError for a row of another length, TypeError for a value of no known kind.
        """
        for batch in batches(rows, self._columns):
            encoded = [encode(values) for encode, values in zip(self._encoders, batch, strict=True)]
            self._emit("\r\n".join(map(",".join, zip(*encoded, strict=True))) + "\r\n")
            self._rows += len(batch[0])

    def close(self) -> Summary:
        """Tells what was written."""
        return Summary(self._rows, 1, self._size_bytes, characters_replaced=self._characters_replaced)

    def _encoder_of(self, column_type: ColumnType) -> Callable[[Sequence[str]], Sequence[str]]:
        match column_type:
            case ColumnType.INTEGER | ColumnType.DECIMAL:
                return _numbers
            case ColumnType.DATETIME:
                return self._datetimes
            case _:
                return _texts

    def _datetimes(self, values: Sequence[str]) -> Sequence[str]:
        texts = self._times.texts(values)
        return [_text(value) if text is None else text for text, value in zip(texts, values, strict=True)]

    def _emit(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        # No byte of a GBK character is that of "?", so the surplus is what was replaced.
        self._characters_replaced += data.count(b"?") - text.count("?")
        self._size_bytes += len(data)
        self._sink(data)


def _numbers(values: Sequence[str]) -> Sequence[str]:
    if are_numbers(values):
        return values
    return [value if is_number(value) else _text(value) for value in values]


def _texts(values: Sequence[str]) -> Sequence[str]:
    joined = "".join(values)
    if (
        joined.isprintable()
        and "," not in joined
        and '"' not in joined
        and _FORMULA_STARTS.isdisjoint({value[:1] for value in values})
    ):
        return values
    return [_text(value) for value in values]


def _text(value: str) -> str:
    # Judged as it came and as it is written: cleaning may bring a formula's sign to the front.
    text = clean_text(value)
    if not _FORMULA_STARTS.isdisjoint({value[:1], text[:1]}):
        text = "'" + text
    if _NEEDS_QUOTES.search(text):
        text = '"' + text.replace('"', '""') + '"'
    return text
