"""A database of leads, with what its stores need."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database, PoolLimits
from services.leads.documents.store import Newest, PostgresDocumentStore
from services.leads.followups.playbook import PLAYBOOK, Playbook, read_playbook
from services.leads.followups.reads import PostgresFollowUpReader
from services.leads.followups.store import PostgresWorkStore
from services.leads.intake.capture import Captured, capture_leads
from services.leads.intake.domain import LeadDraft, normalise
from services.leads.intake.growth.domain import GROWTH, Growth, read_growth
from services.leads.intake.growth.store import PostgresGrowthReader, PostgresGrowthStore
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import PostgresCaptureStore
from services.leads.organisation.domain import Person
from services.leads.organisation.duty import OrdinaryDays
from services.leads.organisation.store import (
    PostgresDirectoryReader,
    PostgresOrganisationStore,
    upsert_people,
)
from services.leads.routing.rulebook import PostgresRulesStore
from services.leads.routing.store import Snapshots
from services.leads.routing.waiting import PostgresRerouteStore
from services.leads.sla.calendars import load_holidays
from services.leads.sla.store import PostgresTimerStore
from services.leads.story.store import PostgresStoryReader
from services.leads.tagging.domain import TAGS, Dictionary, read_dictionary
from services.leads.tagging.store import PostgresTagReader, PostgresTranscriptStore

HOLIDAYS = Path(__file__).parents[3] / "services/leads/sla/holidays.yaml"

Begin = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass
class Replica:
    """What one leads process has: a pool and a snapshot of its own."""

    database: Database
    clock: VirtualClock
    snapshots: Snapshots = field(default_factory=lambda: Snapshots(load_holidays(HOLIDAYS)))

    playbooks: Newest[Playbook] = field(default_factory=lambda: Newest(PLAYBOOK, read_playbook))
    growths: Newest[Growth] = field(default_factory=lambda: Newest(GROWTH, read_growth))
    dictionaries: Newest[Dictionary] = field(default_factory=lambda: Newest(TAGS, read_dictionary))

    def begin(self, store: Any) -> Begin:
        return partial(store.begin, self.database, self.snapshots)

    @property
    def begin_capture(self) -> Begin:
        return self.begin(PostgresCaptureStore)

    @property
    def begin_reading(self) -> Begin:
        return self.begin(PostgresLeadReader)

    @property
    def begin_work(self) -> Begin:
        return partial(PostgresWorkStore.begin, self.database, self.snapshots, self.playbooks)

    @property
    def begin_growth(self) -> Begin:
        return partial(PostgresGrowthStore.begin_growth, self.database, self.snapshots, self.growths)

    @property
    def begin_growth_reading(self) -> Begin:
        return partial(PostgresGrowthReader.begin_growth, self.database, self.snapshots, self.growths)

    @property
    def begin_follow_ups(self) -> Begin:
        return partial(PostgresFollowUpReader.begin, self.database, self.snapshots, self.playbooks)

    @property
    def begin_transcripts(self) -> Begin:
        return partial(
            PostgresTranscriptStore.begin_tagging, self.database, self.snapshots, self.playbooks, self.dictionaries
        )

    @property
    def begin_tags(self) -> Begin:
        return partial(PostgresTagReader.begin, self.database, self.snapshots, self.dictionaries)

    @property
    def begin_dictionary(self) -> Begin:
        return partial(PostgresDocumentStore.begin, self.database, TAGS)

    @property
    def begin_story(self) -> Begin:
        return self.begin(PostgresStoryReader)

    @property
    def begin_playbook(self) -> Begin:
        return partial(PostgresDocumentStore.begin, self.database, PLAYBOOK)

    @property
    def begin_rules(self) -> Begin:
        return self.begin(PostgresRulesStore)

    @property
    def begin_timers(self) -> Begin:
        return self.begin(PostgresTimerStore)

    @property
    def begin_rerouting(self) -> Begin:
        return self.begin(PostgresRerouteStore)

    @property
    def begin_people(self) -> Begin:
        return partial(PostgresDirectoryReader.begin, self.database, self.snapshots.directory)

    @property
    def begin_organisation(self) -> Begin:
        return partial(PostgresOrganisationStore.begin, self.database, OrdinaryDays())

    async def capture(self, *drafts: LeadDraft, **options: Any) -> list[Captured]:
        """Captures drafts in one transaction."""
        async with self.begin_capture() as store:
            normalised = [normalise(draft) for draft in drafts]
            return await capture_leads(store, normalised, now=self.clock.now(), **options)

    async def people(self, *people: Person) -> None:
        """Adds or changes people."""
        async with self.database.transaction() as tx:
            await upsert_people(tx, people)


@dataclass
class Leads(Replica):
    """The first replica, and the tables behind it."""

    admin: asyncpg.Connection = field(kw_only=True)
    another: Callable[[], Any] = field(kw_only=True)
    """`await leads.another()` is a second replica on the same database."""

    async def value(self, sql: str, *args: Any) -> Any:
        return await self.admin.fetchval(sql, *args)

    async def rows(self, sql: str, *args: Any) -> Sequence[asyncpg.Record]:
        return await self.admin.fetch(sql, *args)

    async def events(self, lead_id: str) -> list[tuple[str, int]]:
        """Type and sequence of a subject's events, in the order they are published."""
        rows = await self.rows("SELECT type, sequence FROM outbox WHERE subject_id = $1 ORDER BY position", lead_id)
        return [(row["type"].rpartition(".")[2], row["sequence"]) for row in rows]


@pytest.fixture
async def leads(fresh_database: Any) -> AsyncIterator[Leads]:
    """A migrated, empty leads database with the default organisation and rules; it is Monday 10:00 in Shanghai."""
    where = await fresh_database("leads")
    opened: list[Database] = []

    async def open_database() -> Database:
        limits = PoolLimits(size_max=8, acquire_timeout_s=20)
        opened.append(await Database.open(where.url, service="leads", password=where.password, limits=limits))
        return opened[-1]

    async def another() -> Replica:
        return Replica(await open_database(), clock)

    admin = await asyncpg.connect(where.admin_dsn)
    await admin.execute("SET search_path = leads, public")
    clock = VirtualClock()
    await clock.advance(3600)
    yield Leads(await open_database(), clock, admin=admin, another=another)
    await admin.close()
    for database in opened:
        await database.close()
