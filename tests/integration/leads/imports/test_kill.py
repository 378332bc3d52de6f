"""kill -9 for real: processes that work on one import, killed in the middle, one after the other."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breakwater.chassis.clock import SystemClock
from tests.integration.leads.imports.conftest import ADMIN

ROWS = 1_000
ROOT = Path(__file__).parents[4]
KILLS = 5


@pytest.fixture
async def process(postgres_server, platform):
    """Starts a process that works on the test's imports; none is left behind."""
    started: list[subprocess.Popen] = []
    name = await platform.leads.value("SELECT current_database()")
    url = f"postgresql://leads@{postgres_server.host}:{postgres_server.port}/{name}"
    password_file = postgres_server.password_file.with_name("leads.password")

    def start() -> subprocess.Popen:
        path = f"{ROOT / 'libs'}:{ROOT}"
        program = [sys.executable, Path(__file__).with_name("import_process.py")]
        arguments = [*program, url, password_file]
        started.append(subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": path}))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.capability(53, 70)
async def test_killed_processes_neither_lose_nor_double_a_row(platform, process, eventually):
    """Five processes are killed while rows go on; the sixth ends the import: every row is one lead, one assignment."""
    platform.leads.clock = SystemClock()
    content = "姓名,手机,来源\n" + "".join(f"客户{n},138{n:08d},{'展会' if n % 10 else ''}\n" for n in range(ROWS))
    started, _ = await platform.start(content.encode("gb18030"))
    done = 0

    async def further():
        rows_done = (await platform.imports.get(ADMIN, started.id)).rows_done
        return rows_done if rows_done > done else None

    for _ in range(KILLS):
        victim = process()
        done = await eventually(further, timeout_s=60)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert done < ROWS, "the import was over before the last process was killed"
    process()

    async def completed():
        found = await platform.imports.get(ADMIN, started.id)
        return found if found.state == "completed" else None

    found = await eventually(completed, timeout_s=60)
    taken = ROWS - ROWS // 10
    assert (found.rows_done, found.created, found.rejected) == (ROWS, taken, ROWS // 10)
    for table in ("leads", "customers", "assignments", "first_touch_timers"):
        assert await platform.leads.value(f"SELECT count(*) FROM {table}") == taken
    assert await platform.leads.value("SELECT count(DISTINCT phone) FROM leads") == taken
    assert await platform.leads.value("SELECT count(*) FROM import_rejections") == ROWS // 10
    reported = await platform.leads.rows(
        "SELECT x->>1 AS outcome, count(*) AS rows, count(DISTINCT x->>0) AS distinct_rows"
        " FROM import_reports, jsonb_array_elements(rows) AS x GROUP BY 1"
    )
    assert [tuple(row) for row in reported] == [("created", taken, taken)]
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%LeadAssigned'") == taken
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%ImportCompleted'") == 1
