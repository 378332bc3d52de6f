"""A simulated month of leads with outages, on a virtual clock and a real database."""

import asyncio
import os
from dataclasses import asdict
from typing import Any, Final

import asyncpg

from breakwater.chassis.database import Database
from tests.month.world import Month, Plan
from tests.proofs.register import Effort, Findings, Progress
from tests.timers.place import place

DAYS: Final = 30
LEADS_A_DAY: Final = 200


def prove(effort: Effort, progress: Progress) -> Findings:
    """`SCHEDULES=` is the number of days; `SAMPLE=` of leads a day."""
    return asyncio.run(_prove(effort))


async def _prove(effort: Effort) -> Findings:
    plan = Plan(days=effort.schedules or DAYS, leads_a_day=effort.sample or LEADS_A_DAY, seed=effort.seed)
    async with place() as (url, password_file, admin_dsn):
        database = await Database.open(url, service="leads", password=password_file.read_text())
        admin = await asyncpg.connect(admin_dsn)
        try:
            await admin.execute("SET search_path = leads, public")
            outcome = await Month(plan, database, admin).run()
        finally:
            await admin.close()
            await database.close()
    figures: dict[str, Any] = {**asdict(plan), **asdict(outcome), "cores": os.cpu_count()}
    figures["begins"] = plan.begins.isoformat()
    complete = plan.days >= DAYS and plan.leads_a_day >= LEADS_A_DAY
    return Findings(figures=figures, violations=figures.pop("problems"), complete=complete)
