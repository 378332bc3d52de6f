"""Keys, roles and schemas: made once, found again, and each service shut out of the others' rows."""

import json

import asyncpg
import pytest

from breakwater.local.postgres import PostgresServer
from breakwater.local.provision import provision_keys, provision_postgres
from breakwater.local.secret_files import secret_text
from breakwater.local.state import State
from breakwater.local.topology import DATABASE, PROCESSES


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state directory with its keys."""
    state = State.at(tmp_path_factory.mktemp("provision") / "state")
    state.prepare()
    provision_keys(state)
    return state


@pytest.fixture(scope="module")
async def server(state):
    """A PostgreSQL provisioned twice, as the second start does it."""
    server = PostgresServer(
        state.root / "postgres",
        password_file=state.password_file("superuser"),
        settings={"fsync": "off"},
        log_file=state.logs / "postgres.log",
    )
    server.start()
    await provision_postgres(state, server)
    await provision_postgres(state, server)
    yield server
    server.close()


def service_dsn(state, server, service):
    return server.dsn(DATABASE, user=service, password=secret_text(state.password_file(service)))


def test_keys_stay_what_they_are(state):
    """The second start signs with the keys of the first; every process has one, and publishes only its public half."""
    before = {path.name: path.read_bytes() for path in state.keys.iterdir()}
    provision_keys(state)
    assert {path.name: path.read_bytes() for path in state.keys.iterdir()} == before
    published = json.loads(state.service_jwks.read_text())["keys"]
    assert {key["owner"] for key in published} == set(PROCESSES)
    assert all("d" not in key and key["use_env"] == "development" for key in published)


def test_secrets_are_for_their_owner_alone(state):
    """Mode 0600, 32 bytes of randomness; the body key does not end in a line break, which readers would strip."""
    for path in state.keys.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(state.body_key.read_bytes().rstrip(b"\r\n")) == 32


async def test_every_process_reaches_its_own_schema_only(state, server):
    """Every role x foreign table is denied: read, write, and even the list of rows."""
    admin = await asyncpg.connect(server.dsn(DATABASE))
    tables = await admin.fetch(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1::text[])", list(PROCESSES)
    )
    await admin.close()
    assert {row["schemaname"] for row in tables} == set(PROCESSES)
    for service in PROCESSES:
        connection = await asyncpg.connect(service_dsn(state, server, service))
        for schema, table in tables:
            name = f'"{schema}"."{table}"'
            if schema == service:
                await connection.execute(f"SELECT FROM {name} LIMIT 0")
                continue
            for statement in (f"SELECT FROM {name} LIMIT 0", f"DELETE FROM {name}", f"TRUNCATE {name}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        await connection.close()


async def test_no_process_is_more_than_it_needs(state, server):
    """No run-time or owner role is superuser, makes roles or databases, or reaches another database."""
    connection = await asyncpg.connect(server.dsn())
    powerful = await connection.fetch(
        "SELECT rolname FROM pg_roles WHERE (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
        " AND rolname NOT LIKE 'pg\\_%'"
    )
    await connection.close()
    assert [row["rolname"] for row in powerful] == ["postgres"]
