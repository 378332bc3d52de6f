"""Writes a release, once: `contracts/<service>/<version>/` is immutable; and records what runs where."""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from breakwater.compat import artifacts, interface, replay, versions, wheels
from breakwater.compat.artifacts import LOCK, VERSION, ArtifactError
from breakwater.compat.wheels import WheelError

_LOCK_HEAD = (
    "# What runs where: exact versions and the digests of their artifacts. Written by `breakwater deploy` and\n"
)
_LOCK_HEAD += "# `breakwater record-deployment`.\n"


@dataclass(frozen=True, slots=True)
class Forced:
    """Who had a release deployed although the answer was no, and why."""

    by: str
    reason: str


def write(root: Path, service: str, version: str, *, contracts: Path | None = None, note: str = "") -> str:
    """Freezes `service` in the tree at `root`: its wheel, its lock, its interface; answers the digest of its SHA256SUMS.

    `contracts` is where to, the tree's own by default. `note` is what the wheel's description says instead of the usual.
    Raises `ArtifactError` when the version is malformed, is not the tree's, or was released before, `RuntimeError` when the
    candidate's verifier or buf fails.
    """
    if service not in replay.SERVICES:
        raise ArtifactError(f"there is no service {service}")
    if not VERSION.fullmatch(version):
        raise ArtifactError(f"{version} is no version such as 1.4.0")
    directory = (contracts or root / "contracts") / service / version
    if directory.exists():
        raise ArtifactError(f"{service} {version} was released before; a changed interface needs a new version")
    if versions.of_tree(root, service) != version:
        raise ArtifactError(f"services/{service}/VERSION says {versions.of_tree(root, service)}, not {version}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed: nobody ever sees half a release.
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
    try:
        aside.chmod(0o755)
        wheels.build(root, service, version, aside, note=note)
        shutil.copyfile(wheels.lock_of(root, service), aside / LOCK)
        interface.describe(root, service, aside)
        digest = artifacts.write_sums(aside)
        aside.rename(directory)
    except WheelError as error:
        raise ArtifactError(str(error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return digest


def record(root: Path, service: str, version: str, environment: str, *, forced: Forced | None = None) -> None:
    """Writes into `deploy/lock.yaml` that `version` alone runs in `environment`. Raises `ArtifactError`.

    `forced` stands in it for as long as the release runs.
    """
    if not VERSION.fullmatch(version):
        raise ArtifactError(f"{version} is no version such as 1.4.0: the lock names exact ones")
    release = artifacts.find(root / "contracts", service, version)
    lock = root / "deploy" / "lock.yaml"
    document: Any = yaml.safe_load(lock.read_text()) if lock.is_file() else None
    environments = (document or {}).get("environments") or {}
    entry = {"version": version, "digest": f"sha256:{release.digest}"} | ({"forced": asdict(forced)} if forced else {})
    environments.setdefault(environment, {})[service] = [entry]
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(_LOCK_HEAD + yaml.safe_dump({"environments": environments}, sort_keys=True, allow_unicode=True))
