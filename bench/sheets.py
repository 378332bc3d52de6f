"""The spreadsheet writers beside XlsxWriter's constant_memory mode: CPU rows a second, peak memory, first byte.

12 mixed columns as leads streams them, 1/10 of the rows for the slow peer. Every writer runs in a process of its own, in
turns, several times; the medians are printed as JSON lines.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

from breakwater.sheets import STANDARD, Column, ColumnType, CsvWriter, XlsxWriter, isal_deflate

BATCH = 500
COLUMNS = [
    ("id", "编号", "text"),
    ("name", "姓名", "text"),
    ("company", "公司", "text"),
    ("phone", "电话", "text"),
    ("email", "邮箱", "text"),
    ("city", "城市", "text"),
    ("stage", "阶段", "text"),
    ("visits", "次数", "integer"),
    ("budget", "预算", "decimal"),
    ("due_on", "截止日期", "date"),
    ("created_at", "创建时间", "datetime"),
    ("active", "有效", "boolean"),
]


def rows(count: int) -> Iterator[list[list[str]]]:
    """Batches of canonical rows, the same in every run."""
    batch = []
    for i in range(count):
        batch.append(
            [
                f"0197f3a{i:08x}-7000",
                f"王小{i % 1000}",
                f"上海测试科技有限公司{i % 5000}",
                f"138{i % 10**8:08}",
                f"user{i}@example.com",
                "310000",
                "contacted",
                str(i),
                f"{i % 100000}.{i % 100:02}",
                f"2026-{i % 12 + 1:02}-{i % 28 + 1:02}",
                f"2026-{i % 12 + 1:02}-{i % 28 + 1:02}T{i % 24:02}:{i % 60:02}:{i % 59:02}.{i % 10**6:06}Z",
                "true" if i % 3 else "false",
            ]
        )
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


class Clock:
    """CPU seconds spent in the writer only, and when its first byte came."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.first_byte_s: float | None = None
        self._started_s = time.perf_counter()

    def sink(self, data: bytes) -> None:
        if self.first_byte_s is None and data:
            self.first_byte_s = time.perf_counter() - self._started_s

    def spend(self, work: Callable[[], object]) -> object:
        started_s = time.process_time()
        result = work()
        self.cpu_s += time.process_time() - started_s
        return result


def ours(kind: str, count: int, clock: Clock) -> None:
    """xlsx_stdlib, xlsx_isal or csv."""
    columns = [Column(name, title, ColumnType(type_)) for name, title, type_ in COLUMNS]

    def start() -> CsvWriter | XlsxWriter:
        if kind == "csv":
            return CsvWriter(clock.sink, columns)
        return XlsxWriter(clock.sink, columns, deflate=isal_deflate() if kind == "xlsx_isal" else STANDARD)

    writer = clock.spend(start)
    for batch in rows(count):
        clock.spend(lambda batch=batch: writer.write_rows(batch))
    clock.spend(writer.close)


def xlsxwriter(count: int, clock: Clock, path: Path) -> None:
    """The peer, with the same types."""
    import xlsxwriter  # noqa: PLC0415

    book = xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_formulas": False})
    sheet = book.add_worksheet()
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    text = book.add_format({"num_format": "@"})
    for column, (_, title, _) in enumerate(COLUMNS):
        sheet.write_string(0, column, title)
    row = 0

    def write(batch: list[list[str]]) -> None:
        nonlocal row
        for values in batch:
            row += 1
            for column, (value, (_, _, type_)) in enumerate(zip(values, COLUMNS, strict=True)):
                match type_:
                    case "text":
                        sheet.write_string(row, column, value, text)
                    case "integer" | "decimal":
                        sheet.write_number(row, column, float(value))
                    case "date":
                        sheet.write_datetime(row, column, date.fromisoformat(value), day)
                    case "datetime":
                        local = datetime.fromisoformat(value).replace(tzinfo=None) + timedelta(hours=8)
                        sheet.write_datetime(row, column, local, moment)
                    case _:
                        sheet.write_boolean(row, column, value == "true")

    for batch in rows(count):
        clock.spend(lambda batch=batch: write(batch))
    clock.spend(book.close)


def run_one(kind: str, count: int) -> None:
    """Runs one writer here and prints what it took."""
    clock = Clock()
    if kind == "xlsxwriter":
        with tempfile.TemporaryDirectory() as folder:
            xlsxwriter(count, clock, Path(folder) / "peer.xlsx")
    else:
        ours(kind, count, clock)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    first_ms = None if clock.first_byte_s is None else clock.first_byte_s * 1000
    print(json.dumps({"rows_s": count / clock.cpu_s, "peak_mb": peak_mb, "first_byte_ms": first_ms}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=("xlsx_stdlib", "xlsx_isal", "csv", "xlsxwriter"))
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.rows)
        return
    kinds = {"xlsx_stdlib": 1, "xlsx_isal": 1, "csv": 1, "xlsxwriter": 10}
    seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind, share in kinds.items():
            command = [sys.executable, __file__, "--one", kind, "--rows", str(options.rows // share)]
            seen[kind].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    def median(kind: str, name: str) -> float:
        return statistics.median(run[name] for run in seen[kind])

    peer = median("xlsxwriter", "rows_s")
    for kind in ("xlsx_stdlib", "xlsx_isal", "csv"):
        rate = median(kind, "rows_s")
        beside = (
            ("XlsxWriter constant_memory", round(peer), round(rate / peer, 2)) if kind != "csv" else (None, None, None)
        )
        report(f"{kind}_cpu", rate, "rows/s", *beside)
        report(f"{kind}_peak", median(kind, "peak_mb"), "MB")
        report(f"{kind}_first_byte", median(kind, "first_byte_ms"), "ms")


def report(
    figure: str,
    value: float,
    unit: str,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio: float | None = None,
) -> None:
    line = {"bench": "sheets", "figure": figure, "value": round(value, 1), "unit": unit}
    print(json.dumps(line | {"peer": peer, "peer_value": peer_value, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
