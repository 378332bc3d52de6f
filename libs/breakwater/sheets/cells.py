"""Cells of an XLSX sheet, a column of a batch at a time: canonical texts to `<c>` elements, nothing for an empty cell.

Batches whose cells are harmless, which is nearly all, are found by a few searches over all cells at once and take a
fast path; the others are looked at cell by cell. Nothing here ever writes a formula: text is always an inline string.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from breakwater.sheets.columns import ColumnType
from breakwater.sheets.times import ZoneTimes, date_number

CELL_UNITS_MAX = 32_767
"""UTF-16 units of text in a cell (Excel specifications and limits)."""

STYLE_GENERAL, STYLE_HEADER, STYLE_TEXT, STYLE_INTEGER, STYLE_DECIMAL, STYLE_DATE, STYLE_DATETIME, STYLE_HEADLINE = (
    range(8)
)

DIGITS_EXACT_MAX = 15
"""A spreadsheet's numbers are binary doubles: what is longer stays exact as text only."""
FORMAT_TEXT_CHARACTERS_MAX = 255
"""Excel shows ##### for longer cells of the format @."""
_DAYS_CACHED_MAX = 50_000
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_XML = re.compile("[\ufffe\uffff]")
_ESCAPE_LOOKALIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # ECMA-376 part 1, 22.9.2.19: _xHHHH_ in a string is an escape
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_BOOLEANS = {"": "", "true": "1", "false": "0"}

KINDS = {
    ColumnType.TEXT: f's="{STYLE_TEXT}" t="inlineStr"',
    ColumnType.INTEGER: f's="{STYLE_INTEGER}"',
    ColumnType.DECIMAL: f's="{STYLE_DECIMAL}"',
    ColumnType.DATE: f's="{STYLE_DATE}"',
    ColumnType.DATETIME: f's="{STYLE_DATETIME}"',
    ColumnType.BOOLEAN: 't="b"',
}
"""How the element of a cell says what it holds."""

Encoder = Callable[[str, list[str], Sequence[str]], list[str]]
"""A column's letters, the numbers of its rows and their canonical texts, to elements."""


def clean_text(text: str) -> str:
    """The text without what no spreadsheet can hold.

    Control characters vanish, line ends become LF, halves of a character become U+FFFD.
    """
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _NOT_XML.sub("\ufffd", text)


class CellEncoder:
    """Encodes columns of a batch; counts the cells it had to cut."""

    def __init__(self, times: ZoneTimes) -> None:
        self._times = times
        self._days: dict[str, str | None] = {"": ""}
        self.cells_cut = 0

    def of(self, column_type: ColumnType) -> Encoder:
        """The encoder of a column of this type."""
        encoders: dict[ColumnType, Encoder] = {
            ColumnType.TEXT: self._texts,
            ColumnType.INTEGER: partial(self._numbers, KINDS[ColumnType.INTEGER]),
            ColumnType.DECIMAL: partial(self._numbers, KINDS[ColumnType.DECIMAL]),
            ColumnType.DATE: self._dates,
            ColumnType.DATETIME: self._datetimes,
            ColumnType.BOOLEAN: self._booleans,
        }
        return encoders[column_type]

    def text(self, reference: str, value: str, style: int = STYLE_TEXT) -> str:
        """One cell of text, whatever it holds."""
        text = clean_text(value)
        if not text:
            return ""
        if len(text) > FORMAT_TEXT_CHARACTERS_MAX:
            text = self._cut(text)
            style = STYLE_GENERAL if style == STYLE_TEXT else style
        content = f'<is><t xml:space="preserve">{_escape(text)}</t></is>'
        return f'<c r="{reference}" s="{style}" t="inlineStr">{content}</c>'

    def _cut(self, text: str) -> str:
        if len(text) <= CELL_UNITS_MAX // 2:
            return text
        units = text.encode("utf-16-le")
        if len(units) <= 2 * CELL_UNITS_MAX:
            return text
        self.cells_cut += 1
        return units[: 2 * CELL_UNITS_MAX].decode("utf-16-le", "ignore")

    def _texts(self, letters: str, numbers: list[str], values: Sequence[str]) -> list[str]:
        if _is_harmless('"'.join(values)) and max(map(len, values)) <= FORMAT_TEXT_CHARACTERS_MAX:
            return [
                f'<c r="{letters}{number}" s="{STYLE_TEXT}" t="inlineStr"><is><t>{value}</t></is></c>' if value else ""
                for number, value in zip(numbers, values, strict=True)
            ]
        return [self.text(letters + number, value) for number, value in zip(numbers, values, strict=True)]

    def _numbers(self, kind: str, letters: str, numbers: list[str], values: Sequence[str]) -> list[str]:
        known = values if are_numbers(values) else [value if _is_exact(value) else None for value in values]
        return self._values(kind, letters, numbers, known, values)

    def _dates(self, letters: str, numbers: list[str], values: Sequence[str]) -> list[str]:
        return self._values(KINDS[ColumnType.DATE], letters, numbers, [self._day(value) for value in values], values)

    def _datetimes(self, letters: str, numbers: list[str], values: Sequence[str]) -> list[str]:
        known = self._times.day_numbers(values)
        if None in known:
            values = _or_as_they_came(self._times.texts(values), values)
        return self._values(KINDS[ColumnType.DATETIME], letters, numbers, known, values)

    def _booleans(self, letters: str, numbers: list[str], values: Sequence[str]) -> list[str]:
        return self._values(
            KINDS[ColumnType.BOOLEAN], letters, numbers, [_BOOLEANS.get(value) for value in values], values
        )

    def _values(
        self, kind: str, letters: str, numbers: list[str], known: Sequence[str | None], values: Sequence[str]
    ) -> list[str]:
        # `known` has the content of each cell of this kind, None where only text will do.
        cells = [
            f'<c r="{letters}{number}" {kind}><v>{value}</v></c>' if value else ""
            for number, value in zip(numbers, known, strict=True)
        ]
        if None in known:
            for index, value in enumerate(known):
                if value is None:
                    cells[index] = self.text(letters + numbers[index], values[index])
        return cells

    def _day(self, value: str) -> str | None:
        try:
            return self._days[value]
        except KeyError:
            if len(self._days) >= _DAYS_CACHED_MAX:
                self._days = {"": ""}
            known = self._days[value] = date_number(value)
            return known


def is_number(value: str) -> bool:
    """Whether this is a plain decimal number, or empty."""
    return not value or _NUMBER.fullmatch(value) is not None


def are_numbers(values: Sequence[str]) -> bool:
    """Whether all are plain, non-negative and short enough to be exact, or empty: told fast, never wrongly true."""
    joined = f",{','.join(values)},"
    digits = joined.replace(",", "").replace(".", "")
    if not digits:
        return "." not in joined
    if not digits.isdecimal() or not digits.isascii() or max(map(len, values)) > DIGITS_EXACT_MAX:
        return False
    if ",." in joined or ".," in joined:
        return False
    try:
        for value in filter(None, values):
            float(value)
    except ValueError:
        return False
    return True


def _or_as_they_came(texts: Sequence[str | None], values: Sequence[str]) -> list[str]:
    return [value if text is None else text for text, value in zip(texts, values, strict=True)]


def _is_exact(value: str) -> bool:
    return not value or (is_number(value) and len(Decimal(value).normalize().as_tuple().digits) <= DIGITS_EXACT_MAX)


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


def _escape(text: str) -> str:
    text = _ESCAPE_LOOKALIKE.sub("_x005F_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
