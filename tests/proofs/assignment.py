"""A million leads into one PostgreSQL by replicas that are killed at named points, and PostgreSQL with them."""

import asyncio
import logging
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.errors import ServerStartError
from breakwater.local.postgres import PostgresServer
from tests.assignment.audit import audit, replay_some
from tests.assignment.rounds import Processes, Round, Seen, Where, run_inside
from tests.assignment.worker import BUGS, POINTS, Replica
from tests.proofs.register import Effort, Findings, Progress

LEADS: Final = 1_000_000
WORKERS: Final = 64
PROCESSES: Final = 4
LEADS_PER_KILL: Final = 2_000
LEADS_PER_OUTAGE: Final = 50_000
"""After so many PostgreSQL is killed with -9 and started again."""
JOB_LEADS_MAX: Final = 100
"""Leads of one transaction, at most: requests gathered under load and the pieces of an import come to that."""
STARTS_MAX: Final = 30
REPLAYED: Final = 5_000
PART_LEADS: Final = 20_000
"""Leads of one round, until the time is over."""


def prove(effort: Effort, progress: Progress) -> Findings:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(_prove(effort, progress))


async def _prove(effort: Effort, progress: Progress) -> Findings:
    wanted = effort.schedules or LEADS
    figures = {
        "leads": 0, "workers": WORKERS, "processes": PROCESSES, "kills": 0, "kills_by_point": dict.fromkeys(POINTS, 0),
        "postgres_kills": 0, "changes_of_rules_and_people": 0, "lost": 0, "decisions_replayed": 0,
        "decisions_replayed_otherwise": 0, "leads_per_s": 0.0, "bugs_planted": len(BUGS), "bugs_found": 0,
    }  # fmt: skip
    found = Findings(figures=figures, complete=False)
    ends_s = time.monotonic() + 60 * effort.minutes if effort.minutes else float("inf")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # Processes are killed here, not the machine: what is written outlives them without waiting for the disk.
        server = PostgresServer(
            place / "server", password_file=place / "password", log_file=place / "log", settings={"fsync": "off"}
        )
        server.start()
        try:
            await provision_roles(server.dsn(), [ServiceRoles("leads", "proof", "proof")])
            for number, bug in enumerate(BUGS):
                round_ = Round(
                    leads=300, processes=2, lanes=6, kills=10, job_leads_max=10, seed=effort.seed + number, bug=bug
                )
                where = await _database(server, f"bug_{number}")
                seen = await run_inside(where, round_)
                is_found = bool(seen.problems or await audit(where.admin_dsn, seen.told, round_.leads))
                figures["bugs_found"] += is_found
                if not is_found:
                    found.violations.append(f"the audit does not find the bug {bug}")
            await _rounds(server, effort, wanted, ends_s, found, progress)
        finally:
            server.close()
    found.complete = figures["leads"] >= LEADS
    return found


async def _rounds(
    server: PostgresServer, effort: Effort, wanted: int, ends_s: float, found: Findings, progress: Progress
) -> None:
    """Round after round, all into one database each, so that a stop loses one round."""
    began_s, seed = time.monotonic(), effort.seed
    while found.figures["leads"] < wanted and time.monotonic() < ends_s:
        # Without a limit of time it is one round: all leads in one database.
        leads = wanted if ends_s == float("inf") else min(PART_LEADS, wanted - found.figures["leads"])
        round_ = Round(
            leads=leads,
            processes=PROCESSES,
            lanes=WORKERS // PROCESSES,
            kills=max(len(POINTS), leads // LEADS_PER_KILL),
            job_leads_max=JOB_LEADS_MAX,
            seed=seed,
        )
        name = f"round_{seed}"
        where = await _database(server, name)
        processes = Processes(where, round_)
        outages = _Outages(server)
        seen = await processes.run(beside=outages.run)
        await _count(found, where, seen, round_)
        found.figures["postgres_kills"] += outages.kills
        found.figures["leads_per_s"] = round(found.figures["leads"] / (time.monotonic() - began_s), 1)
        progress(replace(found, complete=False))
        seed += 1


async def _count(found: Findings, where: Where, seen: Seen, round_: Round) -> None:
    problems = seen.problems + await audit(where.admin_dsn, seen.told, round_.leads)
    found.violations += [f"seed {round_.seed}: {problem}" for problem in problems]
    replica = await Replica.open(where.url, where.password, size=4)
    replayed, differing = await replay_some(where.admin_dsn, replica, REPLAYED)
    await replica.database.close()
    found.violations += [f"seed {round_.seed}: a decision comes out otherwise: {each.told!r}" for each in differing[:3]]
    figures = found.figures
    figures["leads"] += round_.leads
    figures["lost"] += round_.leads - len(seen.told)
    figures["kills"] += seen.killed.total()
    figures["changes_of_rules_and_people"] += seen.changes["rules"] + seen.changes["people"]
    figures["decisions_replayed"] += replayed
    figures["decisions_replayed_otherwise"] += len(differing)
    for point, deaths in seen.killed.items():
        figures["kills_by_point"][point] += deaths


class _Outages:
    """Kills PostgreSQL with -9 after every so many leads of a round, and starts it again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.kills = 0

    async def run(self, processes: Processes) -> None:
        while True:
            await asyncio.sleep(0.2)
            if len(processes.seen.told) >= (self.kills + 1) * LEADS_PER_OUTAGE:
                self.kills += 1
                await asyncio.to_thread(self._server.kill)
                await self._start_again()

    async def _start_again(self) -> None:
        """Backends of the dead server may hold its memory for a while: then a new one refuses to start."""
        for _ in range(STARTS_MAX):
            with suppress(ServerStartError):
                return await asyncio.to_thread(self._server.start)
            await asyncio.sleep(1)
        raise TimeoutError(f"PostgreSQL could not be started in {STARTS_MAX} tries")


async def _database(server: PostgresServer, name: str) -> Where:
    await provision_database(server.dsn(), name)
    await provision_schema(server.dsn(name), name, "leads")
    await migrate(server.dsn(name, user="leads_owner", password="proof"), "leads", MIGRATIONS["leads"])
    return Where(f"postgresql://leads@{server.host}:{server.port}/{name}", "proof", server.dsn(name))
