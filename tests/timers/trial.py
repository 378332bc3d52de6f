"""Timers that come due while the processes that fire them are killed: none is lost, none is told twice, none is late."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

ROOT = Path(__file__).parents[2]
SETTLE_S_MAX = 120.0
"""How long after the last one was due all must have been told."""
LOOKS_S = 2.0
"""So long the replicas go on looking when all is told."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Half of the leads have a first-touch timer in its first stage, half are silent; all come due evenly in the window."""

    timers: int
    window_s: float
    replicas: int = 3
    kills: int = 5
    """Of a replica, with SIGKILL, evenly over the window; it is started again a second later."""
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What was told, and how late."""

    due: int = 0
    lost: int = 0
    doubled: int = 0
    early: int = 0
    kills: int = 0
    error_p50_s: float = 0.0
    error_p99_s: float = 0.0
    error_max_s: float = 0.0
    took_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class Fleet:
    """The processes; each is a replica."""

    def __init__(self, url: str, password_file: Path) -> None:
        self._arguments = [sys.executable, str(Path(__file__).with_name("worker.py")), url, str(password_file)]
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        path = f"{ROOT / 'libs'}:{ROOT}"
        environment = os.environ | {"PYTHONPATH": path}
        self._running.append(subprocess.Popen(self._arguments, env=environment, stdout=subprocess.PIPE))

    async def looking(self) -> None:
        """Waits until each has begun to look: it says so."""
        async with asyncio.timeout(SETTLE_S_MAX):
            for process in self._running:
                said = await asyncio.to_thread(process.stdout.readline) if process.stdout else b""
                if said != b"looking\n":
                    raise RuntimeError(f"a replica ended with {process.poll()} and said {said!r}")

    def kill(self, which: int) -> None:
        victim = self._running.pop(which % len(self._running))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        if victim.stdout:
            victim.stdout.close()

    def kill_all(self) -> None:
        while self._running:
            self.kill(0)


async def run(plan: Plan, url: str, password_file: Path, admin_dsn: str) -> Outcome:
    """One trial in an empty, migrated leads database."""
    admin = await asyncpg.connect(admin_dsn)
    fleet = Fleet(url, password_file)
    try:
        await admin.execute("SET search_path = leads, public")
        await _lay_out_leads(admin, plan)
        for _ in range(plan.replicas):
            fleet.start()
        await fleet.looking()
        first = await _lay_out_timers(admin, plan)
        began = time.monotonic()
        kills = await _kill_now_and_then(fleet, plan, first)
        await _all_told(admin, plan)
        # Whatever would be told twice has the time of many looks to be.
        await asyncio.sleep(LOOKS_S)
        outcome = await judge(admin, plan)
        outcome.kills, outcome.took_s = kills, time.monotonic() - began
        return outcome
    finally:
        fleet.kill_all()
        await admin.close()


async def _lay_out_leads(admin: asyncpg.Connection, plan: Plan) -> None:
    """Leads without their timers; without triggers, for they would keep silences of their own."""
    # When a row is told is written by the server as it is inserted: the clock of no worker is believed.
    await admin.execute("ALTER TABLE outbox ADD COLUMN told_at timestamptz DEFAULT clock_timestamp()")
    await admin.execute("SET session_replication_role = replica")
    await admin.execute(_LEADS, plan.timers)
    await admin.execute("SET session_replication_role = DEFAULT")
    await admin.execute("CREATE TABLE expected (lead_id uuid PRIMARY KEY, silent boolean, due_at timestamptz)")
    await admin.execute("ANALYZE")


async def _lay_out_timers(admin: asyncpg.Connection, plan: Plan) -> datetime:
    """Timers and silences, there for all at once, the first due a moment later."""
    allowed_s = 1.0 + plan.timers / 100_000
    while True:
        first = datetime.now(UTC) + timedelta(seconds=allowed_s)
        laying_out = admin.transaction()
        await laying_out.start()
        await admin.execute(_EXPECTED, plan.timers, first, plan.window_s)
        await admin.execute(_TIMERS)
        await admin.execute(_SILENCES)
        if datetime.now(UTC) + timedelta(seconds=0.5) < first:
            await laying_out.commit()
            return first
        await laying_out.rollback()
        allowed_s *= 2


async def _kill_now_and_then(fleet: Fleet, plan: Plan, first: datetime) -> int:
    draw = random.Random(plan.seed)
    for kill in range(plan.kills):
        moment = first + timedelta(seconds=plan.window_s * (kill + draw.random()) / plan.kills)
        await asyncio.sleep(max((moment - datetime.now(UTC)).total_seconds(), 0))
        fleet.kill(draw.randrange(plan.replicas))
        await asyncio.sleep(1.0)
        fleet.start()
    return plan.kills


async def _all_told(admin: asyncpg.Connection, plan: Plan) -> None:
    last = await admin.fetchval("SELECT max(due_at) FROM expected")
    ends = last + timedelta(seconds=SETTLE_S_MAX)
    while datetime.now(UTC) < ends:
        if datetime.now(UTC) >= last and await admin.fetchval("SELECT count(*) FROM outbox") >= plan.timers:
            return
        await asyncio.sleep(0.5)


async def judge(admin: asyncpg.Connection, plan: Plan) -> Outcome:
    """What was told, by the rows that were written; `admin` looks into the schema of leads."""
    row = await admin.fetchrow(_JUDGED)
    outcome = Outcome(**dict(row))
    outcome.problems += [
        f"{count} timers of {plan.timers} were {what}"
        for count, what in ((outcome.lost, "lost"), (outcome.doubled, "told twice"), (outcome.early, "told too early"))
        if count
    ]
    if outcome.due != plan.timers:
        outcome.problems.append(f"{outcome.due} timers were laid out, not {plan.timers}")
    gaps = await admin.fetchval(
        """
        SELECT count(*) FROM leads l
        WHERE sequence <> 2 + (SELECT count(*) FROM outbox WHERE subject_id = l.id::text)
        """
        if plan.timers <= 10_000
        else "SELECT count(*) FROM leads WHERE sequence <> 3"
    )
    if gaps:
        outcome.problems.append(f"{gaps} leads have other sequences than events")
    return outcome


_ID = "('0197f3a0-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
_LEADS = f"""
WITH made AS (
    INSERT INTO customers (id, name, owner_id, created_at, updated_at)
    SELECT {_ID}, '客户' || n, 'sales-supervisor', now(), now() FROM generate_series(1, $1::int) AS n
)
INSERT INTO leads (id, customer_id, name, source, stage, owner_id, priority, created_at, captured_at, assigned_at, sequence)
SELECT {_ID}, {_ID}, '客户' || n, '官网', 'new', 'duty-desk', 'P2', now(), now(), now(), 2
FROM generate_series(1, $1::int) AS n
"""
_EXPECTED = f"""
INSERT INTO expected SELECT {_ID}, n % 2 = 0, $2::timestamptz + make_interval(secs => $3::float8 * n / $1)
FROM generate_series(1, $1::int) AS n
"""
_TIMERS = """
INSERT INTO first_touch_timers (lead_id, stage, due_at, started_at)
SELECT lead_id, 1, due_at, due_at - interval '15 minutes' FROM expected WHERE NOT silent
"""
_SILENCES = """
INSERT INTO silences (lead_id, since, counted_from)
SELECT lead_id, due_at - interval '24 hours', due_at - interval '24 hours' FROM expected WHERE silent
"""
_JUDGED = """
WITH told AS (
    SELECT subject_id::uuid AS lead_id, count(*) AS times, min(told_at) AS told_at,
           bool_and(type = CASE WHEN e.silent THEN 'breakwater.leads.v1.LeadSilent'
                                ELSE 'breakwater.leads.v1.LeadOverdue' END) AS right_kind
    FROM outbox JOIN expected e ON e.lead_id = subject_id::uuid GROUP BY 1
), errors AS (
    SELECT e.lead_id, t.times, extract(epoch FROM t.told_at - e.due_at)::float8 AS error_s
    FROM expected e LEFT JOIN told t ON t.lead_id = e.lead_id AND t.right_kind
)
SELECT count(*) AS due, count(*) FILTER (WHERE times IS NULL) AS lost, count(*) FILTER (WHERE times > 1) AS doubled,
       count(*) FILTER (WHERE error_s < 0) AS early,
       coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY error_s), 0) AS error_p50_s,
       coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY error_s), 0) AS error_p99_s,
       coalesce(max(error_s), 0) AS error_max_s
FROM errors
"""
