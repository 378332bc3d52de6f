"""A service as one wheel: its room, the rooms of libs it imports, and its pinned dependencies. The same tree, the same bytes."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

BUILD_TIMEOUT_S = 60
WHEEL_SIZE_BYTES_MAX = 2 * 1024 * 1024
"""Wheels are kept beside the interfaces they serve (docs/adr): they must stay small."""
UNPACKED_SIZE_BYTES_MAX = 32 * 1024 * 1024
_EPOCH = "315532800"
"""1980-01-01, the first moment a zip can name: a wheel does not say when it was built."""
_PIN = re.compile(r"^([A-Za-z0-9._-]+(?:\[[^\]]*\])?==[^ \\;]+)(?: ; ([^\\]+?))?(?: \\)?$", re.MULTILINE)
_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "breakwater-{service}"
version = "{version}"
description = {description}
requires-python = "{python}"
dependencies = {dependencies}

[tool.hatch.build.targets.wheel]
packages = ["breakwater", "services"]
"""


class WheelError(Exception):
    """A wheel could not be built or unpacked."""


def build(root: Path, service: str, version: str, directory: Path, *, note: str = "") -> Path:
    """Builds the wheel of `service` in the tree at `root` into `directory`, with nothing from outside; answers its path.

    `note` is what its description says instead of the usual. Raises `WheelError`.
    """
    with tempfile.TemporaryDirectory(prefix="breakwater-wheel-") as place:
        stage = Path(place)
        try:
            _copy(root, service, stage)
            description = note or f"The {service} service of Breakwater, with the libraries of ours it runs on"
            stage.joinpath("pyproject.toml").write_text(
                _PYPROJECT.format(
                    service=service,
                    version=version,
                    description=json.dumps(description),
                    python=">=3.11",
                    dependencies=json.dumps(pins(root, service), indent=4),
                )
            )
        except (OSError, SyntaxError) as error:
            raise WheelError(f"{service} cannot be packed: {error}") from error
        _hatch(stage, directory)
    wheel = directory / name_of(service, version)
    if not wheel.is_file():
        raise WheelError(f"the build made no {wheel.name}")
    if wheel.stat().st_size > WHEEL_SIZE_BYTES_MAX:
        raise WheelError(f"{wheel.name} is larger than {WHEEL_SIZE_BYTES_MAX} bytes")
    return wheel


def name_of(service: str, version: str) -> str:
    """The file name of a release's wheel."""
    return f"breakwater_{service}-{version}-py3-none-any.whl"


def unpack(wheel: Path, directory: Path) -> Path:
    """Unpacks a wheel into `directory`, which must not exist, whole or not at all. Raises `WheelError`."""
    aside = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > UNPACKED_SIZE_BYTES_MAX:
                raise WheelError(f"{wheel.name} unpacks to more than {UNPACKED_SIZE_BYTES_MAX} bytes")
            aside.mkdir(parents=True, mode=0o700)
            archive.extractall(aside)
        aside.rename(directory)
    except (OSError, zipfile.BadZipFile) as error:
        raise WheelError(f"{wheel.name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return directory


def pins(root: Path, service: str) -> list[str]:
    """What the service's lock pins, as requirements. Raises `WheelError` when there is none."""
    try:
        found = _PIN.findall(lock_of(root, service).read_text())
    except OSError as error:
        raise WheelError(f"locks/{service}.txt is not here") from error
    if not found:
        raise WheelError(f"locks/{service}.txt pins nothing")
    return [f"{pin} ; {marker.strip()}" if marker else pin for pin, marker in found]


def lock_of(root: Path, service: str) -> Path:
    """The hashed lock of a service's group."""
    return root / "locks" / f"{service}.txt"


def rooms(root: Path, service: str) -> list[Path]:
    """The folders a service runs from, relative to where Python finds packages: its own, and all those it imports.

    A room is taken whole, so what is only imported at some moment comes along.
    """
    found: set[Path] = set()
    waiting = [Path("services") / service]
    while waiting:
        room = waiting.pop()
        if room in found:
            continue
        found.add(room)
        for module in _imports(_source(root, room)):
            top, _, rest = module.partition(".")
            if top == "breakwater" and rest:
                waiting.append(Path(top) / rest.split(".")[0])
    return sorted(found)


def _source(root: Path, room: Path) -> Path:
    return root / room if room.parts[0] == "services" else root / "libs" / room


def _imports(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "breakwater")


def _copy(root: Path, service: str, stage: Path) -> None:
    for room in rooms(root, service):
        ignored = shutil.ignore_patterns("__pycache__", "*.pyi", "README.md")
        shutil.copytree(_source(root, room), stage / room, ignore=ignored)
    for package in ("breakwater", "services"):
        shutil.copy(_source(root, Path(package)) / "__init__.py", stage / package / "__init__.py")
    for path in stage.rglob("*"):
        # Whatever the umask of who checked it out.
        path.chmod(0o755 if path.is_dir() else 0o644)


def _hatch(stage: Path, directory: Path) -> None:
    environment = {"SOURCE_DATE_EPOCH": _EPOCH, "PATH": os.environ.get("PATH", ""), "HOME": str(stage)}
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory.absolute())]
    try:
        done = subprocess.run(  # noqa: S603 - the argv is ours
            command, cwd=stage, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WheelError(f"the build did not run: {type(error).__name__}") from error
    if done.returncode != 0:
        raise WheelError(f"the build failed: {done.stderr.strip()[-500:]}")
