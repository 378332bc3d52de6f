"""Plain SQL migrations, applied in order of their names under an advisory lock by the owner of the schema.

What is applied never changes: a wrong migration is followed by a better one. Each must let the previous release run on.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

CHASSIS_DIRECTORY: Final = Path(__file__).with_name("sql")
CONNECT_TIMEOUT_S: Final = 10.0
LOCK_TIMEOUT_S: Final = 5
"""How long a migration waits for a table in use before it gives up and leaves the service running."""
TURN_TIMEOUT_S: Final = 60.0
"""How long to wait for another process that migrates the same schema."""

_LOCK = "SELECT pg_advisory_lock(hashtextextended('breakwater.migrations.' || $1, 0))"
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text        PRIMARY KEY,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationChangedError(Exception):
    """A file was changed after it was applied; write a new one instead."""


class MigrationFailedError(Exception):
    """A file's SQL failed and nothing of it remains; the message names the file, the cause is PostgreSQL's error."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. Names sort in the order of application."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(owner_dsn: str, schema: str, directory: Path, *, password: str | None = None) -> list[str]:
    """Brings `schema` up to date: first the chassis's tables (outbox, inbox, idempotency), then `directory`/*.sql.

    Each file is one transaction; what was applied is kept in `schema_migrations(name, sha256, applied_at)`. Returns the
    names applied now. Several processes may call it at once. Raises `MigrationChangedError`, `MigrationFailedError`.
    """
    connection = await asyncpg.connect(
        owner_dsn,
        password=password,
        timeout=CONNECT_TIMEOUT_S,
        server_settings={"application_name": "breakwater-migrations"},
    )
    try:
        # A session of its own, closed below: what is set here reaches nobody else.
        await connection.execute(f"SET search_path = {_quoted(schema)}, public")
        await connection.execute(_LOCK, schema, timeout=TURN_TIMEOUT_S)
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute(_HISTORY)
        return [found.name for found in _files(directory) if await _applied_now(connection, found)]
    finally:
        await connection.close()


def _files(directory: Path) -> Iterator[Migration]:
    for prefix, folder in (("chassis/", CHASSIS_DIRECTORY), ("", directory)):
        for path in sorted(folder.glob("*.sql")):
            yield Migration(prefix + path.name, path.read_text(encoding="utf-8"))


async def _applied_now(connection: Any, migration: Migration) -> bool:
    known = await connection.fetchval("SELECT sha256 FROM schema_migrations WHERE name = $1", migration.name)
    if known is not None:
        if known != migration.sha256:
            raise MigrationChangedError(f"{migration.name} was changed after it was applied; add a new file instead")
        return False
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
            )
    except asyncpg.PostgresError as error:
        raise MigrationFailedError(f"{migration.name}: {error}") from error
    return True


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
