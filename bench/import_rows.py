"""Rows a second of an import, counted when assigned: `python -m bench.import_rows [--rows 20000] [--profile]`.

The import's own runner against a real PostgreSQL, durable as in production; no gateway, no relay. Generated leads, all of
them open, so that each is routed, given a timer and two events; and the real export where it lies beside the project.
"""

import argparse
import contextlib
import cProfile
import csv
import io
import json
import os
import pstats
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.postgres import PostgresServer
from services.leads.idempotence import Keyed
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.domain import Import, ImportLimits
from services.leads.intake.imports.runner import ImportRunner
from services.leads.intake.imports.store import PostgresImportStore, PostgresStores
from services.leads.intake.imports.usecases import Imports, Order
from services.leads.routing.store import Snapshots
from services.leads.sla.calendars import load_holidays

ROOT = Path(__file__).resolve().parents[1]
ZOHO = ROOT.parent / "shared/data/zoho"
HOLIDAYS = ROOT / "services/leads/sla/holidays.yaml"
ADMIN = Actor("bench", Role.ADMIN, Scope.ALL)
ZOHO_HEADERS = (
    *(
        "LEADID",
        "Last Name",
        "Company",
        "Lead Owner",
        "Email",
        "Mobile",
        "Website",
        "Industry",
        "Lead Source",
        "Lead Status",
    ),
    *("Created Time", "CONVERTED"),
)


@dataclass(frozen=True)
class Run:
    """A finished import and what it took."""

    done: Import
    took_s: float
    cpu_s: float
    postgres_cpu_s: float

    def report(self, name: str) -> None:
        rows = self.done.rows
        figure(name, rows / self.took_s, "rows/s")
        figure(f"{name}_cpu_of_leads", self.cpu_s / rows * 1e6, "us/row")
        figure(f"{name}_cpu_of_postgres", self.postgres_cpu_s / rows * 1e6, "us/row")


class Bench:
    """A migrated database and what imports into it."""

    def __init__(self, database: Database, limits: ImportLimits, server_pid: int) -> None:
        self._server_pid = server_pid
        snapshots = Snapshots(load_holidays(HOLIDAYS))
        store = PostgresImportStore(database, lambda tx: PostgresStores(tx, snapshots), limits)
        clock = SystemClock()
        self._limits = limits
        self._imports = Imports(store, mapping_of, reading.inspect, clock, limits)
        self._runner = ImportRunner(store, mapping_of, clock, limits)

    async def run(self, content: bytes, mapping: str) -> "Run":
        """The finished import, seconds from its acceptance to its end, and seconds of CPU here and in PostgreSQL."""

        async def pieces() -> AsyncIterator[bytes]:
            for piece in reading.pieces_of(content, self._limits):
                yield piece

        order = Order("bench.csv", mapping, "", reassign=False)
        accepted, _ = await self._imports.start(ADMIN, order, pieces(), Keyed("bench", "StartImport", "", b""))
        before = self._clocks()
        await self._runner.run_one()
        took = [after - began for began, after in zip(before, self._clocks(), strict=True)]
        done = await self._imports.get(ADMIN, accepted.id)
        if done.state != "completed" or done.rejected:
            sys.exit(f"the import went wrong: {done}")
        return Run(done, *took)

    def _clocks(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), cpu_of_children_s(self._server_pid)


def generated(rows: int, first: int) -> bytes:
    """Open leads of people nobody knows yet, numbered from `first`, in the headers of the real export."""
    rng = random.Random(first)
    names = ["Denson", "Hall", "Anderson", "王芳", "张伟", "刘洋", "Müller", "陈静"]
    industries = ["Education", "Pharma", "制造业", "Technology"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(ZOHO_HEADERS)
    for row in range(first, first + rows):
        writer.writerow(
            (
                *(row, rng.choice(names), f"Company {row // 3}", "", f"Person{row}@Example.com"),
                *(f"{200 + row // 10_000 % 800}-{200 + row // 10_000_000}-{row % 10_000:04d}", f"Site{row}.com"),
                *(
                    rng.choice(industries),
                    "Cold Call",
                    rng.choice(("Contacted", "Pre Qualified")),
                    "15 Apr, 2021 00:03:00",
                ),
                "No",
            )
        )
    return text.getvalue().encode()


def people(count: int = 11) -> bytes:
    """Somebody to give the leads to."""
    rows = "".join(f"{2000 + n},,Person {n},p{n}@example.com\n" for n in range(count))
    return f"USER_ID,First Name,Last Name,Email\n{rows}".encode()


def cpu_of_children_s(pid: int) -> float:
    """Seconds of CPU that the process, its living children and those it has waited for have used (proc(5))."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if pid in {int(stat.parent.name), int(fields[1])}:
                ticks += sum(map(int, fields[11:15] if int(stat.parent.name) == pid else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def figure(name: str, value: float, unit: str) -> None:
    line = {"bench": "import_rows", "figure": name, "value": round(value, 1), "unit": unit}
    print(json.dumps(line | {"peer": None, "peer_value": None, "ratio": None}))


async def measure(server: PostgresServer, rows: int, *, profile: bool) -> None:
    passwords = ServiceRoles("leads", "bench", "bench")
    await provision_roles(server.dsn(), [passwords])
    await provision_database(server.dsn(), "bench")
    await provision_schema(server.dsn("bench"), "bench", "leads")
    await migrate(server.dsn("bench", user="leads_owner", password="bench"), "leads", MIGRATIONS["leads"])
    url = f"postgresql://leads@{server.host}:{server.port}/bench"
    database = await Database.open(url, service="leads", password="bench")
    if server.pid is None:
        sys.exit("PostgreSQL has ended")
    bench = Bench(database, ImportLimits(), server.pid)
    if ZOHO.is_dir():
        await bench.run((ZOHO / "Users.csv").read_bytes(), "zoho-users")
        (await bench.run((ZOHO / "Leads.csv").read_bytes(), "zoho")).report("zoho_leads")
        for name in ("Contacts", "Potentials", "Calls", "Invoices"):
            (await bench.run((ZOHO / f"{name}.csv").read_bytes(), f"zoho-{name.lower()}")).report(
                f"zoho_{name.lower()}"
            )
    await bench.run(people(), "zoho-users")
    await bench.run(generated(2_000, first=100_000), "zoho")
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    run = await bench.run(generated(rows, first=1_000_000), "zoho")
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(40)
    run.report("open_leads_assigned")
    figure("peak_memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = PostgresServer(place / "server", password_file=place / "password", log_file=place / "log")
        server.start()
        try:
            uvloop.run(measure(server, options.rows, profile=options.profile))
        finally:
            server.close()


if __name__ == "__main__":
    main()
