"""Migrations and the tables of the chassis, against a real PostgreSQL."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from breakwater.chassis.migrations import MigrationChangedError, MigrationFailedError, migrate

CHASSIS = ["chassis/0001_outbox.sql", "chassis/0002_inbox.sql", "chassis/0003_idempotency.sql"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_leads.sql").write_text("CREATE TABLE leads (id uuid PRIMARY KEY);")
    (tmp_path / "0002_names.sql").write_text("ALTER TABLE leads ADD COLUMN name text; -- 姓名")
    return tmp_path


async def test_files_are_applied_in_order_and_once(fresh_database: Any, directory: Path) -> None:
    """The chassis's tables come first, then the service's files; a second run finds nothing to do."""
    database = await fresh_database("leads", migrations=None)
    assert await migrate(database.owner_dsn, "leads", directory) == [*CHASSIS, "0001_leads.sql", "0002_names.sql"]
    assert await migrate(database.owner_dsn, "leads", directory) == []


async def test_many_processes_may_migrate_at_once(fresh_database: Any, directory: Path) -> None:
    """Each file is applied by exactly one of them."""
    database = await fresh_database("leads", migrations=None)
    applied = await asyncio.gather(*(migrate(database.owner_dsn, "leads", directory) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == sorted([*CHASSIS, "0001_leads.sql", "0002_names.sql"])


async def test_a_changed_file_is_refused(fresh_database: Any, directory: Path) -> None:
    """What was applied never changes under the same name."""
    database = await fresh_database("leads", migrations=None)
    await migrate(database.owner_dsn, "leads", directory)
    (directory / "0001_leads.sql").write_text("CREATE TABLE leads (id text PRIMARY KEY);")
    with pytest.raises(MigrationChangedError, match=r"0001_leads\.sql"):
        await migrate(database.owner_dsn, "leads", directory)


async def test_a_failing_file_leaves_nothing_of_itself(fresh_database: Any, directory: Path) -> None:
    """The error names the file; corrected, it is applied as if nothing had happened."""
    database = await fresh_database("leads", migrations=None)
    (directory / "0003_more.sql").write_text("CREATE TABLE more (id int); SELECT 1 / 0;")
    with pytest.raises(MigrationFailedError, match=r"0003_more\.sql"):
        await migrate(database.owner_dsn, "leads", directory)
    (directory / "0003_more.sql").write_text("CREATE TABLE more (id int);")
    assert await migrate(database.owner_dsn, "leads", directory) == ["0003_more.sql"]


async def test_the_run_time_role_changes_rows_and_nothing_else(fresh_database: Any, directory: Path) -> None:
    """Its tables can neither be altered nor emptied by it, not even the outbox with its ring of days."""
    database = await fresh_database("leads", migrations=None)
    await migrate(database.owner_dsn, "leads", directory)
    connection = await asyncpg.connect(database.dsn)
    try:
        await connection.execute("INSERT INTO leads (id) VALUES (gen_random_uuid())")
        assert await connection.fetchval("SELECT outbox_empty_old_days(7)") == 0
        for forbidden in ("TRUNCATE outbox", "TRUNCATE outbox_03", "DROP TABLE leads", "CREATE TABLE mine (id int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
