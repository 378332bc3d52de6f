"""A whole platform of its own for a test: `breakwater up` on free ports, driven only through what users have."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

ROOT = Path(__file__).parents[2]
BREAKWATER = str(Path(sys.executable).with_name("breakwater"))
ZOHO = ROOT.parent / "shared" / "data" / "zoho"
READY_S_MAX = 90
SERVICES = ("leads", "notify", "files", "health", "gateway")


def eventually(what: str, probe: Callable[[], Any], within_s: float = 30, every_s: float = 0.1) -> Any:
    """The first true answer of `probe`; fails, naming `what` and the last answer, when there is none in time."""
    end = time.monotonic() + within_s
    last: Any = None
    while time.monotonic() < end:
        try:
            last = probe()
        except (httpx2.TransportError, OSError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s} s: {what}; last seen: {last!r}")


@dataclass
class Platform:
    """A running platform. `ready` is what `breakwater up` printed."""

    state: Path
    process: "subprocess.Popen[bytes]"
    ready: dict[str, Any]
    clients: list[httpx2.Client] = field(default_factory=list)

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Runs `breakwater ARGUMENTS` against this platform."""
        done = subprocess.run(
            [BREAKWATER, *arguments],
            env=environment(self.state),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"breakwater {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def token(self, role: str = "admin", sub: str = "tester", scope: str = "all", ttl: str = "1h") -> str:
        """A caller's JWT."""
        return self.cli("token", "--role", role, "--sub", sub, "--scope", scope, "--ttl", ttl).stdout.strip()

    def api(self, role: str = "admin", sub: str = "tester", scope: str = "all") -> httpx2.Client:
        """An HTTP client of the gateway with that caller's token."""
        return self._client(self.ready["gateway"], self.token(role, sub, scope))

    def ops(self, role: str = "sre", sub: str = "tester") -> httpx2.Client:
        """An HTTP client of the ops process."""
        return self._client(self.ready["ops"], self.token(role, sub, "all"))

    def status(self) -> dict[str, Any]:
        """What `breakwater status --json` prints."""
        return json.loads(self.cli("status", "--json").stdout)

    def pid(self, name: str) -> int:
        """The present process id of a service, nats or postgres."""
        status = self.status()
        entry = status["services"].get(name) or status[name]
        return int(entry["pid"])

    def sql(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Rows of the platform's database, read as its superuser: what is really stored."""
        return asyncio.run(self._sql(query, arguments))

    def row_counts(self) -> dict[str, int]:
        """Rows of every table of every service, but of outbox and inbox: those fill by themselves."""
        tables = self.sql(
            """SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND c.relname NOT IN ('outbox', 'inbox')""",
            SERVICES,
        )
        counts = " UNION ALL ".join(
            f"SELECT '{row['name']}' AS name, count(*) AS rows FROM {row['name']}" for row in tables
        )
        return {row["name"]: row["rows"] for row in self.sql(counts)}

    def unpublished(self) -> int:
        """Events that wait in an outbox."""
        rows = " + ".join(f"(SELECT count(*) FROM {name}.outbox WHERE published_at IS NULL)" for name in SERVICES)
        return self.sql(f"SELECT {rows} AS rows")[0]["rows"]

    def postpone(self) -> None:
        """What the clock would set off while a test looks comes a week later: reminders, overdue leads, boards."""
        for timers, moments in (("first_touch_timers", "remind_at due_at"), ("board_mornings", "due_at")):
            later = ", ".join(f"{moment} = {moment} + interval '7 days'" for moment in moments.split())
            self.sql(f"UPDATE leads.{timers} SET {later}")

    def at_rest(self) -> dict[str, int]:
        """The row counts once nothing is left to do and three looks in a row found them equal; fails after 2 minutes."""
        seen: list[dict[str, int]] = []

        def look() -> bool:
            if self.unpublished() or self.sql("SELECT 1 FROM health.rescore_due LIMIT 1"):
                seen.clear()
            seen.append(self.row_counts())
            return len(seen) >= 3 and seen[-3] == seen[-2] == seen[-1]

        eventually("the platform to come to rest", look, within_s=120, every_s=0.5)
        return seen[-1]

    async def connect(self) -> asyncpg.Connection:
        """A connection as the superuser."""
        at = self.ready["postgres"]
        return await asyncpg.connect(at["url"], password=Path(at["password_file"]).read_text().strip(), timeout=5)

    async def _sql(self, query: str, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
        connection = await self.connect()
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    def stop(self) -> int:
        """Ends the platform as Ctrl-C does; its exit code."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def _client(self, base: str, token: str) -> httpx2.Client:
        client = httpx2.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=30)
        self.clients.append(client)
        return client


def environment(state: Path) -> dict[str, str]:
    """The environment of a command for the platform in `state`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BREAKWATER_")}
    return kept | {"BREAKWATER_STATE": str(state), "NO_COLOR": "1"}


def start(state: Path, *arguments: str, told: Mapping[str, str] | None = None) -> Platform:
    """Starts a platform on free ports and waits until it says that it is ready; `told` is more of its environment."""
    state.mkdir(parents=True, exist_ok=True)
    printed = state / "ready.jsonl"
    with (state / "launcher.log").open("a") as log, printed.open("w") as out:
        process = subprocess.Popen(
            [BREAKWATER, "up", "--ports", "auto", "--state", str(state), *arguments],
            env=environment(state) | dict(told or {}),
            stdout=out,
            stderr=log,
        )

    def line() -> str | None:
        text = printed.read_text()
        ended = process.poll() is not None
        return text if text.endswith("\n") or ended else None

    try:
        told = eventually("the platform to be ready", line, within_s=READY_S_MAX, every_s=0.02)
        return Platform(state, process, json.loads(told))
    except (AssertionError, ValueError) as error:
        process.kill()
        process.wait()
        tail = (state / "launcher.log").read_text()[-4_000:]
        raise AssertionError(f"the platform did not become ready; its log ends:\n{tail}") from error


@contextmanager
def running(state: Path, *arguments: str, told: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """A platform for the time of a block."""
    platform = start(state, *arguments, told=told)
    try:
        yield platform
    finally:
        platform.stop()
