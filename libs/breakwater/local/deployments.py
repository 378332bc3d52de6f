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
from pathlib import Path

from breakwater.chassis.migrations import MigrationChangedError, MigrationFailedError, migrate
from breakwater.local import control
from breakwater.local.errors import LocalPlatformError
from breakwater.local.secret_files import secret_text, write_secret
from breakwater.local.state import State

PROCESSES_OF: Mapping[str, tuple[str, ...]] = {"gateway": ("gateway", "ops")}
"""The processes of a service's wheel; one of its own name where none is listed."""
_FILE = "deployed.json"


def code_of(state: State, process: str) -> Path | None:
    """Where the deployed code of a process is; None when it runs from the tree."""
    service = next((name for name, processes in PROCESSES_OF.items() if process in processes), process)
    folder = _deployed(state).get(service)
    return state.root / "releases" / folder if folder else None


class LocalTarget:
    """The supervised processes of the platform that runs in `state`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def switch(self, service: str, version: str, digest: str, wheel: Path) -> None:
        """Has the service run from `wheel`; returns when it serves.

        Raises LocalPlatformError when no platform runs, a migration fails, or the new processes do not become ready.
        """
        platform = control.ask(self._state.control_socket, "status")
        folder = f"{service}-{version}-{digest[:16]}"
        code = self._unpack(wheel, folder)
        for process in self._processes(service):
            self._migrate(process, code, int(platform["postgres"]["port"]), str(platform["postgres"]["url"]))
        write_secret(self._state.root / _FILE, json.dumps(_deployed(self._state) | {service: folder}))
        for process in self._processes(service):
            control.ask(self._state.control_socket, "restart", process)

    def reach(self, service: str, caller: str) -> tuple[str, Mapping[str, str]]:
        """Where the service answers gRPC (host:port), and the private JWK its caller signs with."""
        platform = control.ask(self._state.control_socket, "status")
        key: dict[str, str] = json.loads(self._state.service_key(caller).read_bytes())
        return f"127.0.0.1:{platform['services'][service]['grpc']}", key

    def _processes(self, service: str) -> tuple[str, ...]:
        return PROCESSES_OF.get(service, (service,))

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
