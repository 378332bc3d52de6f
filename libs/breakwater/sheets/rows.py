"""Rows of an XLSX sheet, a batch at a time: what every tier of encoder does, and the one that needs nothing else."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol
from zoneinfo import ZoneInfo

from breakwater.sheets.cells import CellEncoder
from breakwater.sheets.columns import BATCH_CELLS, Column
from breakwater.sheets.times import ZoneTimes
from breakwater.sheets.xlsx_parts import column_letters


class RowEncoder(Protocol):
    """Encodes batches; `batch_cells` is how many cells it likes at a time, `cells_cut` counts those it had to cut."""

    batch_cells: int

    @property
    def cells_cut(self) -> int: ...

    def encode(self, first: int, batch: Sequence[Sequence[str]], /) -> bytes:
        """The `<row>` elements of a batch given by column in canonical texts; `first` is the number of its first row."""
        ...


class PlainRows:
    """With the standard library alone."""

    batch_cells = BATCH_CELLS

    def __init__(self, columns: Sequence[Column], zone: ZoneInfo) -> None:
        self._cells = CellEncoder(ZoneTimes(zone))
        self._encoders = [(self._cells.of(column.type), column_letters(n)) for n, column in enumerate(columns)]

    @property
    def cells_cut(self) -> int:
        """So many were longer than a cell may be."""
        return self._cells.cells_cut

    def encode(self, first: int, batch: Sequence[Sequence[str]]) -> bytes:
        """See `RowEncoder`."""
        numbers = list(map(str, range(first, first + len(batch[0]))))
        cells = [
            encode(letters, numbers, values) for (encode, letters), values in zip(self._encoders, batch, strict=True)
        ]
        starts = [f'<row r="{number}">' for number in numbers]
        return "</row>".join(map("".join, zip(starts, *cells, strict=True))).encode() + b"</row>"


def vector_rows() -> Callable[[Sequence[Column], ZoneInfo], RowEncoder]:
    """The fast one. Raises ImportError where the `polars` wheel is not installed."""
    if find_spec("polars") is None:
        raise ImportError("vector_rows needs the polars wheel")
    return _vector_rows


def _vector_rows(columns: Sequence[Column], zone: ZoneInfo) -> RowEncoder:
    # It takes a fifth of a second to load: the first bytes of the file are on their way by then.
    from breakwater.sheets.vectors import VectorRows  # noqa: PLC0415

    return VectorRows(columns, zone)
