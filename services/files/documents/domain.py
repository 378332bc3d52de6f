"""What a document is made of: a template in a version, and the data its schema allows (41). Pure."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

CUT: Final = "…"
"""Ends a text that was too long for its place: what is left out is never left out silently."""
CELL_CHARACTERS_MAX: Final = 300
"""Of a cell of a report; what is longer is cut."""
LETTER_COLUMNS: Final = ("id", "name", "company", "owner_name")
"""What a letter needs to know of a customer."""
_FILE_NAME_CHARACTERS_MAX = 40
"""At most 160 bytes of UTF-8: file systems take 255."""


class DocumentFullError(Exception):
    """The data do not fit such a document; the message says what to do instead."""


class UnknownTemplateError(Exception):
    """There is no such template, or not in that version; the message names what there is."""


class Kind(StrEnum):
    """What a field of a document's data is: one text, a list of them, or rows of cells."""

    TEXT = "text"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema. Each text in it has at most `characters_max` characters, a list or row `items_max`."""

    kind: Kind
    characters_max: int
    items_max: int = 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a document was made by: enough to make it again. `sha256` is that of the template's files."""

    template: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What one renderer process may take, and what it makes."""

    rows_max: int = 2_000
    """Rows of a report."""
    characters_max: int = 1_000_000
    """Characters of all its cells, as they are shown: memory goes with them."""
    letters_max: int = 5_000
    """Documents of one batch."""
    pages_max: int = 500
    """Pages of one document."""
    memory_bytes_max: int = 1024**3
    cpu_s_max: int = 300


def fitted(data: Mapping[str, Any], schema: Mapping[str, Field]) -> tuple[dict[str, Any], int]:
    """The data with every text cut to its place, and how many were cut.

    Raises ValueError where the fields are not those of the schema, DocumentFullError where a list is too long.
    """
    if data.keys() != schema.keys():
        raise ValueError(f"the template takes {', '.join(sorted(schema))}, not {', '.join(sorted(data))}")
    cuts = 0

    def cut(text: str, characters_max: int) -> str:
        nonlocal cuts
        if len(text) <= characters_max:
            return text
        cuts += 1
        return text[: characters_max - 1] + CUT

    made: dict[str, Any] = {}
    for name, field in schema.items():
        value = data[name]
        match field.kind:
            case Kind.TEXT:
                made[name] = cut(value, field.characters_max)
            case Kind.LIST:
                made[name] = [cut(text, field.characters_max) for text in _within(name, value, field)]
            case Kind.TABLE:
                made[name] = [[cut(text, field.characters_max) for text in _within(name, row, field)] for row in value]
    return made, cuts


def _within(name: str, texts: Sequence[str], field: Field) -> Sequence[str]:
    if len(texts) > field.items_max:
        raise DocumentFullError(f"{name} has at most {field.items_max} entries in such a document.")
    return texts


def file_name(number: int, title: str) -> str:
    """The name of a customer's document in a batch: unique by its number, safe on every system, readable."""
    kept = (c if c.isalnum() else " " for c in unicodedata.normalize("NFC", title))
    name = " ".join("".join(kept).split())[:_FILE_NAME_CHARACTERS_MAX].strip()
    return f"{number:05}-{name or 'customer'}.pdf"
