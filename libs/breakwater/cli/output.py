"""Printing: JSON for programs, tables for people."""

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import click

STATE_COLOURS = {
    "ready": "green",
    "closed": "green",
    "completed": "green",
    "half-open": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "waiting": "red",
    "stopped": "red",
    "open": "red",
    "failed": "red",
}


def print_json(document: Any) -> None:
    """One line when it goes to a program, indented for a person."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(document, indent=indent, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table of plain columns; a cell that is a state has its colour on a terminal."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(_width(row[index]) for row in (headers, *cells)) for index in range(len(headers))]
    click.echo(_line(headers, widths, bold=True))
    for row in cells:
        click.echo(_line(row, widths))


def use_colour() -> bool:
    """NO_COLOR (no-color.org) and pipes want none; click looks at the latter by itself."""
    return "NO_COLOR" not in os.environ


def _line(row: Sequence[str], widths: Sequence[int], *, bold: bool = False) -> str:
    parts = []
    for text, width in zip(row, widths, strict=True):
        colour = STATE_COLOURS.get(text)
        shown = click.style(text, fg=colour, bold=bold) if use_colour() and (colour or bold) else text
        parts.append(shown + " " * (width - _width(text)))
    return "  ".join(parts).rstrip()


def _text(cell: Any) -> str:
    return "-" if cell is None or cell == "" else str(cell)


def _width(text: str) -> int:
    # Chinese characters take two columns.
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
