"""Keys, passwords, roles, schemas and migrations of a local platform: made on the first start, found on the next."""

import asyncio
import json

from breakwater.chassis.auth import new_private_jwk, public_jwk
from breakwater.chassis.migrations import MigrationChangedError, MigrationFailedError, migrate
from breakwater.local.databases import (
    MIGRATIONS,
    ServiceRoles,
    provision_database,
    provision_roles,
    provision_schema,
)
from breakwater.local.errors import LocalPlatformError
from breakwater.local.postgres import PostgresServer
from breakwater.local.secret_files import secret_bytes, secret_text, write_secret
from breakwater.local.state import State
from breakwater.local.topology import DATABASE, PROCESSES


def provision_keys(state: State) -> None:
    """Private keys where there are none, and the public sets of those there are."""
    private = [_private_jwk(state, process) for process in PROCESSES]
    write_secret(state.service_jwks, _key_set(private))
    if not state.caller_key.exists():
        write_secret(state.caller_key, json.dumps(new_private_jwk("callers", development=True)))
    write_secret(state.caller_jwks, _key_set([json.loads(state.caller_key.read_bytes())]))
    for key in (state.body_key, state.seal_key):
        secret_bytes(key)


async def provision_postgres(state: State, server: PostgresServer) -> None:
    """Roles with their passwords, the database, each process's schema, and its migrations. Needs a ready server.

    Raises LocalPlatformError, naming the migration that failed.
    """
    roles = [roles_of(state, process) for process in PROCESSES]
    await provision_roles(server.dsn(), roles)
    await provision_database(server.dsn(), DATABASE)
    for role in roles:
        await provision_schema(server.dsn(DATABASE), DATABASE, role.service)
    # Side by side, for each has a schema of its own.
    await asyncio.gather(*(_migrate(server, role) for role in roles))


def roles_of(state: State, process: str) -> ServiceRoles:
    """The two roles of a process with their passwords, which are made where there are none."""
    return ServiceRoles(
        process, secret_text(state.password_file(process)), secret_text(state.password_file(f"{process}_owner"))
    )


async def _migrate(server: PostgresServer, role: ServiceRoles) -> None:
    owner_dsn = server.dsn(DATABASE, user=f"{role.service}_owner", password=role.owner_password)
    try:
        await migrate(owner_dsn, role.service, MIGRATIONS[role.service])
    except (MigrationChangedError, MigrationFailedError) as error:
        raise LocalPlatformError(f"The schema of {role.service} cannot be brought up to date: {error}") from error


def _private_jwk(state: State, process: str) -> dict[str, str]:
    path = state.service_key(process)
    if not path.exists():
        write_secret(path, json.dumps(new_private_jwk(process, development=True)))
    jwk: dict[str, str] = json.loads(path.read_bytes())
    return jwk


def _key_set(private: list[dict[str, str]]) -> str:
    return json.dumps({"keys": [public_jwk(jwk) for jwk in private]}, indent=2)
