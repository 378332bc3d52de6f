"""`make bench-exports`: files of twelve mixed columns from PostgreSQL, each engine in a process of its own, in one run.

Rows a second from the first row asked for to the end of the file, peak memory, first byte, and whether the file shows what
is in the table. The ratio of each figure is to asyncpg's cursor -> XlsxWriter in its mode of constant memory. One JSON line
a figure; `--write` also writes docs/exports.md and its plot.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.exports import page, source, whole
from bench.exports.alone import Run
from bench.exports.writers import ENGINES
from breakwater.local.postgres import PostgresServer
from breakwater.local.secret_files import secret_text
from breakwater.sheets import CsvWriter

OURS = ("xlsx_fast", "xlsx_stdlib", "csv")
PEER = "xlsxwriter"
AIMS = {
    "xlsx_fast": {"ratio": 15.0, "peak_mb": 250.0, "first_byte_ms": 150.0},
    "xlsx_stdlib": {"ratio": 5.0, "peak_mb": 80.0},
    "csv": {"first_byte_ms": 50.0},
}
"""Issue 6, What must be shown, 1 and 2."""
CSV_ROWS_S_MIN = 150_000
SHARE_MIN = 0.6
IN_MEMORY = frozenset({"pyexcelerate", "polars", "rustpy"})
"""They hold the whole table, and are given a tenth of it."""


def run(engine: str, dsn: str, rows: int, folder: Path) -> Run:
    """Writes one file in a process of its own."""
    path = folder / ("file.csv" if engine == "csv" else "file.xlsx")
    command = [sys.executable, "-m", "bench.exports.alone", engine, dsn, str(rows), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path.unlink(missing_ok=True)
    if done.returncode:
        raise SystemExit(f"{engine}: {done.stderr}")
    found = json.loads(done.stdout)
    return Run(**{**found, "wrong": tuple(found["wrong"])})


def csv_writer(rows: int = 200_000) -> float:
    """CPU rows a second of the CSV writer itself, over rows in memory: its guard, no database."""
    texts = ["0197f3a0", "王小明", "上海测试科技有限公司", "013800138000", "a@example.com", "310000", "contacted"]
    row = [*texts, "17", "1234.50", "2026-01-05", "2026-01-05T01:30:00.250000Z", "true"]
    writer, began_s = CsvWriter(len, source.COLUMNS), time.process_time()
    for _ in range(rows // 500):
        writer.write_rows([row] * 500)
    writer.close()
    return rows / (time.process_time() - began_s)


def report(figure: str, value: float, unit: str, *, aim: float | None = None, ratio: float | None = None) -> None:
    """One line."""
    peer = ENGINES[PEER][0] if ratio is not None else None
    line = {"bench": "exports", "figure": figure, "value": round(value, 2), "unit": unit, "aim": aim, "peer": peer}
    print(json.dumps(line | {"ratio": ratio and round(ratio, 2)}), flush=True)


def _size(rows: int) -> str:
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1_000}k"


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="docs/exports.md and docs/exports.svg as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = PostgresServer(folder / "server", password_file=folder / "password", log_file=folder / "log")
        server.start()
        try:
            dsn = server.dsn(password=secret_text(folder / "password"))
            asyncio.run(source.create(dsn, options.rows))
            runs = {
                engine: run(engine, dsn, options.rows // 10 if engine in IN_MEMORY else options.rows, folder)
                for engine in ENGINES
            }
        finally:
            server.close()
    peer = runs[PEER]
    for engine, seen in runs.items():
        size = _size(seen.rows)
        aims = AIMS.get(engine, {})
        ratio = None if engine in {PEER, "csv"} else seen.rows_s / peer.rows_s
        report(f"{engine}_{size}", seen.rows_s, "rows/s", aim=aims.get("ratio"), ratio=ratio)
        report(f"{engine}_{size}_peak", seen.peak_mb, "MB", aim=aims.get("peak_mb"))
        report(f"{engine}_{size}_first_byte", seen.first_byte_ms, "ms", aim=aims.get("first_byte_ms"))
        report(f"{engine}_{size}_wrong_columns", len(seen.wrong), "columns", aim=0 if engine in OURS else None)
    shipped = whole.measure(options.rows)
    size = _size(options.rows)
    report(f"export_e2e_{size}", shipped.export_rows_s, "rows/s")
    report(f"export_e2e_{size}_stream", shipped.stream_rows_s, "rows/s")
    report(f"export_e2e_{size}_writer", shipped.writer_rows_s, "rows/s")
    report(f"export_e2e_{size}_share_of_its_limit", shipped.share, "share", aim=SHARE_MIN)
    report("csv_writer", csv_writer(), "CPU rows/s", aim=CSV_ROWS_S_MIN)
    if options.write:
        page.write(runs, PEER, shipped)


if __name__ == "__main__":
    main()
