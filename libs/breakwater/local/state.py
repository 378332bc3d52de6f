"""Where a platform keeps its things: one directory, closed to others."""

from dataclasses import dataclass
from pathlib import Path

from breakwater.local.errors import LocalPlatformError

CALLER_ISSUER = "breakwater-local"
"""Issues the callers' tokens of a local platform."""


@dataclass(frozen=True, slots=True)
class State:
    """The files below one state directory."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "State":
        """The state at a path, made absolute: programs run elsewhere."""
        return cls(path.absolute())

    @property
    def secrets(self) -> Path:
        """Random passwords, each in a file of mode 0600."""
        return self.root / "secrets"

    @property
    def keys(self) -> Path:
        """Private keys of mode 0600 and the public sets."""
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        """One bounded log a process."""
        return self.root / "logs"

    @property
    def objects(self) -> Path:
        """The local object store of `files`."""
        return self.root / "objects"

    @property
    def scratch(self) -> Path:
        """The gateway's uploads and degraded files."""
        return self.root / "scratch"

    @property
    def platform_file(self) -> Path:
        """What `up` printed, with the present pids."""
        return self.root / "platform.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the launcher and by what it started; holds the launcher's pid."""
        return self.root / "launcher.pid"

    @property
    def control_socket(self) -> Path:
        """Where the launcher listens for stop, start, restart, status."""
        return self.root / "control.sock"

    def password_file(self, role: str) -> Path:
        """The password of a PostgreSQL role."""
        return self.secrets / f"postgres-{role}.password"

    def service_key(self, process: str) -> Path:
        """The private JWK a process signs its service tokens with."""
        return self.keys / f"{process}.private.jwk"

    @property
    def service_jwks(self) -> Path:
        """The public keys of all processes."""
        return self.keys / "services.jwks.json"

    @property
    def caller_key(self) -> Path:
        """The private JWK of the local issuer: `breakwater token` signs with it."""
        return self.keys / "callers.private.jwk"

    @property
    def caller_jwks(self) -> Path:
        """The public keys of the local issuer."""
        return self.keys / "callers.jwks.json"

    @property
    def body_key(self) -> Path:
        """32 bytes the gateway makes the HMAC of bodies with."""
        return self.keys / "body-hmac.key"

    @property
    def seal_key(self) -> Path:
        """32 bytes that seal queued secrets."""
        return self.keys / "seal.key"

    def prepare(self) -> None:
        """Makes the directories. Raises LocalPlatformError when the place cannot be ours."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (self.secrets, self.keys, self.logs, self.objects, self.scratch):
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LocalPlatformError(f"{self.root} cannot be used for the state: {error.strerror}.") from error
