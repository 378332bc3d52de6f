"""`make bench-documents`: 1,000 renewal reminders and a report of 2,000 rows by the encoder process as it is shipped.

Documents a second from the first row handed over to the end of the file, CPU, peak memory of the process, size. Medians of three
runs, one JSON line a figure. Every tenth customer has a rare character, an emoji or a very long name. `--write` also writes
docs/documents.md and its pictures, rendered by Poppler.
"""

import argparse
import asyncio
import io
import json
import os
import random
import resource
import statistics
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1 import leads_pb2
from services.files.documents.domain import LETTER_COLUMNS
from services.files.exports.domain import Job, JobState, Letter, Progress, Spec
from services.files.exports.encoding import ProcessEncoder

RUNS = 3
LETTERS, ROWS = 1_000, 2_000
LETTER = Letter(
    (
        "本年度登录 128 次，团队使用率位居同业前 10%",
        "下载产品手册 9 份，完成 3 次联合演练",
        "服务可用率 99.98 %，满意度 98 分 😀",
    ),
    "12 月内续签三年，享八折优惠，并赠送两个月服务与一次现场培训。",
    "2026-12-31",
)
AT = datetime(2026, 11, 27, tzinfo=UTC)
ODD = ("𠮷野家", "龚䶮", "李雷😀", "东·阿不都热依木·买买提明", "𪚥", '#read("/etc/passwd")', "王" * 60, "עברית العربية")
_DOCS = Path(__file__).parents[1] / "docs"
_TEXT, _TIME, _DECIMAL = (
    leads_pb2.COLUMN_TYPE_TEXT,
    leads_pb2.COLUMN_TYPE_DATETIME,
    leads_pb2.COLUMN_TYPE_DECIMAL,
)
REPORT = [
    ("name", "姓名", _TEXT),
    ("company", "公司", _TEXT),
    ("phone", "手机", _TEXT),
    ("email", "邮箱", _TEXT),
    ("source", "来源", _TEXT),
    ("stage", "阶段", _TEXT),
    ("owner_name", "负责人", _TEXT),
    ("created_at", "创建时间", _TIME),
    ("budget", "预算（元）", _DECIMAL),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One file made."""

    took_s: float
    cpu_s: float
    peak_mb: float
    content: bytes


def customers() -> list[list[str]]:
    """Rows of LETTER_COLUMNS."""
    chance = random.Random(6)
    rows = []
    for number in range(LETTERS):
        name = chance.choice("王李张刘陈杨赵黄周吴") + chance.choice(["芳", "伟", "娜", "秀英", "敏", "静", "建国"])
        place, trade = (
            chance.choice(["华东", "苏州", "宁波", "深圳"]),
            chance.choice(["注塑机械", "精密模具", "医疗器械"]),
        )
        company = f"{place}{trade}{number}有限公司"
        if number % 10 == 0:
            name = ODD[number // 10 % len(ODD)]
        rows.append([f"0197f3a0-0000-7000-8000-{number:012}", name, company, "王芳"])
    return rows


def leads() -> list[list[str]]:
    """Rows of REPORT."""
    chance = random.Random(7)
    rows = []
    for number, (_, name, company, owner) in enumerate(customers() * (ROWS // LETTERS)):
        stage = chance.choice(["new", "contacted", "qualified"])
        mail, budget = f"user{number}@example{number % 9}.com", f"{chance.randrange(1_000_000)}.50"
        at = f"2026-11-{1 + number % 27:02}T{number % 24:02}:15:00Z"
        rows.append([name, company, f"138{number:08}", mail, "网站", stage, owner, at, budget])
    return rows


def packed(rows: list[list[str]], columns: list[tuple[str, str, Any]]) -> Iterator[bytes]:
    """As leads sends them."""
    described = [leads_pb2.Column(name=name, title=title, type=type_) for name, title, type_ in columns]
    yield leads_pb2.StreamDatasetResponse(columns=described, rows_total=len(rows)).SerializeToString()
    for start in range(0, len(rows), 500):
        text = "".join("\x1f".join(row) + "\x1e" for row in rows[start : start + 500])
        yield leads_pb2.StreamDatasetResponse(packed_rows=text.encode()).SerializeToString()


async def made(spec: Spec, messages: list[bytes]) -> Run:
    """One file by an encoder process of its own."""

    async def source() -> Any:
        for message in messages:
            yield message

    job = Job("bench", Actor("1001", Role.MANAGER, Scope.ALL), spec, JobState.RUNNING, requested_at=AT)
    encoder = ProcessEncoder(zone="Asia/Shanghai", memory_bytes_max=512 * 1024**2, clock=SystemClock())
    ended, peaks = threading.Event(), [0.0]
    watching = threading.Thread(target=_watch, args=(ended, peaks))
    watching.start()
    began_s, began_cpu_s = time.perf_counter(), _cpu_s()
    content = b"".join([piece async for piece in encoder.encode(job, source(), Progress())])
    took_s = time.perf_counter() - began_s
    ended.set()
    watching.join()
    return Run(took_s, _cpu_s() - began_cpu_s, max(peaks), content)


def _cpu_s() -> float:
    # Of processes that have ended: the encoder is waited for before its last piece is taken.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(ended: threading.Event, peaks: list[float]) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    while not ended.wait(0.02):
        for pid in children.read_text().split():
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]


def median(runs: list[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)


def report(figure: str, value: float, unit: str) -> None:
    """One line."""
    line = {"bench": "documents", "figure": figure, "value": round(value, 2), "unit": unit}
    print(json.dumps(line | {"peer": None, "peer_value": None, "ratio": None}), flush=True)


def picture(pdf: bytes, name: str, page: int = 1) -> int:
    """Renders a page into docs/documents; how many pages the document has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "document.pdf"
        path.write_bytes(pdf)
        target = _DOCS / "documents" / name
        pages = ["-f", str(page), "-l", str(page), "-singlefile"]
        subprocess.run(["pdftoppm", "-png", "-r", "72", *pages, str(path), str(target)], check=True)
        told = subprocess.run(["pdfinfo", str(path)], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pages:"))


def write(letters: list[Run], reports: list[Run]) -> None:
    """docs/documents.md."""
    archive = zipfile.ZipFile(io.BytesIO(letters[0].content))
    names = archive.namelist()
    picture(archive.read(names[1]), "letter")
    picture(archive.read(names[40]), "letter-missing")
    picture(archive.read(names[60]), "letter-long")
    pages = picture(reports[0].content, "report")
    picture(reports[0].content, "report-last", pages)
    rows = [
        ("renewal reminders, one PDF each, in a ZIP", LETTERS, letters),
        (f"a report, {pages} pages of {len(REPORT)} columns", ROWS, reports),
    ]
    table = "\n".join(
        f"| {title} | {count:,} | {(took_s := median(runs, lambda run: run.took_s)):.1f} | {count / took_s:.0f} "
        f"| {median(runs, lambda run: run.cpu_s) / count * 1_000:.1f} "
        f"| {median(runs, lambda run: run.peak_mb):.0f} | {median(runs, lambda run: len(run.content)) / 1e6:.1f} |"
        for title, count, runs in rows
    )
    (_DOCS / "documents.md").write_text(
        f"""# Documents: figures and pages

Written by `make bench-documents WRITE=1`: by the encoder process of files as it is shipped, rows in, file out; medians of {RUNS}
runs. The machine of two cores was busy with other work, so of the times trust that of the CPU. Every tenth customer has a rare
character, an emoji, a very long name or hostile text.

| | documents or rows | seconds | a second | CPU, ms each | peak memory of the process, MB | file, MB |
|---|---:|---:|---:|---:|---:|---:|
{table}

The start of the process and the reading of the fonts are in the seconds.

## A reminder
![A reminder](documents/letter.png)

A character that no font has stands as its number:

![A reminder with a character that no font has](documents/letter-missing.png)

A name that is too long for a line:

![A reminder to a customer with a long name](documents/letter-long.png)

## A report
![The first page of a report](documents/report.png)

![The last page of a report](documents/report-last.png)
""",
        encoding="utf-8",
    )


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="docs/documents.md and its pictures as well")
    options = parser.parse_args()
    columns = [(name, name, _TEXT) for name in LETTER_COLUMNS]
    renewals = list(packed(customers(), columns))
    letters = [asyncio.run(made(Spec("renewals", "pdf", letter=LETTER), renewals)) for _ in range(RUNS)]
    rows = list(packed(leads(), REPORT))
    reports = [asyncio.run(made(Spec("leads", "pdf"), rows)) for _ in range(RUNS)]
    report("renewals_1k", LETTERS / median(letters, lambda run: run.took_s), "documents/s")
    report("renewals_1k_cpu", median(letters, lambda run: run.cpu_s) / LETTERS * 1_000, "ms a document")
    report("renewals_1k_peak", median(letters, lambda run: run.peak_mb), "MB")
    report("renewals_1k_size", median(letters, lambda run: len(run.content)) / 1e6, "MB")
    report("report_2k", median(reports, lambda run: run.took_s), "s")
    report("report_2k_cpu", median(reports, lambda run: run.cpu_s), "s")
    report("report_2k_peak", median(reports, lambda run: run.peak_mb), "MB")
    report("report_2k_size", median(reports, lambda run: len(run.content)) / 1e6, "MB")
    if options.write:
        write(letters, reports)


if __name__ == "__main__":
    main()
