"""docs/exports.md and its plot, as the last run with `--write` found them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygal

from bench.exports.writers import ENGINES

_DOCS = Path(__file__).parents[2] / "docs"


def write(runs: Mapping[str, Any], peer: str, shipped: Any) -> None:
    """Both files."""
    sheets = [run for run in sorted(runs.values(), key=lambda run: -run.rows_s) if run.engine != "csv"]
    chart = pygal.HorizontalBar(
        style=pygal.style.CleanStyle,
        show_legend=False,
        js=[],  # a picture, which fetches nothing
        print_values=True,
        title="XLSX, rows a second from PostgreSQL",
        height=380,
    )
    chart.x_labels = [ENGINES[run.engine][0] for run in reversed(sheets)]
    chart.add("rows/s", [round(run.rows_s) for run in reversed(sheets)])
    chart.render_to_file(str(_DOCS / "exports.svg"))
    lines = [
        "# Export engines beside each other",
        "",
        "Written by `make bench-exports WRITE=1`: twelve mixed columns from PostgreSQL by a server-side cursor to a finished",
        "file, each engine in a process of its own, one run. Engines that hold the whole table in memory were given a tenth of",
        "the rows. A column is wrong where a cell of the first 200 rows has another value or type than the table: identifiers",
        "and phones with leading zeros, amounts, times to the millisecond, text that looks like a formula, markup or an escape.",
        "",
        "![Rows a second](exports.svg)",
        "",
        "| engine | rows | rows/s | ratio | peak memory, MB | first byte, ms | file, MB | wrong columns |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for run in (*sheets, runs["csv"]):
        ratio = "" if run.engine == "csv" else f"{run.rows_s / runs[peer].rows_s:.1f}"
        lines.append(
            f"| {ENGINES[run.engine][0]} | {run.rows:,} | {run.rows_s:,.0f} | {ratio} | {run.peak_mb:.0f} |"
            f" {run.first_byte_ms:.0f} | {run.size_mb:.0f} | {', '.join(run.wrong) or 'none'} |"
        )
    lines += [
        "",
        "The shipped path, leads -> gRPC -> files -> a file on the caller's disk, twelve columns of as many leads:",
        f"{shipped.export_rows_s:,.0f} rows/s. Alone on the same rows its stream makes {shipped.stream_rows_s:,.0f} rows/s, its",
        f"encoder {shipped.writer_rows_s:,.0f}; the path reaches {shipped.share:.2f} of the slower one.",
    ]
    (_DOCS / "exports.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
