"""Which services of a local platform run from a release's wheel instead of from the tree.

The adapter of `breakwater.compat.deploying.DeployTarget` to the supervisor: it unpacks the wheel below the state, says so in
a file that the supervisor reads at each start of a process, and has the processes started again. So a platform that is
started anew runs what was deployed.
"""

import asyncio
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from breakwater.chassis.migrations import MigrationChangedError, MigrationFailedError, migrate
from breakwater.local import control
from breakwater.local.errors import LocalPlatformError
from breakwater.local.ports import HOST
from breakwater.local.secret_files import secret_text, write_secret
from breakwater.local.state import State


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a service answers, and the private JWKs that those who call it sign with."""

    grpc: str
    """host:port."""
    caller_key: Mapping[str, str] = field(repr=False)
    http: str = ""
    """A URL; empty where it serves no HTTP."""
    http_key: Mapping[str, str] = field(repr=False, default_factory=dict)


PROCESSES_OF: Mapping[str, tuple[str, ...]] = {"gateway": ("gateway", "ops")}
"""The processes of a service's wheel; one of its own name where none is listed."""
_HTTP = frozenset({"gateway"})
"""The services that callers reach by HTTP; `up` prints their URLs by these names."""
_FILE = "deployed.json"
_DIGITS = 16
"""Of a digest, enough to tell two releases of one version apart."""


def code_of(state: State, process: str) -> Path | None:
    """Where the deployed code of a process is; None when it runs from the tree."""
    service = next((name for name, processes in PROCESSES_OF.items() if process in processes), process)
    folder = _deployed(state).get(service)
    return state.root / "releases" / folder if folder else None


def folder_of(service: str, version: str, digest: str) -> str:
    """What the unpacked wheel of a release is called below the state; `digest` in hexadecimal digits."""
    return f"{service}-{version}-{digest[:_DIGITS]}"


class LocalTarget:
    """The supervised processes of the platform that runs in `state`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def switch(self, service: str, version: str, digest: str, wheel: Path) -> None:
        """Has the service run from `wheel`; returns when it serves.

        Raises LocalPlatformError when no platform runs, a migration fails, or the new processes do not become ready.
        """
        platform = control.ask(self._state.control_socket, "status")
        folder = folder_of(service, version, digest)
        code = self._unpack(wheel, folder)
        for process in self._processes(service):
            self._migrate(process, code, int(platform["postgres"]["port"]), str(platform["postgres"]["url"]))
        write_secret(self._state.root / _FILE, json.dumps(_deployed(self._state) | {service: folder}))
        for process in self._processes(service):
            control.ask(self._state.control_socket, "restart", process)
        self._sweep()

    def withdraw(self, service: str) -> None:
        """Has the service run what the tree holds again. Raises LocalPlatformError as `switch` does."""
        kept = {name: folder for name, folder in _deployed(self._state).items() if name != service}
        write_secret(self._state.root / _FILE, json.dumps(kept))
        for process in self._processes(service):
            control.ask(self._state.control_socket, "restart", process)
        self._sweep()

    def reach(self, service: str, caller: str) -> Reached:
        """Where the service answers, and what `caller` and the callers' issuer sign with."""
        platform = control.ask(self._state.control_socket, "status")
        key = json.loads(self._state.service_key(caller).read_bytes())
        address = f"{HOST}:{platform['services'][service]['grpc']}"
        if service not in _HTTP:
            return Reached(address, key)
        return Reached(address, key, str(platform[service]), json.loads(self._state.caller_key.read_bytes()))

    def _processes(self, service: str) -> tuple[str, ...]:
        return PROCESSES_OF.get(service, (service,))

    def _sweep(self) -> None:
        """Removes the code that nothing runs from any more: a release is unpacked anew when it comes back."""
        kept = set(_deployed(self._state).values())
        for folder in (self._state.root / "releases").glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _unpack(self, wheel: Path, folder: str) -> Path:
        place = self._state.root / "releases" / folder
        if place.is_dir():
            return place
        aside = place.with_name(f".{folder}.new")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True, mode=0o700)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(aside)
            aside.rename(place)
        except (OSError, zipfile.BadZipFile) as error:
            raise LocalPlatformError(f"{wheel.name} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return place

    def _migrate(self, process: str, code: Path, port: int, url: str) -> None:
        password = secret_text(self._state.password_file(f"{process}_owner"))
        dsn = f"postgresql://{process}_owner@127.0.0.1:{port}/{url.rpartition('/')[2]}"
        folder = code / "services" / ("gateway/ops" if process == "ops" else process) / "migrations"
        try:
            asyncio.run(migrate(dsn, process, folder, password=password))
        except (MigrationChangedError, MigrationFailedError) as error:
            raise LocalPlatformError(f"The schema of {process} cannot be brought up to date: {error}") from error


def python_path(state: State, process: str) -> dict[str, str]:
    """What makes a process run the deployed code; empty for the tree's."""
    code = code_of(state, process)
    return {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"} if code else {}


def _deployed(state: State) -> dict[str, str]:
    path = state.root / _FILE
    try:
        found: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise LocalPlatformError(f"{path} is not understood: remove it to run what the tree holds.") from error
    return found
