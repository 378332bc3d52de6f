"""A throw-away world for candidates: keys, a NATS and a PostgreSQL of the gate's own, all on loopback, gone at the end."""

import asyncio
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import nats
from nats.aio.client import Client

from breakwater.chassis.migrations import migrate
from breakwater.compat.vectors import Keys
from breakwater.local.databases import MIGRATIONS, ROOT, provision_database, provision_roles, provision_schema
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.local.postgres import PostgresServer
from breakwater.local.provision import roles_of
from breakwater.local.secret_files import secret_bytes, write_secret
from breakwater.local.state import State
from breakwater.local.topology import PROCESSES

CALLERS = "callers"
"""Whose keys sign the tokens of people and machines at the gateway."""


@dataclass(slots=True)
class World:
    """What candidates stand on. `keys` are by owner: each process's, and the callers' issuer's."""

    state: State
    keys: dict[str, Keys]
    postgres: PostgresServer
    nats: NatsServer
    bus: Client
    """A connection that may do all."""
    _databases: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def database(self, process: str, tree: Path) -> str:
        """A new database with the schema of `process` as `tree` migrates it; answers its URL for it, without a password.

        Raises `MigrationFailedError`.
        """
        name = f"candidate_{next(self._databases)}"
        await provision_database(self.postgres.dsn(), name)
        await provision_schema(self.postgres.dsn(name), name, process)
        password = roles_of(self.state, process).owner_password
        dsn = self.postgres.dsn(name, user=f"{process}_owner", password=password)
        await migrate(dsn, process, tree / MIGRATIONS[process].relative_to(ROOT))
        return f"postgresql://{process}@{self.postgres.host}:{self.postgres.port}/{name}"

    async def connect(self, url: str) -> "asyncpg.Connection[Any]":
        """A connection to one candidate's database that may do all."""
        return await asyncpg.connect(self.postgres.dsn(url.rpartition("/")[2]))

    async def drop(self, url: str) -> None:
        """Forgets a candidate's database."""
        name = url.rpartition("/")[2]
        connection = await asyncpg.connect(self.postgres.dsn())
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()


@asynccontextmanager
async def opened() -> AsyncIterator[World]:
    """Starts both servers, side by side, and makes every key anew. Raises what `breakwater.local` raises."""
    place = Path(tempfile.mkdtemp(prefix="breakwater-gate-"))
    state = State.at(place / "state")
    state.prepare()
    keys = {owner: Keys(owner) for owner in (*PROCESSES, CALLERS)}
    _write_keys(state, keys)
    # Kills are survived without fsync, and nobody cuts the power of a gate.
    settings = {"fsync": "off", "shared_buffers": "32MB"}
    postgres = PostgresServer(
        place / "postgres",
        password_file=state.password_file("superuser"),
        settings=settings,
        log_file=place / "postgres.log",
    )
    server = NatsServer(place / "nats", secrets=state.secrets, log_file=place / "nats.log")
    try:
        server.start()
        postgres.start()
        await provision_roles(postgres.dsn(), [roles_of(state, process) for process in PROCESSES])
        async with _connected(server) as client:
            yield World(state, keys, postgres, server, client)
    finally:
        server.close()
        postgres.close()
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


@asynccontextmanager
async def with_own_nats(world: World) -> AsyncIterator[World]:
    """The same place but for NATS: for a candidate that must not hear one that runs at the same time."""
    place = Path(tempfile.mkdtemp(prefix="nats-", dir=world.state.root.parent))
    server = NatsServer(place / "nats", secrets=world.state.secrets, log_file=place / "nats.log")
    try:
        server.start()
        async with _connected(server) as client:
            yield replace(world, nats=server, bus=client)
    finally:
        server.close()


@asynccontextmanager
async def _connected(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, user=OPERATOR, password=server.password(OPERATOR))
    try:
        yield client
    finally:
        await client.close()


def _write_keys(state: State, keys: dict[str, Keys]) -> None:
    for process in PROCESSES:
        write_secret(state.service_key(process), json.dumps(keys[process].jwk("current", private=True)))
    published = [keys[process].jwk(role) for process in PROCESSES for role in ("current", "previous")]
    write_secret(state.service_jwks, json.dumps({"keys": published}))
    callers = [keys[CALLERS].jwk(role) for role in ("current", "previous")]
    write_secret(state.caller_jwks, json.dumps({"keys": callers}))
    for key in (state.body_key, state.seal_key):
        secret_bytes(key)
