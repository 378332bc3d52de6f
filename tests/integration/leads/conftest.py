"""A database of leads, with what its stores need."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database
from services.leads.intake.capture import Captured, capture_leads
from services.leads.intake.domain import LeadDraft, normalise
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import PostgresCaptureStore
from services.leads.routing.store import Snapshots
from services.leads.sla.calendars import load_holidays

HOLIDAYS = Path(__file__).parents[3] / "services/leads/sla/holidays.yaml"


@dataclass(frozen=True, slots=True)
class Leads:
    """The service's stores on a database of the test's own."""

    database: Database
    snapshots: Snapshots
    clock: VirtualClock
    admin: asyncpg.Connection
    """The superuser: looks at tables."""

    @property
    def begin_capture(self) -> Callable[[], AbstractAsyncContextManager[PostgresCaptureStore]]:
        return partial(PostgresCaptureStore.begin, self.database, self.snapshots)

    @property
    def begin_reading(self) -> Callable[[], AbstractAsyncContextManager[PostgresLeadReader]]:
        return partial(PostgresLeadReader.begin, self.database, self.snapshots)

    async def capture(self, *drafts: LeadDraft, **options: Any) -> list[Captured]:
        async with self.begin_capture() as store:
            return await capture_leads(store, [normalise(draft) for draft in drafts], now=self.clock.now(), **options)

    async def add_people(self, *ids: str, **columns: Any) -> None:
        names = ", ".join(columns)
        values = "".join(f", ${place}" for place in range(2, len(columns) + 2))
        for person_id in ids:
            await self.admin.execute(
                f"INSERT INTO leads.people (id, name, team_id{', ' if names else ''}{names}) "
                f"VALUES ($1, 'Name of ' || $1, 'sales'{values})",
                person_id,
                *columns.values(),
            )
            await self.admin.execute("INSERT INTO leads.workloads (person_id) VALUES ($1)", person_id)
        await self.admin.execute("UPDATE leads.snapshot_version SET version = version + 1")

    async def count(self, sql: str, *args: Any) -> Any:
        return await self.admin.fetchval(sql, *args)


@pytest.fixture
async def leads(fresh_database: Any) -> AsyncIterator[Leads]:
    """A migrated, empty leads database with the default organisation and rules."""
    where = await fresh_database("leads")
    database = await Database.open(where.url, service="leads", password=where.password)
    admin = await asyncpg.connect(where.admin_dsn)
    await admin.execute("SET search_path = leads, public")
    yield Leads(database, Snapshots(load_holidays(HOLIDAYS)), VirtualClock(), admin)
    await admin.close()
    await database.close()
