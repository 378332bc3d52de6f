"""An import as a thing: its states, limits, and the rows it had to refuse. Pure."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from breakwater.chassis.errors import FieldError

RAW_CHARS_MAX = 2_000
"""Of a rejected row that are kept (leads.proto, Rejection.raw)."""
REASON_CHARS_MAX = 1_000


class ImportState(StrEnum):
    """Where an import stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How much one import may bring and how it is worked on."""

    file_bytes_max: int = 64 * 1024 * 1024
    piece_bytes_max: int = 1024 * 1024
    """Of the file in one message and in one row of the database."""
    unpacked_bytes_max: int = 512 * 1024 * 1024
    """Of an XLSX file; more is taken for a zip bomb."""
    files_received_max: int = 4
    """At once in one process; each is in memory."""
    rows_max: int = 1_000_000
    columns_max: int = 500
    record_chars_max: int = 131_072
    """Of one row; a longer one is taken for a quote that never closes."""
    chunk_rows: int = 500
    """Rows that share a transaction."""
    lease_s: float = 3.0
    """How long a replica that went silent keeps its import."""
    idle_poll_s: float = 1.0
    """Between looks for an import whose replica died."""


@dataclass(frozen=True, slots=True)
class FileShape:
    """How a stored file is to be read. `format`: csv or xlsx; a workbook has neither encoding nor delimiter."""

    format: str
    encoding: str
    delimiter: str


@dataclass(frozen=True, slots=True)
class Import:
    """An import and how far it is."""

    id: str
    state: ImportState
    dataset: str
    mapping: str
    filename: str
    started_by: str
    rows: int
    rows_done: int
    created: int
    merged: int
    rejected: int
    unlinked: int
    failure: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not imported, and why."""

    row: int
    field: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class ReportedRow:
    """What became of one row of a file (70)."""

    row: int
    outcome: str
    """created, merged, recorded, unlinked (kept, but its customer is not known yet) or rejected."""
    id: str
    """Of the lead, customer, person or record it is now; empty for a refused one."""
    field: str = ""
    reason: str = ""


def reject(row: int, raw: Sequence[str] | str, errors: Sequence[FieldError]) -> Rejection:
    """One rejection for the row, given as cells or as the line it came in: the first field, all reasons."""
    reason = "; ".join([errors[0].reason, *(f"{error.field}: {error.reason}" for error in errors[1:])])
    line = raw if isinstance(raw, str) else _line_of(raw)
    return Rejection(row, errors[0].field, _storable(reason)[:REASON_CHARS_MAX], _storable(line)[:RAW_CHARS_MAX])


def _line_of(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _storable(text: str) -> str:
    # PostgreSQL's text holds no NUL.
    return text.replace("\x00", "\ufffd")
