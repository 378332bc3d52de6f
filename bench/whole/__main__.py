"""`make bench-platform`: the whole platform beside a bare path with the same business code, in one run.

Both stacks run at the same time and take the load in turn, round by round; medians of the rounds count. The platform also
publishes, notifies and scores what was created, which the bare path does not. One JSON line a figure; what falls short
of its aim is named at the end, with the processes in which the time of a create goes.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvloop

from bench.whole import tryton
from bench.whole.load import Result, closed_loop, open_loop, request
from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.ports import free_port
from breakwater.local.postgres import PostgresServer
from tests.support.platform import Platform, eventually, running

PEER = "bare FastAPI -> gRPC -> PostgreSQL"
TRYTON_CREATES_PER_S = 139
"""measurements.md: create + assign, 16 clients. `--tryton` measures it in the same run."""
PEOPLE_COUNT = 20
PEOPLE = "USER_ID,First Name,Last Name,Email\n" + "".join(
    f"b{n},,销售{n},b{n}@example.com\n" for n in range(PEOPLE_COUNT)
)


AIMS: dict[str, tuple[str, float]] = {
    "create_16_clients": ("ratio", 0.75),
    "read_16_clients": ("ratio", 0.75),
    "list50_16_clients": ("ratio", 0.75),
    "create_16_clients_to_tryton": ("ratio", 7.0),
    "create_16_clients_beside_tryton": ("ratio", 7.0),
    "read_600_per_s_p99": ("at most", 10.0),
    "create_300_per_s_p99": ("at most", 25.0),
    "assigned_and_in_app_300_per_s_p99": ("at most", 50.0),
    "import_assigned": ("at least", 5_000.0),
}
"""What the figures are held to: a ratio to the peer at least, or the value itself."""
printed: list[dict[str, Any]] = []


def figure(name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    """Prints one figure; the ratio is value to peer."""
    ratio = round(value / peer_value, 3) if peer_value else None
    document = {"bench": "platform", "figure": name, "value": round(value, 2), "unit": unit, "peer": peer}
    document |= {"peer_value": round(peer_value, 2) if peer_value is not None else None, "ratio": ratio}
    if name in AIMS:
        kind, aim = AIMS[name]
        met = value <= aim if kind == "at most" else (ratio or 0.0) >= aim if kind == "ratio" else value >= aim
        document |= {"aim": f"{kind} {aim:g}", "met": met}
    printed.append(document)
    print(json.dumps(document, ensure_ascii=False), flush=True)


def print_what_falls_short() -> None:
    """The figures that miss their aims, and where the time of a create goes, process by process."""
    short = [each for each in printed if each.get("met") is False]
    for each in short:
        found = each["ratio"] if each["aim"].startswith("ratio") else each["value"]
        print(f"short: {each['figure']} {found:g}, aim: {each['aim']}", file=sys.stderr)
    if short:
        for each in printed:
            if each["figure"].startswith("create_cpu_"):
                beside = f", bare path {each['peer_value']:g}" if each["peer_value"] else ""
                print(f"  {each['figure']} {each['value']:g} {each['unit']}{beside}", file=sys.stderr)


@contextmanager
def postgres(root: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of the peers' own."""
    server = PostgresServer(root / "postgres", password_file=root / "superuser.password")
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Bare:
    """The bare path as it runs."""

    port: int
    pids: dict[str, int]


