"""Releases of `files` to rehearse with: the tree with one line changed, under versions that no real release has.

Their wheels say that they are fixtures (contract-gate.md, honest versions). They are made in a copy of the tree, never in it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from breakwater.compat import matrix, release
from breakwater.compat.artifacts import ArtifactError

SERVICE = "files"
NOTE = "A rehearsal fixture, made from the tree by a patch; never deployed but by a drill"
OUTAGE = "3.0.0"
"""The release of the founding outage."""
BOTH = "2.4.0"
"""Its step before, which breaks nobody."""
_METHODS, _PREPARSE, _EVENTS = (
    f"libs/breakwater/chassis/{name}" for name in ("grpc_methods.py", "auth/preparse.py", "cloudevents.py")
)
_READS = 'if key == "authorization":'
_ALGORITHMS = '{"Ed25519", "EdDSA"}'


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One line of the tree, and what stands there instead."""

    says: str
    path: str
    old: str
    new: str
    breaks: tuple[str, ...] = ()
    """The consumers that cannot live with it."""


RELEASES = {
    "2.3.1": Rehearsal("the tree as it is", _METHODS, _READS, _READS),
    BOTH: Rehearsal(
        # Either, but not both at once: two credentials in one call would be one too many.
        "reads its token in x-jwt as well",
        _METHODS,
        _READS,
        'if key == "authorization" or (key == "x-jwt" and (value := f"Bearer {value}")):',
    ),
    "2.5.0": Rehearsal("takes Ed25519 by its new name only", _PREPARSE, _ALGORITHMS, '{"Ed25519"}'),
    OUTAGE: Rehearsal(
        "reads its token in x-jwt instead",
        _METHODS,
        _READS,
        'if key == "x-jwt" and (value := f"Bearer {value}"):',
        ("gateway",),
    ),
    "3.1.0": Rehearsal("takes Ed25519 by its old name only", _PREPARSE, _ALGORITHMS, '{"EdDSA"}', ("gateway",)),
    "3.2.0": Rehearsal(
        "publishes events without their sequence",
        _EVENTS,
        '        "ce-sequence": str(sequence),\n',
        "",
        ("gateway",),
    ),
}
"""By version."""


def copied(root: Path, place: Path) -> Path:
    """Copies all that a release is made and judged from out of the tree at `root` to `place`, which must not exist.

    Raises `ArtifactError` where `root` is no checked-out tree.
    """
    try:
        for name in ("libs", "services", "proto", "contracts", "locks"):
            shutil.copytree(root / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        (place / "deploy").mkdir()
        shutil.copy(root / "deploy" / "lock.yaml", place / "deploy" / "lock.yaml")
    except OSError as error:
        raise ArtifactError(f"{root} is no checked-out tree: {error.filename} is not there") from error
    return place


@contextmanager
def changed(copy: Path, version: str) -> Iterator[None]:
    """The copy is the tree of a rehearsal for the time of a block. Raises `ArtifactError` where its line is no more."""
    rehearsal = RELEASES[version]
    source, own = copy / rehearsal.path, copy / "services" / SERVICE / "VERSION"
    before, version_before = source.read_text(encoding="utf-8"), own.read_text(encoding="utf-8")
    if before.count(rehearsal.old) != 1:
        raise ArtifactError(f"{rehearsal.path} does not hold {rehearsal.old!r} once: the rehearsal is out of date")
    source.write_text(before.replace(rehearsal.old, rehearsal.new), encoding="utf-8")
    own.write_text(f"{version}\n", encoding="utf-8")
    try:
        yield
    finally:
        source.write_text(before, encoding="utf-8")
        own.write_text(version_before, encoding="utf-8")


def write(copy: Path, version: str) -> None:
    """Releases a rehearsal in the copy and verifies it beside every release there. Raises as `release.write` does."""
    with changed(copy, version):
        release.write(copy, SERVICE, version, note=NOTE)
    matrix.record(copy / "contracts", SERVICE, version)
