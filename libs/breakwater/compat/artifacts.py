"""Released interfaces under `contracts/<service>/<version>/`: immutable, and checked against their hashes at each read.

A release directory holds the runnable wheel with its lock, what `interface.describe` wrote of it, and `SHA256SUMS` over all
of it. `deploy/lock.yaml` names the release and the digest of its `SHA256SUMS` that runs in each environment; ranges and
`latest` are refused.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

from breakwater.compat import wheels

VERSION = re.compile(r"\d+\.\d+\.\d+")
SUMS = "SHA256SUMS"
IMAGE = "image.binpb"
VECTORS = "vectors.jsonl"
LOCK = "lock.txt"


class ArtifactError(Exception):
    """A release or the lock is missing, changed or not understood. The gate answers it with exit code 2."""


@dataclass(frozen=True, slots=True)
class Release:
    """One verified release directory."""

    service: str
    version: str
    directory: Path
    digest: str
    """Of its `SHA256SUMS`, in hexadecimal digits."""

    @property
    def wheel(self) -> Path:
        """What runs."""
        return self.directory / wheels.name_of(self.service, self.version)

    @property
    def lock(self) -> Path:
        """What it runs on, with hashes."""
        return self.directory / LOCK

    @property
    def image(self) -> Path:
        return self.directory / IMAGE

    @property
    def vectors(self) -> Path:
        return self.directory / VECTORS


def write_sums(directory: Path) -> str:
    """Writes `SHA256SUMS` over every other file of `directory`; answers the digest of that file."""
    lines = [f"{_sha256(path)}  {path.name}" for path in sorted(directory.iterdir()) if path.name != SUMS]
    sums = directory / SUMS
    sums.write_text("\n".join(lines) + "\n")
    return _sha256(sums)


def open_release(contracts: Path, service: str, version: str, digest: str) -> Release:
    """The release, after each of its files was checked.

    Raises `ArtifactError` when it is missing, a file differs from its hash, a file is unlisted, or the digest is not
    the one the lock names.
    """
    directory = contracts / service / version
    verify(directory, f"{service}/{version}", digest, {IMAGE, VECTORS, LOCK, wheels.name_of(service, version)})
    return Release(service, version, directory, digest)


def verify(directory: Path, name: str, digest: str, required: Collection[str]) -> None:
    """Checks a directory against its sums, and those against `digest`. `name` is what it is called below contracts/.

    Raises `ArtifactError` when it is missing, a file differs from its hash, is unlisted, or a `required` one is missing.
    """
    sums = directory / SUMS
    if not sums.is_file():
        raise ArtifactError(f"contracts/{name} is pinned but not here")
    if _sha256(sums) != digest:
        raise ArtifactError(f"contracts/{name}/{SUMS} is not what is pinned")
    listed = {file: expected for expected, _, file in (line.partition("  ") for line in sums.read_text().splitlines())}
    present = {path.name for path in directory.iterdir()} - {SUMS}
    if present != set(listed) or not set(required) <= present:
        raise ArtifactError(f"contracts/{name} holds other files than its {SUMS} lists")
    for file, expected in listed.items():
        if _sha256(directory / file) != expected:
            raise ArtifactError(f"contracts/{name}/{file} was changed after its release")


def find(contracts: Path, service: str, version: str) -> Release:
    """A release by its version, verified against its own sums. Raises `ArtifactError`."""
    return open_release(contracts, service, version, digest_of(contracts, service, version))


def deployed(contracts: Path, lock: Path, environment: str, service: str) -> list[Release]:
    """The releases of `service` that run in `environment`, as the lock says.

    Raises `ArtifactError` when the lock is missing or malformed, or names no exact version with a digest.
    """
    try:
        document = yaml.safe_load(lock.read_text())
        entries = document["environments"][environment][service]
    except FileNotFoundError as error:
        raise ArtifactError("deploy/lock.yaml is not here") from error
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise ArtifactError(f"deploy/lock.yaml says nothing of {service} in {environment}") from error
    if not isinstance(entries, list) or not entries:
        raise ArtifactError(f"deploy/lock.yaml lists no release of {service} in {environment}")
    releases = []
    for entry in entries:
        version, digest = str(entry.get("version", "")), str(entry.get("digest", ""))
        if not VERSION.fullmatch(version) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ArtifactError(f"deploy/lock.yaml: {service} in {environment} needs an exact version and a digest")
        releases.append(open_release(contracts, service, version, digest.removeprefix("sha256:")))
    return releases


def released(contracts: Path, service: str) -> list[str]:
    """Every version of a service that was released, oldest first."""
    found = [path.name for path in (contracts / service).glob("*") if VERSION.fullmatch(path.name)]
    return sorted(found, key=lambda version: tuple(map(int, version.split("."))))


def digest_of(contracts: Path, service: str, version: str) -> str:
    """The digest of a release's `SHA256SUMS`. Raises `ArtifactError` when there is no such release."""
    sums = contracts / service / version / SUMS
    if not sums.is_file():
        raise ArtifactError(f"contracts/{service}/{version} is not here")
    return _sha256(sums)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
