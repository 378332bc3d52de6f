"""The embedded PostgreSQL: real, closed, and hard to break."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from breakwater.local import binaries
from breakwater.local.directories import DataDirectory
from breakwater.local.errors import DirectoryInUseError, LocalPlatformError, PortInUseError, ServerStartError
from breakwater.local.postgres import PostgresServer
from breakwater.local.programs import unprivileged_account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place(tmp_path):
    """A directory below one that is closed to others, as a clone below /root is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed


@pytest.fixture
def server(place):
    """A server of the test's own."""
    server = PostgresServer(place / "postgres", password_file=place / "password", log_file=place / "log")
    yield server
    server.close()


async def answer(server: PostgresServer, query: str):
    connection = await asyncpg.connect(server.dsn())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_speaks_utf8_and_finds_chinese_by_trigrams(postgres_server, fresh_database):
    """pg_trgm sees Chinese words, because the cluster is UTF-8 under C.UTF-8."""
    database = await fresh_database("leads", migrations=None)
    connection = await asyncpg.connect(database.dsn)
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    assert await connection.fetchval("SELECT similarity('上海精工制造有限公司', '上海精工制造公司')") > 0.4
    await connection.close()


async def test_every_login_needs_its_password_by_scram(postgres_server):
    """No trust for anybody: a wrong or missing password is refused, and the rules know scram only."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.dsn(password="wrong"))
    methods = await answer(postgres_server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules")
    assert methods == "scram-sha-256"
    assert (postgres_server.password_file.stat().st_mode & 0o777) == 0o600


async def test_it_listens_on_the_loopback_address_only(postgres_server):
    """127.0.0.1 and no Unix socket that other users could reach."""
    assert await answer(postgres_server, "SHOW listen_addresses") == "127.0.0.1"
    assert await answer(postgres_server, "SHOW unix_socket_directories") == ""


async def test_the_runtime_role_changes_rows_and_nothing_else(fresh_database):
    """The owner makes tables; the run-time role writes rows, and can neither make nor drop a table."""
    database = await fresh_database("leads", migrations=None)
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY, text text)")
    await owner.close()
    service = await asyncpg.connect(database.dsn)
    await service.execute("INSERT INTO note (text) VALUES ('a')")
    for forbidden in ("DROP TABLE note", "CREATE TABLE other ()", "TRUNCATE note", "CREATE TABLE public.other ()"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(forbidden)
    await service.close()


async def test_data_survives_a_kill(server):
    """Killed with committed rows and started again on the same directory, it has them."""
    server.start()
    connection = await asyncpg.connect(server.dsn())
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    server.kill()
    connection.terminate()
    server.start()
    assert await answer(server, "SELECT value FROM kept") == 7


async def test_a_stale_pid_file_does_not_matter(server, place):
    """A pid file naming a living process that is no server of this directory is cleared."""
    server.start()
    server.close()
    stale = DataDirectory(place / "postgres" / "data")
    stale.write("postmaster.pid", f"{os.getpid()}\n/elsewhere\n")
    stale.close()
    server.start()
    assert await answer(server, "SELECT 1") == 1


async def test_two_servers_never_share_a_directory(server, place):
    """While a server lives its directory is locked, for its own launcher's life and beyond."""
    server.start()
    with pytest.raises(DirectoryInUseError, match="in use"):
        DataDirectory(place / "postgres" / "data", patience_s=0)


def test_a_cut_off_initdb_leaves_no_trace(server, place):
    """What a killed first start left behind is not taken for a cluster."""
    cut_off = DataDirectory(place / "postgres" / "data.new")
    cut_off.write("PG_VERSION", "18\n")
    cut_off.close()
    server.start()
    assert server.is_ready()


def test_a_cluster_of_another_major_version_is_refused_in_words(server, place):
    """The message names both versions and does not touch the data."""
    server.start()
    server.close()
    data = DataDirectory(place / "postgres" / "data")
    data.write("PG_VERSION", "13\n")
    data.close()
    with pytest.raises(LocalPlatformError, match="PostgreSQL 13 and this is 18"):
        server.start()


def test_a_taken_port_is_named_in_the_error(server, postgres_server):
    """Another server that answers on the port is not taken for ours."""
    server.port = postgres_server.port
    with pytest.raises(PortInUseError, match=f"Port {postgres_server.port} for postgres"):
        server.start()
    assert server.pid is None


def test_a_server_that_ends_says_why(place):
    """The error carries the end of the server's own log."""
    wrong = {"max_connections": "0"}
    server = PostgresServer(
        place / "postgres", password_file=place / "password", settings=wrong, log_file=place / "log"
    )
    with pytest.raises(ServerStartError, match="max_connections"):
        server.start()
    server.close()


@as_root
async def test_started_by_root_it_runs_without_any_privilege(server):
    """User and group nobody, no further group, no capability."""
    server.start()
    status = Path(f"/proc/{server.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    account = unprivileged_account()
    assert fields["Uid"].split() == [str(account.uid)] * 4
    assert fields["Gid"].split() == [str(account.gid)] * 4
    assert fields["Groups"].strip() == ""
    assert int(fields["CapEff"], 16) == 0
    assert await answer(server, "SELECT 1") == 1


@as_root
def test_programs_below_a_closed_directory_are_staged(place):
    """An unprivileged account gets a verified copy; the closed directory stays closed; damage is repaired."""
    source = binaries.nats_bundle()
    hidden = place / source.probe
    hidden.write_bytes((source.root / source.probe).read_bytes())
    hidden.chmod(0o755)
    bundle = binaries.Bundle("nats", place, source.parts, source.probe)

    staged = binaries.reachable_root(bundle, unprivileged_account())

    assert staged != place
    assert place.stat().st_mode & 0o777 == 0o700
    assert (staged / bundle.probe).stat().st_uid == 0
    (staged / bundle.probe).write_bytes(b"#!/bin/sh\nexit 0\n")
    assert binaries.reachable_root(bundle, unprivileged_account()) == staged
    assert (staged / bundle.probe).read_bytes() == hidden.read_bytes()


LAUNCHER = """
import sys
from pathlib import Path
from breakwater.local.postgres import PostgresServer
place = Path(sys.argv[1])
server = PostgresServer(place / "postgres", password_file=place / "password", log_file=place / "log")
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


async def test_no_server_outlives_a_killed_launcher(tmp_path, eventually):
    """kill -9 of the process that started it ends the server and frees its directory."""
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        pid = int(launcher.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        launcher.send_signal(signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{pid}").exists())
    DataDirectory(tmp_path / "postgres" / "data", patience_s=5).close()
