"""What a process is told by its environment, read once at start.

Variables are named `BREAKWATER_<FIELD>`. Secrets come as paths of files, never as values. A misspelt variable is an
error, not a silent default, and every error is reported in one go.
"""

import difflib
import os
import re
import stat
import sys
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "BREAKWATER_"

# The platform's other variables (the command line, the gateway's own): right in a shared environment, not read here.
KNOWN_ELSEWHERE = frozenset(
    {
        *(
            "STATE",
            "TOKEN",
            "GATEWAY",
            "CALLER_JWKS",
            "CALLER_ISSUER",
            "SEAL_KEY_FILE",
            "SEAL_KEY_PREVIOUS_FILE",
            "HMAC_KEY_FILE",
            "OBJECT_STORE_URL",
        ),
        *("EXPORT_SCRATCH_DIR", "GATEWAY_URL", "OPS_URL", "HTTP_PORT"),
    }
)

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}|(?:dns|ipv4|ipv6|unix):\S+")
# A key in it would be a secret in the environment: the path and query of a request are the service's.
_BASE = re.compile(r"https?://(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?(?:/[A-Za-z0-9_./-]*)?")

Network = IPv4Network | IPv6Network
Settings = TypeVar("Settings", bound="ServiceSettings")


class Environment(StrEnum):
    """Development trusts keys made on first start; production refuses them."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Tls(StrEnum):
    """How a connection to the mail server is protected."""

    STARTTLS = "starttls"
    """Plain until STARTTLS, which the server must offer."""
    IMPLICIT = "implicit"
    """From the first byte (port 465)."""
    NONE = "none"
    """Never; no login is sent over it."""


class MisconfiguredError(Exception):
    """The process must not start as it is told to. The message says what to change and holds no secret."""


class SecretFileError(MisconfiguredError):
    """A secret's file is missing, empty, too large, or open to others.

    The message names the file, never its content.
    """


class ServiceSettings(BaseSettings):
    """The settings every process has. A service subclasses it and adds its own, each with a docstring and a unit."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    secret_size_bytes_max: ClassVar[int] = 16 * 1024

    environment: Environment
    """development or production."""
    host: str = "127.0.0.1"
    """The address every port is bound to."""
    grpc_port: int = Field(default=0, ge=0, le=65535)
    """0 picks a free one."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Serves /metrics, /healthz and /readyz; 0 picks a free one."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    database_url: str | None = None
    """postgresql://user@host:port/name, without a password."""
    database_password_file: Path | None = None
    nats_url: str | None = None
    nats_user: str | None = None
    nats_password_file: Path | None = None
    nats_stream_replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream this process makes; 3 in a cluster."""

    service_key_file: Path | None = None
    """The private Ed25519 JWK this process signs its service tokens with."""
    service_jwks: str | None = None
    """Path or http(s) URL of the public keys of all processes."""
    policies_file: Path | None = None
    """Another policies.yaml than the one beside the code, such as a mounted one; followed when it changes."""
    chaos_in_production: bool = False
    """Whether faults may be injected where the environment is production; elsewhere they may."""

    peers: Annotated[Mapping[str, tuple[str, ...]], NoDecode] = Field(default_factory=dict)
    """name=host:port,...; a name given several times has several addresses."""

    http_bases: Annotated[Mapping[str, str], NoDecode] = Field(default_factory=dict)
    """name=https://host/path,...: the base URL of each dependency that is called by HTTP; nothing else is reached by it.
    Each is an edge, with the chassis's figures where policies.yaml does not name it."""
    smtp_server: str | None = Field(default=None, pattern=r"^(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$")
    """host:port of the mail server."""
    smtp_tls: Tls = Tls.STARTTLS
    """starttls, implicit, or none; a login needs one of the first two."""
    smtp_user: str | None = None
    smtp_password_file: Path | None = None
    egress_private: Annotated[tuple[Network, ...], NoDecode] = ()
    """10.0.3.0/24,127.0.0.1/32: private networks that HTTP and SMTP may reach; none otherwise."""
    http_answer_size_bytes_max: int = Field(default=1024 * 1024, ge=1024)
    http_request_size_bytes_max: int = Field(default=24 * 1024 * 1024, ge=1024)
    mail_size_bytes_max: int = Field(default=24 * 1024 * 1024, ge=1024)
    mail_recipients_max: int = Field(default=100, ge=1)

    otlp_endpoint: str | None = None
    """Where spans are sent by OTLP over gRPC; none are made without it."""
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1)

    grpc_concurrency_max: int = Field(default=256, ge=1)
    """RPCs served at a time at most; what finds no room is answered RESOURCE_EXHAUSTED with a time to wait."""
    grpc_concurrency_adaptive: bool = True
    """Whether the limit follows the latency below that maximum; else it is the maximum."""
    grpc_concurrency_min: int = Field(default=16, ge=1)
    """The adaptive limit never falls below: a pool of ten connections at work, and a few that wait for one. At ten, sixteen
    steady clients of `make bench-platform` were refused now and then."""
    grpc_concurrency_start: int = Field(default=32, ge=1)
    """The adaptive limit of a process that knows no latency yet; it doubles as long as that makes nothing slower. Three times
    the pool: a crowd that waits much longer for connections would be taken for a slow PostgreSQL."""
    grpc_latency_ratio_max: float = Field(default=1.2, ge=1)
    """The adaptive limit falls when RPCs take so many times as long as unhindered."""
    grpc_ops_max: int = Field(default=32, ge=1)
    """RPCs of on-call and of the platform itself at a time, beside the others."""
    grpc_streams_max: int = Field(default=64, ge=1)
    """Streams at a time, beside the others."""
    grpc_deadline_default_s: float = Field(default=10.0, gt=0)
    """For a unary RPC whose client sets no deadline."""
    grpc_stream_deadline_default_s: float = Field(default=300.0, gt=0)
    """For a streaming RPC whose client sets no deadline."""
    grpc_message_size_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024)
    grpc_metadata_size_bytes_max: int = Field(default=16 * 1024, ge=1024)
    drain_grace_s: float = Field(default=10.0, ge=0)
    """How long requests in flight may take to end after SIGTERM."""

    @field_validator("peers", mode="before")
    @classmethod
    def _parse_peers(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        peers: dict[str, tuple[str, ...]] = {}
        for entry in filter(None, (part.strip() for part in value.split(","))):
            name, _, address = entry.partition("=")
            if not name or not _ADDRESS.fullmatch(address):
                raise ValueError("must be name=host:port,...")
            peers[name] = (*peers.get(name, ()), address)
        return peers

    @field_validator("http_bases", mode="before")
    @classmethod
    def _parse_bases(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        bases: dict[str, str] = {}
        for entry in filter(None, (part.strip() for part in value.split(","))):
            name, _, base = entry.partition("=")
            if not name or not _BASE.fullmatch(base):
                raise ValueError("must be name=https://host[:port][/path],...")
            bases[name] = base
        return bases

    @field_validator("egress_private", mode="before")
    @classmethod
    def _parse_networks(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value is not None and re.match(r"[a-z]+://[^/@]*:[^/@]*@", value):
            raise ValueError("must not hold a password; name its file in BREAKWATER_DATABASE_PASSWORD_FILE")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment only: no .env file is picked up from a working directory."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings

    @property
    def chaos_allowed(self) -> bool:
        """Whether this process takes overrides that inject faults."""
        return self.chaos_in_production or self.environment is not Environment.PRODUCTION

    @classmethod
    def from_environment(cls) -> Self:
        """Raises `pydantic.ValidationError`; does not look for misspelt names (see `load`)."""
        return cls()


def read_secret(path: Path, size_bytes_max: int = ServiceSettings.secret_size_bytes_max) -> bytes:
    """The content of a secret's file, without its trailing newline.

    Raises `SecretFileError` when the file cannot be read, is empty or too large, or others may read it.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise SecretFileError(f"{path} is open to everybody; make it mode 0600")
            content = file.read(size_bytes_max + 1)
    except OSError as error:
        raise SecretFileError(f"{path} cannot be read: {error.strerror}") from error
    content = content.rstrip(b"\r\n")
    if not content:
        raise SecretFileError(f"{path} is empty")
    if len(content) > size_bytes_max:
        raise SecretFileError(f"{path} is larger than {size_bytes_max} bytes")
    return content


def load(settings_class: type[Settings]) -> Settings:
    """The process's settings. Prints every error at once on standard error and exits with 2."""
    problems = misspelt(settings_class, os.environ)
    settings: Settings | None = None
    try:
        settings = settings_class.from_environment()
    except ValidationError as error:
        problems += [_sentence(entry) for entry in error.errors(include_url=False, include_input=False)]
    if settings is None or problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        sys.stderr.write(f"The settings of this process are wrong:\n{lines}\n")
        raise SystemExit(2)
    return settings


def misspelt(settings_class: type[ServiceSettings], environment: Mapping[str, str]) -> list[str]:
    """A sentence for each `BREAKWATER_` variable nobody knows, with the nearest name that exists."""
    own = {PREFIX + name.upper() for name in settings_class.model_fields}
    known = own | {PREFIX + name for name in KNOWN_ELSEWHERE}
    problems = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)
            problems.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return problems


def _sentence(entry: Any) -> str:
    field = str(entry["loc"][0]) if entry["loc"] else ""
    name = PREFIX + field.upper() if field else "the settings together"
    if entry["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {entry['msg'].removeprefix('Value error, ')}"
