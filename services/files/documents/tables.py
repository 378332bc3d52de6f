"""Rows as documents: one report of all of them, or a letter for each. Fed like any other encoder of an export."""

import hashlib
import json
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from io import RawIOBase
from typing import Any, Final

from breakwater.sheets import Column, ColumnType, Sink
from services.files.documents.domain import CELL_CHARACTERS_MAX, DocumentFullError, DocumentLimits, Stamp, file_name
from services.files.documents.renderer import Renderer

PROGRESS_EVERY: Final = 20
"""Letters after which progress is told."""
_WIDTH_MIN, _WIDTH_MAX = 5, 36
"""Of a column, in half-width characters: what is longer wraps."""
_PORTRAIT_WIDTH_MAX, _A4_WIDTH_MAX = 100, 170
"""Half-width characters of 8 pt that an upright page, and one on its side, has room for."""
_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.DECIMAL})
_BOOLEANS = {"true": "是", "false": "否"}


class Report:
    """One PDF of all rows."""

    def __init__(
        self,
        sink: Sink,
        renderer: Renderer,
        columns: Sequence[Column],
        *,
        title: str,
        facts: Sequence[Sequence[str]],
        zone: tzinfo,
        limits: DocumentLimits,
    ) -> None:
        self._sink = sink
        self._renderer = renderer
        self._columns = columns
        self._title = title
        self._facts = facts
        self._zone = zone
        self._limits = limits
        self._rows: list[list[str]] = []
        self._characters = 0

    def take(self, rows: Sequence[Sequence[str]]) -> Iterator[int]:
        """Adds rows. Raises DocumentFullError."""
        self._characters += sum(min(len(cell), CELL_CHARACTERS_MAX) for row in rows for cell in row)
        for count, most, what in (
            (len(self._rows) + len(rows), self._limits.rows_max, "rows"),
            (self._characters, self._limits.characters_max, "characters"),
        ):
            if count > most:
                raise DocumentFullError(
                    f"A PDF report has at most {most} {what}; narrow the filter, or ask for xlsx, which has them all."
                )
        kinds = [column.type for column in self._columns]
        self._rows += [[_shown(cell, kind, self._zone) for cell, kind in zip(row, kinds, strict=True)] for row in rows]
        yield len(rows)

    def close(self) -> None:
        """Sends the document. Raises DocumentFullError."""
        titles = [column.title for column in self._columns]
        widths = [
            min(_WIDTH_MAX, max(_WIDTH_MIN, _width(title), _usual_width([row[place] for row in self._rows])))
            for place, title in enumerate(titles)
        ]
        wide = sum(widths) + 2 * len(widths)
        self._sink(
            self._renderer.pdf(
                {
                    "title": self._title,
                    "facts": [*self._facts, ("行数", f"{len(self._rows):,}")],
                    "titles": titles,
                    "widths": [str(width + 2) for width in widths],
                    "aligns": ["right" if column.type in _NUMBERS else "left" for column in self._columns],
                    "paper": "portrait" if wide <= _PORTRAIT_WIDTH_MAX else "a4" if wide <= _A4_WIDTH_MAX else "a3",
                    "rows": self._rows,
                }
            )
        )


class Letters:
    """A ZIP with a PDF for each row and `manifest.json`: by what they were made, whose each is, and its hash."""

    def __init__(
        self, sink: Sink, renderer: Renderer, *, stamp: Stamp, letter: Mapping[str, Any], at: datetime, letters_max: int
    ) -> None:
        """`letter` is what all of them say: highlights, offer, offer_until. `at` is in the zone of those who read it."""
        self._renderer = renderer
        self._letter = letter
        self._at = at
        self._letters_max = letters_max
        # Without compression: a PDF is compressed already.
        self._archive = zipfile.ZipFile(_Unseekable(sink), "w", zipfile.ZIP_STORED)
        self._manifest: dict[str, Any] = {"document": asdict(stamp), "created_at": at.isoformat(), "letters": []}

    def take(self, rows: Sequence[Sequence[str]]) -> Iterator[int]:
        """Adds a letter for each row, of LETTER_COLUMNS. Raises DocumentFullError."""
        told = 0
        for number, row in enumerate(rows, start=1):
            self._add(*row)
            if number % PROGRESS_EVERY == 0 or number == len(rows):
                yield number - told
                told = number

    def close(self) -> None:
        """Ends the archive with its manifest."""
        self._write("manifest.json", json.dumps(self._manifest, ensure_ascii=False, indent=1).encode())
        self._archive.close()

    def _add(self, customer_id: str, name: str, company: str, owner: str) -> None:
        letters = self._manifest["letters"]
        if len(letters) >= self._letters_max:
            raise DocumentFullError(f"A batch has at most {self._letters_max} letters; narrow the filter.")
        document = self._renderer.pdf(
            {
                **self._letter,
                "customer": company or name,
                "contact": name,
                "owner": owner,
                "date": f"{self._at:%Y-%m-%d}",
                "number": customer_id,
            }
        )
        file = file_name(len(letters) + 1, company or name)
        self._write(file, document)
        letters.append({"file": file, "customer_id": customer_id, "sha256": hashlib.sha256(document).hexdigest()})

    def _write(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, (self._at.year, self._at.month, self._at.day, self._at.hour, self._at.minute, 0))
        entry.external_attr = 0o600 << 16
        self._archive.writestr(entry, content)


class _Unseekable(RawIOBase):
    """A sink as the file that zipfile writes to from beginning to end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sink(bytes(data))
        return len(data)


def _shown(cell: str, kind: ColumnType, zone: tzinfo) -> str:
    if kind is ColumnType.DATETIME and cell:
        try:
            return f"{datetime.fromisoformat(cell).astimezone(zone):%Y-%m-%d %H:%M}"
        except (ValueError, OverflowError):
            return cell
    return _BOOLEANS.get(cell, cell) if kind is ColumnType.BOOLEAN else cell


def _usual_width(cells: Sequence[str]) -> int:
    # Nine of ten fit; the odd long one wraps.
    widths = sorted(map(_width, cells))
    return widths[len(widths) * 9 // 10] if widths else 0


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
