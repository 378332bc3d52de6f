"""The local export engine: a child process of the gateway that turns rows on its standard input into a file.

Nothing but the standard library and `breakwater.sheets` is imported, and `cryptography` for a file behind a password, so it
starts in tens of milliseconds and can be bounded hard: address space, CPU seconds, file size and open files are limited
before the first row, and the end of the input without its end mark, as when the gateway was killed, leaves no file behind.
A password comes with the order and is nowhere else; what waits to be encrypted whole waits encrypted, beside the target.

Input, one JSON document a line: an order, chunks (`[[cell, ...], ...]`), and `{"end": true}`. Output, one line:
`{"rows", "size_bytes", "sha256"}` or `{"code", "detail"}` with exit status 3.
"""

import hashlib
import json
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from breakwater.sheets import Column, ColumnType, CsvWriter, FileFullError, Note, Sink, XlsxWriter

if TYPE_CHECKING:
    from breakwater.sheets.encryption import EncryptedPackage

_OPEN_FILES_MAX = 32
_REFUSED = 3


class OrderRefusedError(Exception):
    """The file cannot be made; `code` is one of `chassis.errors`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def main() -> int:
    """Makes one file and says what came of it."""
    order = json.loads(sys.stdin.buffer.readline())
    _bound(order["limits"])
    target = Path(order["path"])
    partial = target.with_suffix(".partial")
    try:
        made = _make(order, sys.stdin.buffer, partial)
        partial.replace(target)
    except (OrderRefusedError, FileFullError, OSError, MemoryError) as error:
        code, detail = _in_words(error)
        sys.stdout.write(json.dumps({"code": code, "detail": detail}))
        return _REFUSED
    finally:
        partial.unlink(missing_ok=True)
    sys.stdout.write(json.dumps(made))
    return 0


def _bound(limits: dict[str, int]) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory_bytes_max"]),
        (resource.RLIMIT_CPU, limits["cpu_s_max"]),
        (resource.RLIMIT_FSIZE, limits["file_size_bytes_max"]),
        (resource.RLIMIT_NOFILE, _OPEN_FILES_MAX),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _make(order: dict[str, Any], lines: BinaryIO, partial: Path) -> dict[str, Any]:
    rows_max: int = order["limits"]["rows_max"]
    digest = hashlib.sha256()
    with partial.open("xb") as file:

        def sink(piece: bytes) -> None:
            file.write(piece)
            digest.update(piece)

        package = _package(order, sink, partial.parent)
        writer = _writer(order, package.write if package else sink)
        rows, ended = 0, False
        for line in lines:
            chunk = json.loads(line)
            if isinstance(chunk, dict):
                ended = True
                break
            rows += len(chunk)
            if rows > rows_max:
                raise OrderRefusedError("payload_too_large", f"the local engine makes at most {rows_max} rows")
            writer.write_rows(chunk)
        if not ended:
            raise OrderRefusedError("unavailable", "the rows broke off")
        # Not synced to disk: a lesser file that a power cut takes is asked for again, a slow disk keeps people waiting.
        summary = writer.close()
        if package is not None:
            package.close()
        size_bytes = file.tell()
    return {"rows": summary.rows, "size_bytes": size_bytes, "sha256": digest.hexdigest()}


def _package(order: dict[str, Any], sink: Sink, directory: Path) -> "EncryptedPackage | None":
    if order["password"] is None:
        return None
    # Only now: this process has it on its path when a password comes.
    from breakwater.sheets.encryption import EncryptedPackage  # noqa: PLC0415

    size_bytes_max: int = order["limits"]["file_size_bytes_max"]
    return EncryptedPackage(sink, order["password"], spool_dir=str(directory), size_bytes_max=size_bytes_max)


def _writer(order: dict[str, Any], sink: Sink) -> XlsxWriter | CsvWriter:
    columns = [Column(name, title, ColumnType(kind)) for name, title, kind in order["columns"]]
    if order["format"] == "csv":
        return CsvWriter(sink, columns, encoding=order["encoding"])
    note = Note(order["note"]["headline"], [(label, text) for label, text in order["note"]["rows"]])
    return XlsxWriter(sink, columns, sheet_title=order["sheet_title"], note=note)


def _in_words(error: Exception) -> tuple[str, str]:
    match error:
        case OrderRefusedError():
            return error.code, error.detail
        case MemoryError():
            return "payload_too_large", "the local engine reached its memory limit"
        case FileFullError():
            return "payload_too_large", "the file is larger than the format allows"
        case _:
            return "unavailable", "the local engine could not write its file"


if __name__ == "__main__":
    raise SystemExit(main())
