"""Imports on a real database: what takes files, and as many runners as a test wants."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.idempotence import Keyed
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.domain import Import, ImportLimits, Rejection
from services.leads.intake.imports.runner import ImportRunner
from services.leads.intake.imports.store import PostgresImportStore, PostgresStores
from services.leads.intake.imports.usecases import Imports, Order

ZOHO = Path(__file__).parents[5] / "shared/data/zoho"
ADMIN = Actor("admin", Role.ADMIN, Scope.ALL)


class KilledError(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@dataclass
class Platform:
    """The service's imports, a file at a time."""

    leads: "Leads"  # noqa: F821 - tests/integration/leads/conftest.py
    limits: ImportLimits
    store: PostgresImportStore
    imports: Imports
    checkpoints: list[str] = field(default_factory=list)

    def runner(self, checkpoint: Callable[[str], None] | None = None) -> ImportRunner:
        return ImportRunner(
            self.store, mapping_of, self.leads.clock, self.limits, checkpoint=checkpoint or self.checkpoints.append
        )

    async def start(
        self,
        content: bytes,
        mapping: str = "",
        *,
        document: str = "",
        filename: str = "leads.csv",
        actor: Actor = ADMIN,
        key: str = "",
        reassign: bool = False,
    ) -> tuple[Import, bool]:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in reading.pieces_of(content, self.limits):
                yield piece

        keyed = Keyed(actor.sub, "StartImport", key, content[:64])
        return await self.imports.start(actor, Order(filename, mapping, document, reassign), pieces(), keyed)

    async def run(self, content: bytes, mapping: str = "", **options) -> Import:
        """Takes the file and works on it to its end."""
        started, _ = await self.start(content, mapping, **options)
        assert await self.runner().run_one()
        return await self.imports.get(ADMIN, started.id)

    async def rejections(self, import_id: str) -> list[Rejection]:
        found, _ = await self.imports.rejections(ADMIN, import_id, 1000, "")
        return found

    async def counts(self) -> dict[str, int]:
        """Rows of every table of the service."""
        tables = await self.leads.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'leads'::regnamespace AND relkind IN ('r', 'p')"
        )
        return {
            row["relname"]: await self.leads.value(f'SELECT count(*) FROM leads."{row["relname"]}"') for row in tables
        }


@pytest.fixture
def limits() -> ImportLimits:
    """Small chunks, so that small files have many."""
    return ImportLimits(chunk_rows=50, piece_bytes_max=4_096)


@pytest.fixture
async def platform(leads, limits) -> Platform:
    """Imports on an empty database."""
    store = PostgresImportStore(leads.database, lambda tx: PostgresStores(tx, leads.snapshots), limits)
    return Platform(leads, limits, store, Imports(store, mapping_of, reading.inspect, leads.clock, limits))


@pytest.fixture
def zoho() -> Callable[[str], bytes]:
    """A file of the real export, as it is."""
    assert ZOHO.is_dir(), "the real CRM export lies beside the project, in ../shared/data/zoho: see README, Tests"
    return lambda name: (ZOHO / f"{name}.csv").read_bytes()
