"""Rows of many, taken by column: packed text goes to the fast tier of `breakwater.sheets` without a Python object a cell.

Imported where it is needed only: polars alone takes a fifth of a second to load.
"""

from typing import Any

import polars as pl

from breakwater.sheets import XlsxWriter
from services.files.exports.frames import CELL_END, ROW_END

GATHERED_ROWS = 5_000
"""The fast tier works on so many at a time; they come by hundreds."""


class PackedTable:
    """Gathers packed rows (leads.proto, StreamDatasetResponse.packed_rows) into batches of columns for a writer."""

    def __init__(self, writer: XlsxWriter) -> None:
        self._writer = writer
        self._chunks: list[bytes] = []
        self._rows = 0

    def take(self, chunk: bytes) -> int:
        """Adds the rows of a chunk; how many there were."""
        rows = chunk.count(ROW_END.encode())
        self._chunks.append(chunk)
        self._rows += rows
        if self._rows >= GATHERED_ROWS:
            self.flush()
        return rows

    def flush(self) -> None:
        """Writes what waits."""
        if self._rows:
            self._writer.write_columns(columns_of(b"".join(self._chunks)))
            self._chunks, self._rows = [], 0


def columns_of(packed: bytes) -> list[Any]:
    """The columns of packed rows, as they came: a Series of polars each.

    Not by a reader of CSV, which is twice as fast and takes a carriage return at the end of a row, or a byte order mark at
    the beginning, for its own.
    """
    # As bytes: a text of Python would be decoded to be encoded again.
    rows = (
        pl.Series([packed.removesuffix(ROW_END.encode())], dtype=pl.Binary).cast(pl.String).str.split(ROW_END).explode()
    )
    last = rows[0].count(CELL_END)
    return rows.str.split_exact(CELL_END, last).struct.unnest().get_columns()
