"""Databases with the chassis's own tables, and connections to the session's NATS, for the tests of data and events."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database, PoolLimits
from breakwater.local.nats import NatsServer

LIMITS = PoolLimits(size_max=4, acquire_timeout_s=1.0, statement_timeout_s=5.0)

OpenDatabase = Callable[..., Awaitable[Database]]
OpenBus = Callable[..., Awaitable[Bus]]


@dataclass(frozen=True)
class Schema:
    """A database of the test's own with the chassis's tables and `effects`, which handlers write to."""

    service: str
    dsn: str
    owner_dsn: str
    admin_dsn: str

    async def as_admin(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute(f"SET search_path = {self.service}")
            return await connection.fetch(sql, *args)
        finally:
            await connection.close()


@pytest.fixture
async def schema(fresh_database: Any) -> Schema:
    """The schema of `leads`."""
    return await _schema(fresh_database, "leads")


@pytest.fixture
async def receiving_schema(fresh_database: Any) -> Schema:
    """The schema of `notify`, in a database of its own."""
    return await _schema(fresh_database, "notify")


@pytest.fixture
async def open_database() -> AsyncIterator[OpenDatabase]:
    """`db = await open_database(schema, policy=...)`; closed after the test."""
    opened: list[Database] = []

    async def create(schema: Schema, **options: Any) -> Database:
        options = {"service": schema.service, "limits": LIMITS} | options
        opened.append(await Database.open(schema.dsn, **options))
        return opened[-1]

    yield create
    for database in opened:
        await database.close()


@pytest.fixture
async def db(schema: Schema, open_database: OpenDatabase) -> Database:
    return await open_database(schema)


@pytest.fixture
async def receiver_db(receiving_schema: Schema, open_database: OpenDatabase) -> Database:
    return await open_database(receiving_schema)


@pytest.fixture
async def open_bus() -> AsyncIterator[OpenBus]:
    """`bus = await open_bus(nats_server, "leads")`; closed after the test."""
    opened: list[Bus] = []

    async def create(server: NatsServer, service: str, **options: Any) -> Bus:
        opened.append(
            await Bus.connect(server.url, service=service, user=service, password=server.password(service), **options)
        )
        return opened[-1]

    yield create
    for bus in opened:
        await bus.close()


@pytest.fixture
async def bus(clean_nats: NatsServer, open_bus: OpenBus) -> Bus:
    return await open_bus(clean_nats, "leads")


@pytest.fixture
async def receiver_bus(clean_nats: NatsServer, open_bus: OpenBus) -> Bus:
    return await open_bus(clean_nats, "notify")


async def _schema(fresh_database: Any, service: str) -> Schema:
    database = await fresh_database(service, Path(__file__).with_name("effects"))
    return Schema(service, database.dsn, database.owner_dsn, database.admin_dsn)
