"""CSV files into rows of text: encodings, delimiters, and rows that may be broken.

Nothing here trusts a file: what cannot be read as a whole raises InvalidRequestError naming `file`; what cannot be read
as a row is handed on as `Broken`, and reading goes on at the next line.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.mapping import Mapping, fold

PREAMBLE_ROWS_MAX = 50
"""Rows of instructions above a header."""
_SAMPLE_LINES = 2_000
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LINE_WITH_HIGH_BYTES = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the text of a file is to be read."""

    encoding: str
    delimiter: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is no row."""

    line: str
    reason: str


Row = tuple[int, list[str] | Broken]
"""Row number as people count (the first line is row 1) and the cells."""


def unreadable(reason: str) -> InvalidRequestError:
    """The file as a whole cannot be taken."""
    return InvalidRequestError(f"The file cannot be read: it {reason}.", errors=[FieldError("file", reason)])


def layout_of(content: bytes, mapping: Mapping) -> Layout:
    """Encoding and delimiter of a CSV file, as the mapping says or found out."""
    encoding = encoding_of(content) if mapping.encoding == "auto" else _decodable(content, mapping.encoding)
    if mapping.delimiter != "auto":
        return Layout(encoding, mapping.delimiter)
    return Layout(encoding, _delimiter_of(content, encoding, mapping))


def encoding_of(content: bytes) -> str:
    """The encoding of a text: its byte-order mark; UTF-8 if it is that; GB18030 if it reads as Chinese.

    A file that is UTF-8 but for a few lines stays UTF-8, and those lines are refused one by one.
    """
    for mark, name in _BOMS.items():
        if content.startswith(mark):
            return _decodable(content, name)
    head = content[:65_536]
    if head.count(0) * 10 > len(head):
        raise unreadable("is no text (UTF-16 needs a byte-order mark)")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    sample = [match[0] for _, match in zip(range(_SAMPLE_LINES), _LINE_WITH_HIGH_BYTES.finditer(content), strict=False)]
    good_utf8, good_gb = sum(map(_is_utf8, sample)), sum(map(_is_chinese, sample))
    if good_gb * 10 >= len(sample) * 9 and good_gb > good_utf8:
        return "gb18030"
    if good_utf8 * 2 >= len(sample) or len(sample) * 10 <= content.count(b"\n"):
        return "utf-8"
    raise unreadable("is neither UTF-8 nor GB18030 nor UTF-16 with a byte-order mark; name its encoding in a mapping")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_chinese(line: bytes) -> bool:
    # Western text in a one-byte code decodes as GB18030 too, but to rare characters outside GB 2312.
    try:
        wide = [char for char in line.decode("gb18030") if char > "\x7f"]
    except UnicodeDecodeError:
        return False
    return len("".join(wide).encode("gb2312", "ignore")) >= len(wide)


def _decodable(content: bytes, encoding: str) -> str:
    try:
        head = content[: 65_536 if len(content) > 65_536 else None]  # noqa: PLR2004
        text = head.decode(encoding, "replace")
    except UnicodeError:
        raise unreadable(f"is not in {encoding}") from None
    if text.count("\ufffd") * 10 > len(text):
        raise unreadable(f"is not in {encoding}")
    return encoding


def _delimiter_of(content: bytes, encoding: str, mapping: Mapping) -> str:
    wanted = {fold(column.header) for column in mapping.columns}

    def fit(delimiter: str) -> tuple[int, int]:
        layout = Layout(encoding, delimiter)
        try:
            _, headers = header_of(csv_rows(io.BytesIO(content), layout, ImportLimits(), mapping))
        except InvalidRequestError:
            if not mapping.preamble:
                raise
            return 0, 0
        return sum(fold(header) in wanted for header in headers), len(headers)

    return max((",", ";", "\t"), key=fit)


def csv_rows(content: BinaryIO, layout: Layout, limits: ImportLimits, mapping: Mapping | None = None) -> Iterator[Row]:
    """Every row that is not blank. A row that cannot be read is `Broken`, and the line after it is tried as a row.

    With a mapping of files that begin with instructions, rows above the header are left out; raises
    InvalidRequestError when none of the first `PREAMBLE_ROWS_MAX` is the header.
    """
    preamble = mapping if mapping is not None and mapping.preamble else None
    lines = _Lines(io.TextIOWrapper(content, layout.encoding, errors="replace", newline=""), limits.record_chars_max)
    number, width = 0, 0
    reader = lines.reader(layout.delimiter)
    while True:
        lines.begin_row()
        try:
            cells, reason = _cells_of(reader, limits)
        except StopIteration:
            return
        number += 1
        if preamble is not None:
            if reason or not preamble.is_header(cells):
                if number >= PREAMBLE_ROWS_MAX:
                    raise unreadable(f"has no header within its first {PREAMBLE_ROWS_MAX} rows")
                continue
            preamble = None
        # A row over several lines with a wrong number of cells has swallowed others: a quote opened by mistake.
        if not reason and len(lines.taken) > 1 and width and len(cells) != width:
            reason = "has a quote that does not close on its line"
        if reason:
            first, *rest = lines.taken
            lines.give_back(rest)
            reader = lines.reader(layout.delimiter)
            yield number, Broken(first.rstrip("\r\n"), reason)
        elif any(cells):
            width = width or len(cells)
            yield number, _checked(cells, lines.taken)


def _cells_of(reader: Iterator[list[str]], limits: ImportLimits) -> tuple[list[str], str]:
    """The next row, or why it is none; raises StopIteration behind the last."""
    try:
        return next(reader), ""
    except _RecordTooLongError:
        return [], f"is longer than {limits.record_chars_max} characters; does a quote not close?"
    except csv.Error as error:
        return [], _reason_of(error)


def _checked(cells: list[str], taken: Sequence[str]) -> list[str] | Broken:
    for line in taken:
        if "\x00" in line:
            return Broken(line.rstrip("\r\n"), "holds a NUL character")
        if "\ufffd" in line:
            return Broken(line.rstrip("\r\n"), "holds bytes that are no characters in the file's encoding")
    return cells


def _reason_of(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "has a quote that does not close"
    if "field larger" in text:
        return "has a cell that is too long"
    return "has text after a closing quote"


class _RecordTooLongError(Exception):
    """A row went on past its limit."""


class _Lines:
    """The lines of a text, with those of the present row kept so that they can be given back."""

    def __init__(self, text: io.TextIOWrapper, chars_max: int) -> None:
        self._text = text
        self._chars_max = chars_max
        self._back: deque[str] = deque()
        self._chars = 0
        self.taken: list[str] = []

    def begin_row(self) -> None:
        self.taken.clear()
        self._chars = 0

    def reader(self, delimiter: str) -> "Iterator[list[str]]":
        return csv.reader(self, delimiter=delimiter, strict=True, skipinitialspace=True)

    def give_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._text.readline()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._chars += len(line)
        if self._chars > self._chars_max:
            raise _RecordTooLongError
        return line


def header_of(rows: Iterator[Row]) -> tuple[int, list[str]]:
    """The first row with its number; raises InvalidRequestError when there is none."""
    for number, cells in rows:
        if isinstance(cells, Broken):
            raise unreadable(f"has a header that {cells.reason}")
        return number, cells
    raise unreadable("is empty")
