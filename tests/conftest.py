"""Real servers for every test that wants one: started once a session on free ports, cheap to be made fresh."""

import asyncio
import inspect
import itertools
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from hypothesis import settings

from breakwater.local.databases import (
    MIGRATIONS,
    ServiceRoles,
    provision_database,
    provision_roles,
    provision_schema,
)
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.local.postgres import PostgresServer
from breakwater.local.secret_files import secret_text
from tests.support.memory import folder_in_memory

# The same examples in every run, so that a red test is of the change at hand; `--hypothesis-profile=exploring` tries others.
# None has a deadline: it would be one for the machine.
settings.register_profile("exploring", print_blob=True, deadline=None)
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


@dataclass(frozen=True, slots=True)
class ServiceDatabase:
    """A database of a test's own that holds one service's schema, as the launcher would have made it."""

    service: str
    url: str
    """Without password, as BREAKWATER_DATABASE_URL has it; run-time role."""
    password_file: Path
    dsn: str
    """With the run-time role's password."""
    owner_dsn: str
    """The role of the migrations."""
    admin_dsn: str
    """The superuser, to look and to break things."""

    @property
    def password(self) -> str:
        return secret_text(self.password_file)


Eventually = Callable[..., Awaitable[Any]]
FreshDatabase = Callable[..., Awaitable[ServiceDatabase]]
SERVICES_OWN = Path("its own")
"""Stands for the migrations of the service asked for."""


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """`value = await eventually(check, timeout_s=10)`: calls `check` (plain or async) until it answers something true.

    Fails with the last answer after `timeout_s` seconds; an AssertionError of `check` counts as "not yet".
    """

    async def wait(check: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                answer = check()
                if inspect.isawaitable(answer):
                    answer = await answer
            except AssertionError as error:
                answer, reason = None, str(error)
            else:
                reason = repr(answer)
            if answer:
                return answer
            if loop.time() > deadline:
                pytest.fail(f"not within {timeout_s} s: {reason}")
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL for the session. Tests that stop or kill it start one of their own."""
    place = tmp_path_factory.mktemp("postgres")
    with folder_in_memory(otherwise=place) as files:
        server = PostgresServer(
            files / "server",
            password_file=place / "secrets" / "postgres.password",
            # Kills are survived without it; only power loss is not, and no test cuts the power.
            settings={"fsync": "off", "max_wal_size": "128MB"},
            log_file=place / "postgres.log",
        )
        server.start()
        yield server
        server.close()


@pytest.fixture
async def fresh_database(postgres_server: PostgresServer) -> AsyncIterator[FreshDatabase]:
    """`database = await fresh_database("leads")`: a new, migrated database of that service; dropped after the test.

    `migrations` are the service's unless another folder is given; None leaves the schema empty. Costs some 30 ms after the
    first one of a service and folder.
    """
    made: list[str] = []

    async def create(service: str, migrations: Path | None = SERVICES_OWN) -> ServiceDatabase:
        folder = MIGRATIONS[service] if migrations is SERVICES_OWN else migrations
        template = await _template(postgres_server, service, folder)
        name = f"test_{next(_numbers)}"
        made.append(name)
        # Files copied in memory take a fifth of the time of pages written to the log.
        await _as_admin(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        await provision_database(postgres_server.dsn(), name)
        await provision_schema(postgres_server.dsn(name), name, service)
        return _service_database(postgres_server, service, name)

    yield create
    for name in made:
        await _as_admin(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real nats-server with JetStream for the session, with every service's user (`password_file(user)`).

    Streams stay from test to test: most want `clean_nats`. Tests that stop or kill it start one of their own.
    """
    place = tmp_path_factory.mktemp("nats")
    server = NatsServer(place / "server", secrets=place / "secrets", log_file=place / "nats.log")
    server.start()
    yield server
    server.close()


@pytest.fixture
async def clean_nats(nats_server: NatsServer) -> NatsServer:
    """The session's nats-server without any stream."""
    connection = await nats.connect(nats_server.url, user=OPERATOR, password=nats_server.password(OPERATOR))
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name or "")
    await connection.close()
    return nats_server


_numbers = itertools.count(1)


async def _template(server: PostgresServer, service: str, migrations: Path | None) -> str:
    template = f"template_{service}_{zlib.crc32(str(migrations).encode()):08x}"
    connection = await asyncpg.connect(server.dsn())
    present = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", template)
    await connection.close()
    if present:
        return template
    aside = f"{template}_aside"
    await _as_admin(server, f'DROP DATABASE IF EXISTS "{aside}" WITH (FORCE)')
    password, owner_password = (secret_text(file(server, service)) for file in (_password_file, _owner_file))
    await provision_roles(server.dsn(), [ServiceRoles(service, password, owner_password)])
    await provision_database(server.dsn(), aside)
    await provision_schema(server.dsn(aside), aside, service)
    if migrations is not None:
        # Only here: tests of the servers alone do without the services' dependencies.
        from breakwater.chassis.migrations import migrate  # noqa: PLC0415

        owner_dsn = server.dsn(aside, user=f"{service}_owner", password=owner_password)
        await migrate(owner_dsn, service, migrations)
    # The name appears when all of it is there, so a failed migration is reported by every test and not by the first.
    await _as_admin(server, f'ALTER DATABASE "{aside}" RENAME TO "{template}"')
    return template


def _service_database(server: PostgresServer, service: str, name: str) -> ServiceDatabase:
    password_file = _password_file(server, service)
    return ServiceDatabase(
        service=service,
        url=f"postgresql://{service}@{server.host}:{server.port}/{name}",
        password_file=password_file,
        dsn=server.dsn(name, user=service, password=secret_text(password_file)),
        owner_dsn=server.dsn(name, user=f"{service}_owner", password=secret_text(_owner_file(server, service))),
        admin_dsn=server.dsn(name),
    )


def _password_file(server: PostgresServer, service: str) -> Path:
    return server.password_file.with_name(f"{service}.password")


def _owner_file(server: PostgresServer, service: str) -> Path:
    return server.password_file.with_name(f"{service}-owner.password")


async def _as_admin(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