@contextmanager
def bare(server: PostgresServer) -> Iterator[Bare]:
    """The bare path on `server`."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        dsn = asyncio.run(_bare_database(server))
        grpc_port, http_port = free_port(), free_port()
        environment = os.environ | {"BARE_DSN": dsn, "BARE_GRPC_PORT": str(grpc_port), "BARE_HTTP_PORT": str(http_port)}
        for side in ("leads", "gateway"):
            command = [sys.executable, "-m", "bench.whole.bare", side]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        eventually("the bare path", lambda: httpx2.get(f"http://127.0.0.1:{http_port}/v1/leads").status_code == 200)
        pids = dict(zip(("leads", "gateway"), (process.pid for process in processes), strict=True))
        yield Bare(http_port, pids | {"postgres": server.pid or 0})
    finally:
        for process in processes:
            process.terminate()
            process.wait()


async def _bare_database(server: PostgresServer) -> str:
    await provision_roles(server.dsn(), [ServiceRoles("leads", "bare", "bare-owner")])
    await provision_database(server.dsn(), "bare")
    await provision_schema(server.dsn("bare"), "bare", "leads")
    await migrate(server.dsn("bare", user="leads_owner", password="bare-owner"), "leads", MIGRATIONS["leads"])
    return server.dsn("bare", user="leads", password="bare")


def lead(number: int, tag: str) -> bytes:
    """The body of a create; every one a new customer."""
    document = {
        "name": f"客户{number}",
        "company": f"公司{tag}{number}",
        "phone": f"13{number % 10**9:09d}",
        "source": tag,
    }
    return json.dumps(document, ensure_ascii=False).encode()


def creates(token: str, tag: str, start: int) -> Callable[[int], bytes]:
    return lambda number: request("POST", "/v1/leads", token, lead(start + number, tag))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--import-rows", type=int, default=20_000)
    parser.add_argument("--tryton", type=Path, help="the folder with Tryton's programs, to measure beside it as well")
    options = parser.parse_args()
    figure("trace_sample_ratio", float(os.environ.get("BREAKWATER_TRACE_SAMPLE_RATIO", "0.01")), "share of traces")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        with running(root / "state") as platform, postgres(root / "peers") as server, bare(server) as peer_path:
            token = platform.token("admin", "bench", ttl="2h")
            port = int(platform.ready["gateway"].rsplit(":", 1)[1])
            targets = {"ours": port, "bare": peer_path.port}
            for each in targets.values():
                _import(each, token, PEOPLE, "zoho-users", PEOPLE_COUNT)
            uvloop.run(_closed(targets, token, options.rounds, options.seconds))
            _profile(platform, peer_path, port, token, options.seconds)
            _without_readers(platform, targets, token, options.rounds, options.seconds)
            uvloop.run(_open(platform, targets, token, options.seconds))
            _imports(platform, targets, token, options.rounds, options.import_rows)
            _all_assigned(platform)
            if options.tryton:
                with tryton.running(options.tryton, root / "tryton", server) as peer:
                    uvloop.run(_beside_tryton(port, token, peer, options.rounds, options.seconds))
    print_what_falls_short()


async def _closed(targets: dict[str, int], token: str, rounds: int, seconds: float) -> None:
    known = {name: await _one(port, token) for name, port in targets.items()}
    scenarios: dict[str, Callable[[str, int], Callable[[int], bytes]]] = {
        "create": lambda name, round_: creates(token, f"closed{round_}{name}", round_ * 1_000_000),
        "read": lambda name, _: lambda _number: request("GET", f"/v1/leads/{known[name]}", token),
        "list50": lambda _name, _round: lambda _number: request("GET", "/v1/leads?limit=50", token),
    }
    for scenario, make in scenarios.items():
        rates: dict[str, list[float]] = {name: [] for name in targets}
        slow: dict[str, list[float]] = {name: [] for name in targets}
        for round_ in range(rounds):
            for name, port in targets.items():
                result = await closed_loop(port, make(name, round_), 16, seconds)
                _must_be_good(result)
                rates[name].append(result.rate_per_s)
                slow[name].append(result.percentile_ms(0.99))
        middle = {name: statistics.median(values) for name, values in rates.items()}
        figure(f"{scenario}_16_clients", middle["ours"], "requests/s", PEER, middle["bare"])
        ours, theirs = (statistics.median(slow[name]) for name in ("ours", "bare"))
        figure(f"{scenario}_16_clients_p99", ours, "ms", PEER, theirs)
        if scenario == "create":
            figure(
                "create_16_clients_to_tryton",
                middle["ours"],
                "requests/s",
                "Tryton 8.2, as measured before",
                TRYTON_CREATES_PER_S,
            )


async def _beside_tryton(port: int, token: str, peer: tryton.Tryton, rounds: int, seconds: float) -> None:
    """Creates of both in turn."""
    before, done = await asyncio.to_thread(peer.opportunities), 0
    ours, theirs = [], []
    for round_ in range(rounds):
        result = await closed_loop(port, creates(token, f"tryton{round_}", (90 + round_) * 1_000_000), 16, seconds)
        _must_be_good(result)
        ours.append(result.rate_per_s)
        result = await closed_loop(peer.port, peer.creates(), 16, seconds)
        _must_be_good(result)
        theirs.append(result.rate_per_s)
        done += len(result.latencies_s)
    if await asyncio.to_thread(peer.opportunities) - before != done:
        raise SystemExit("Tryton has not made what it answered")
    peer_name = f"Tryton 8.2, {tryton.WORKERS} workers"
    figure(
        "create_16_clients_beside_tryton", statistics.median(ours), "requests/s", peer_name, statistics.median(theirs)
    )


def _profile(platform: Platform, peer_path: Bare, port: int, token: str, seconds: float) -> None:
    """Where the time of a create goes: CPU of each process, children included, for each request, on either path."""
    pids = {name: platform.pid(name) for name in (*platform.ready["services"], "nats", "postgres")}
    ours = _cpu_us_a_create(port, token, pids, seconds)
    theirs = _cpu_us_a_create(peer_path.port, token, peer_path.pids, seconds)
    for name, spent_us in {**ours, "all": sum(ours.values())}.items():
        beside = sum(theirs.values()) if name == "all" else theirs.get(name)
        figure(f"create_cpu_{name}", spent_us, "us of CPU a request", PEER if beside else None, beside)


def _cpu_us_a_create(port: int, token: str, pids: dict[str, int], seconds: float) -> dict[str, float]:
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    result = uvloop.run(closed_loop(port, creates(token, "profile", 70_000_000), 16, seconds))
    _must_be_good(result)
    return {name: 1e6 * (_cpu_s(pid) - before[name]) / len(result.latencies_s) for name, pid in pids.items()}


def _without_readers(platform: Platform, targets: dict[str, int], token: str, rounds: int, seconds: float) -> None:
    """Creates while notify and health are stopped: what our layers cost, without the work of others for each lead."""
    for name in ("notify", "health"):
        platform.cli("service", "stop", name)
    try:
        rates: dict[str, list[float]] = {name: [] for name in targets}
        for round_ in range(rounds):
            for name, port in targets.items():
                make = creates(token, f"layers{round_}{name}", (80 + round_) * 1_000_000)
                result = uvloop.run(closed_loop(port, make, 16, seconds))
                _must_be_good(result)
                rates[name].append(result.rate_per_s)
    finally:
        for name in ("notify", "health"):
            platform.cli("service", "start", name)
    ours, theirs = (statistics.median(rates[name]) for name in ("ours", "bare"))
    figure("create_16_clients_without_readers", ours, "requests/s", PEER, theirs)
    eventually("notify and health to catch up", lambda: _caught_up(platform), within_s=180, every_s=0.5)


def _caught_up(platform: Platform) -> bool:
    [row] = platform.sql(
        "SELECT (SELECT count(*) FROM leads.assignments WHERE owner_id IS NOT NULL)"
        " - (SELECT count(*) FROM notify.notifications WHERE kind = 'lead_assigned') AS behind"
    )
    return int(row["behind"]) <= 0


def _cpu_s(pid: int) -> float:
    """User and system seconds of a process and its present children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _open(platform: Platform, targets: dict[str, int], token: str, seconds: float) -> None:
    known = {name: await _one(port, token) for name, port in targets.items()}

    def read(name: str) -> Callable[[int], bytes]:
        return lambda _: request("GET", f"/v1/leads/{known[name]}", token)

    reads = {name: await open_loop(port, read(name), 600, seconds) for name, port in targets.items()}
    figure("read_600_per_s_p99", reads["ours"].percentile_ms(0.99), "ms", PEER, reads["bare"].percentile_ms(0.99))
    posts = {
        name: await open_loop(port, creates(token, f"open{name}", 50_000_000), 300, seconds)
        for name, port in targets.items()
    }
    for result in (*reads.values(), *posts.values()):
        _must_be_good(result)
    figure("create_300_per_s_p99", posts["ours"].percentile_ms(0.99), "ms", PEER, posts["bare"].percentile_ms(0.99))
    figure("create_300_per_s_p50", posts["ours"].percentile_ms(0.50), "ms", PEER, posts["bare"].percentile_ms(0.50))
    waits = await _notified(platform, posts["ours"])
    figure("assigned_and_in_app_300_per_s_p99", waits[int(0.99 * len(waits))], "ms")
    figure("assigned_and_in_app_300_per_s_p50", waits[len(waits) // 2], "ms")


async def _notified(platform: Platform, posts: Result) -> list[float]:
    """Milliseconds from the sending of each create to its in-app notification, ascending."""
    sent = {json.loads(body)["id"]: wall_s for wall_s, body in posts.sent}
    connection = await platform.connect()
    subjects = [f"lead:{lead_id}" for lead_id in sent]
    sql = "SELECT subject, created_at FROM notify.notifications WHERE subject = ANY($1)"
    end = time.monotonic() + 60
    rows: list[Any] = []
    while time.monotonic() < end and len(rows) < len(sent):
        rows = await connection.fetch(sql, subjects)
        await asyncio.sleep(0.2)
    await connection.close()
    if len(rows) != len(sent):
        raise SystemExit(f"{len(sent) - len(rows)} of {len(sent)} leads were not notified")
    return sorted(1000 * (row["created_at"].timestamp() - sent[row["subject"].removeprefix("lead:")]) for row in rows)


def _imports(platform: Platform, targets: dict[str, int], token: str, rounds: int, rows: int) -> None:
    """Rows a second of files of open leads, all routed: from the upload's start until the import is done.

    What follows from ours, notices and scores, is waited for before the other's turn.
    """
    rates: dict[str, list[float]] = {name: [] for name in targets}
    for round_ in range(rounds):
        for name, port in targets.items():
            first = 17_000_000_000 + round_ * rows
            text = "姓名,公司,手机,来源\n" + "".join(
                f"导入{n},导入公司{n},{n},import\n" for n in range(first, first + rows)
            )
            rates[name].append(rows / _import(port, token, text, "default", rows))
            eventually("the notices of the import", lambda: _caught_up(platform), within_s=180, every_s=0.5)
    ours, theirs = (statistics.median(rates[name]) for name in ("ours", "bare"))
    figure("import_assigned", ours, "rows/s", PEER, theirs)


def _import(port: int, token: str, text: str, mapping: str, rows: int) -> float:
    """Seconds from the upload's start to the import's end."""
    headers = {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
        started_s = time.perf_counter()
        answer = client.post("/v1/imports", files={"file": ("bench.csv", text.encode())}, data={"mapping": mapping})
        if answer.status_code != httpx2.codes.ACCEPTED:
            raise SystemExit(f"the import is refused: {answer.text}")
        place = f"/v1/imports/{answer.json()['id']}"
        found: dict[str, Any] = eventually(
            "the import to end", lambda: _done(client.get(place).json()), within_s=300, every_s=0.02
        )
        elapsed_s = time.perf_counter() - started_s
    # The bare path leaves out zeros and writes 64 bits as text, as protobuf does in JSON.
    if (found["state"], int(found.get("rows", 0)), int(found.get("rejected", 0))) != ("completed", rows, 0):
        raise SystemExit(f"the import is not whole: {found}")
    return elapsed_s


def _done(found: dict[str, Any]) -> dict[str, Any] | None:
    return found if found["state"] in {"completed", "failed"} else None


def _all_assigned(platform: Platform) -> None:
    [row] = platform.sql("SELECT count(*) AS rows FROM leads.leads WHERE source = 'import' AND owner_id IS NULL")
    if row["rows"]:
        raise SystemExit(f"{row['rows']} imported leads are not assigned")


async def _one(port: int, token: str) -> str:
    """The id of a lead made for it."""
    result = await open_loop(port, creates(token, "one", 900_000_000), 1, 1)
    _must_be_good(result)
    document: dict[str, str] = json.loads(result.sent[0][1])
    return document["id"]


def _must_be_good(result: Result) -> None:
    bad = {status: count for status, count in result.statuses.items() if status >= 300}
    if bad or not result.latencies_s:
        raise SystemExit(f"answers that were no success: {bad}")


if __name__ == "__main__":
    main()
