"""Roles and schemas: each service has a schema, an owner for migrations, and a run-time role that only changes rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[3]

MIGRATIONS: Mapping[str, Path] = {
    "leads": ROOT / "services/leads/migrations",
    "notify": ROOT / "services/notify/migrations",
    "files": ROOT / "services/files/migrations",
    "health": ROOT / "services/health/migrations",
    "gateway": ROOT / "services/gateway/migrations",
    "ops": ROOT / "services/gateway/ops/migrations",
}

_ROLE_ABSENT = "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"
_DATABASE_ABSENT = "SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = $1)"

# One statement a line; %1$I is the schema and run-time role, %2$I its owner.
_GRANTS = (
    "CREATE SCHEMA IF NOT EXISTS %1$I AUTHORIZATION %2$I",
    "GRANT USAGE ON SCHEMA %1$I TO %1$I",
    "ALTER DEFAULT PRIVILEGES FOR ROLE %2$I IN SCHEMA %1$I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %1$I",
    "ALTER DEFAULT PRIVILEGES FOR ROLE %2$I IN SCHEMA %1$I GRANT USAGE, SELECT ON SEQUENCES TO %1$I",
    # No service runs another's functions either.
    "ALTER DEFAULT PRIVILEGES FOR ROLE %2$I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES FOR ROLE %2$I IN SCHEMA %1$I GRANT EXECUTE ON FUNCTIONS TO %1$I",
)


@dataclass(frozen=True, slots=True)
class ServiceRoles:
    """The passwords of a service's two roles, named `<service>` and `<service>_owner`."""

    service: str
    password: str
    owner_password: str


async def provision_roles(admin_dsn: str, roles: Sequence[ServiceRoles]) -> None:
    """Makes every role with its present password. Safe to repeat."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        for role in roles:
            for name, password in ((role.service, role.password), (f"{role.service}_owner", role.owner_password)):
                if await connection.fetchval(_ROLE_ABSENT, name):
                    await _execute(connection, "CREATE ROLE %1$I LOGIN", name)
                await _execute(connection, "ALTER ROLE %1$I PASSWORD %2$L", name, password)
                await _execute(connection, "ALTER ROLE %1$I SET search_path = %2$I, public", name, role.service)
    finally:
        await connection.close()


async def provision_database(admin_dsn: str, database: str) -> None:
    """Makes the database, closed to everyone not named. Safe to repeat. `admin_dsn` names another database."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        if await connection.fetchval(_DATABASE_ABSENT, database):
            await _execute(connection, "CREATE DATABASE %1$I", database)
        await _execute(connection, "REVOKE ALL ON DATABASE %1$I FROM PUBLIC", database)
    finally:
        await connection.close()


async def provision_schema(admin_dsn: str, database: str, service: str) -> None:
    """Makes the service's schema with its grants and pg_trgm. Safe to repeat. `admin_dsn` names `database` itself."""
    connection = await asyncpg.connect(admin_dsn)
    owner = f"{service}_owner"
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
        await _execute(connection, "GRANT CONNECT ON DATABASE %1$I TO %2$I, %3$I", database, service, owner)
        for statement in _GRANTS:
            await _execute(connection, statement, service, owner)
    finally:
        await connection.close()


async def _execute(connection: asyncpg.Connection, statement: str, *names: str) -> None:
    # The server quotes the names: DDL takes no parameters.
    await connection.execute(
        await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, list(names))
    )
