"""One file by one engine, in this process: `python -m bench.exports.alone ENGINE DSN ROWS PATH` prints what it took.

It imports nothing but what the engine needs, and what reads the file back: its memory is the engine's.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.exports.readback import wrong_columns
from bench.exports.writers import ENGINES, Target


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine did."""

    engine: str
    rows: int
    rows_s: float
    cpu_rows_s: float
    peak_mb: float
    first_byte_ms: float
    size_mb: float
    wrong: tuple[str, ...]


async def write(engine: str, dsn: str, rows: int, path: Path) -> Run:
    """Writes one file and reads it back."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    target = Target(path)
    await ENGINES[engine][1](dsn, rows, target)
    target.close()
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    size_bytes = target.size_bytes
    peak_mb = _peak_mb()
    wrong = await wrong_columns(dsn, path)
    first_ms = (target.first_byte_s or took_s) * 1000
    return Run(engine, rows, rows / took_s, rows / cpu_s, peak_mb, first_ms, size_bytes / 2**20, tuple(wrong))


def _peak_mb() -> float:
    # Not getrusage's: that one keeps, over exec, what the process that started this one had.
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(kilobytes) / 1024


if __name__ == "__main__":
    _, name, address, count, place = sys.argv
    print(json.dumps(asdict(asyncio.run(write(name, address, int(count), Path(place))))))
