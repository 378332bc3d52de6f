"""Cells of an XLSX sheet, a column of a batch at a time: canonical text to the XML that follows `<c r="A1"`.

Batches whose cells are harmless, which is nearly all, are found by a few searches over all cells at once and take a
fast path; the others are looked at cell by cell. Nothing here ever writes a formula: text is always an inline string.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from breakwater.sheets.columns import ColumnType
from breakwater.sheets.times import ZoneTimes, date_number

CELL_CHARACTERS_MAX = 32_767
"""UTF-16 units in a cell (Excel specifications and limits)."""

STYLE_GENERAL, STYLE_HEADER, STYLE_TEXT, STYLE_INTEGER, STYLE_DECIMAL, STYLE_DATE, STYLE_DATETIME, STYLE_HEADLINE = (
    range(8)
)

_EMPTY = "/>"
_DIGITS_EXACT_MAX = 15  # a spreadsheet's numbers are binary doubles: what is longer stays exact as text only
_FORMAT_TEXT_CHARACTERS_MAX = 255  # Excel shows ##### for longer cells of the format @
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_XML = re.compile("[\ufffe\uffff]")
_ESCAPE_LOOKALIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # ECMA-376 part 1, 22.9.2.19: _xHHHH_ in a string is an escape
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_BOOLEANS = {"": _EMPTY, "true": ' t="b"><v>1</v></c>', "false": ' t="b"><v>0</v></c>'}


def clean_text(text: str) -> str:
    """The text without what no spreadsheet can hold.

    Control characters vanish, line ends become LF, halves of a character become U+FFFD.
    """
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _NOT_XML.sub("\ufffd", text)


def escape(text: str) -> str:
    """The text as XML content."""
    text = _ESCAPE_LOOKALIKE.sub("_x005F_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class CellEncoder:
    """Encodes columns of a batch; counts the cells it had to cut."""

    def __init__(self, times: ZoneTimes) -> None:
        self._times = times
        self._date_numbers: dict[str, str | None] = {}
        self.cells_cut = 0

    def of(self, column_type: ColumnType) -> Callable[[list[str]], list[str]]:
        """The encoder of a column of this type."""
        return {
            ColumnType.TEXT: self._texts,
            ColumnType.INTEGER: lambda values: self._numbers(values, STYLE_INTEGER),
            ColumnType.DECIMAL: lambda values: self._numbers(values, STYLE_DECIMAL),
            ColumnType.DATE: self._dates,
            ColumnType.DATETIME: self._datetimes,
            ColumnType.BOOLEAN: self._booleans,
        }[column_type]

    def text(self, value: str, style: int = STYLE_TEXT) -> str:
        """One cell of text, whatever it holds."""
        text = clean_text(value)
        if not text:
            return _EMPTY
        if len(text) > _FORMAT_TEXT_CHARACTERS_MAX:
            text = self._cut(text)
            style = STYLE_GENERAL if style == STYLE_TEXT else style
        return f' s="{style}" t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'

    def _cut(self, text: str) -> str:
        if len(text) <= CELL_CHARACTERS_MAX // 2:
            return text
        units = text.encode("utf-16-le")
        if len(units) <= 2 * CELL_CHARACTERS_MAX:
            return text
        self.cells_cut += 1
        return units[: 2 * CELL_CHARACTERS_MAX].decode("utf-16-le", "ignore")

    def _texts(self, values: list[str]) -> list[str]:
        if _is_harmless('"'.join(values)) and max(map(len, values)) <= _FORMAT_TEXT_CHARACTERS_MAX:
            return [
                f' s="{STYLE_TEXT}" t="inlineStr"><is><t>{value}</t></is></c>' if value else _EMPTY for value in values
            ]
        return [self.text(value) for value in values]

    def _numbers(self, values: list[str], style: int) -> list[str]:
        if are_numbers(values):
            return [f' s="{style}"><v>{value}</v></c>' if value else _EMPTY for value in values]
        return [
            f' s="{style}"><v>{value}</v></c>' if is_number(value) and _is_exact(value) else self.text(value)
            for value in values
        ]

    def _dates(self, values: list[str]) -> list[str]:
        return [self._date(value) if value else _EMPTY for value in values]

    def _date(self, value: str) -> str:
        try:
            number = self._date_numbers[value]
        except KeyError:
            if len(self._date_numbers) >= _DATES_CACHED_MAX:
                self._date_numbers.clear()
            number = self._date_numbers[value] = date_number(value)
        return self.text(value) if number is None else f' s="{STYLE_DATE}"><v>{number}</v></c>'

    def _datetimes(self, values: list[str]) -> list[str]:
        return [self._datetime(value) if value else _EMPTY for value in values]

    def _datetime(self, value: str) -> str:
        number = self._times.day_number(value)
        if number is None:
            return self.text(self._times.text(value) or value)
        return f' s="{STYLE_DATETIME}"><v>{number}</v></c>'

    def _booleans(self, values: list[str]) -> list[str]:
        return [_BOOLEANS.get(value) or self.text(value) for value in values]


_DATES_CACHED_MAX = 50_000


def is_number(value: str) -> bool:
    """Whether this is a plain decimal number."""
    return _NUMBER.fullmatch(value) is not None


def _is_exact(value: str) -> bool:
    try:
        return len(Decimal(value).normalize().as_tuple().digits) <= _DIGITS_EXACT_MAX
    except InvalidOperation:
        return False


def _is_harmless(joined: str) -> bool:
    # The cells joined by a quotation mark: no escape, control, lone surrogate or space at either end of any cell.
    return (
        joined.isprintable()
        and "&" not in joined
        and "<" not in joined
        and ">" not in joined
        and "_x" not in joined
        and ' "' not in joined
        and '" ' not in joined
        and not joined.startswith(" ")
        and not joined.endswith(" ")
    )


def are_numbers(values: list[str]) -> bool:
    """Whether all are plain, non-negative and short enough to be exact, or empty: told fast, never wrongly true."""
    joined = "".join(values)
    if not joined:
        return True
    if not joined.isascii() or not joined.replace(".", "").isdecimal() or max(map(len, values)) > _DIGITS_EXACT_MAX:
        return False
    try:
        for value in filter(None, values):
            float(value)
    except ValueError:
        return False
    return True
