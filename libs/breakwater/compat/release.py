"""Writes a release's artifacts, once: `contracts/<service>/<version>/` is immutable; and records what runs where."""

import re
import shutil
from pathlib import Path

import yaml

from breakwater.compat import artifacts, interface, replay
from breakwater.compat.artifacts import ArtifactError

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def write(root: Path, service: str, version: str) -> str:
    """Freezes the interface of `service` in the tree at `root`; answers the digest of its SHA256SUMS.

    Raises `ArtifactError` when the version is malformed or was released before, `RuntimeError` when the candidate's
    verifier or buf fails.
    """
    if service not in replay.SERVICES:
        raise ArtifactError(f"there is no service {service}")
    if not _VERSION.fullmatch(version):
        raise ArtifactError(f"{version} is no version such as 1.4.0")
    directory = root / "contracts" / service / version
    if directory.exists():
        raise ArtifactError(f"{service} {version} was released before; a changed interface needs a new version")
    directory.mkdir(parents=True)
    try:
        interface.describe(root, service, directory)
        return artifacts.write_sums(directory)
    except BaseException:
        shutil.rmtree(directory)
        raise


def record(root: Path, service: str, version: str, environment: str) -> None:
    """Writes into `deploy/lock.yaml` that `version` alone runs in `environment`. Raises `ArtifactError`."""
    digest = artifacts.digest_of(root / "contracts", service, version)
    artifacts.open_release(root / "contracts", service, version, digest)
    lock = root / "deploy" / "lock.yaml"
    document = (yaml.safe_load(lock.read_text()) if lock.is_file() else None) or {}
    environments = document.setdefault("environments", {})
    environments.setdefault(environment, {})[service] = [{"version": version, "digest": f"sha256:{digest}"}]
    head = "# What runs where: exact versions and the digests of their artifacts. Written by `breakwater record-deployment`.\n"
    lock.write_text(head + yaml.safe_dump(document, sort_keys=True))
