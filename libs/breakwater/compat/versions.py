"""A service's version stands in `services/<name>/VERSION`, and a changed interface needs a new one."""

import json
import tempfile
from pathlib import Path
from typing import Any

from breakwater.compat import artifacts, interface, vectors
from breakwater.compat.artifacts import VERSION, ArtifactError
from breakwater.compat.events import kind_of


def of_tree(root: Path, service: str) -> str:
    """The version the tree at `root` gives a service. Raises `ArtifactError` when it gives none."""
    path = root / "services" / service / "VERSION"
    try:
        version = path.read_text().strip()
    except OSError as error:
        raise ArtifactError(f"services/{service}/VERSION is not here") from error
    if not VERSION.fullmatch(version):
        raise ArtifactError(f"services/{service}/VERSION says {version!r}, which is no version such as 1.4.0")
    return version


def changes(root: Path, service: str) -> list[str]:
    """The interface files in which the tree differs from the release of the same version; none when it is new.

    Runs the service, some 10 seconds. Raises `ArtifactError`, or `RuntimeError` when it cannot be described.
    """
    version = of_tree(root, service)
    contracts = root / "contracts"
    if version not in artifacts.released(contracts, service):
        return []
    before = artifacts.find(contracts, service, version).directory
    with tempfile.TemporaryDirectory(prefix="breakwater-interface-") as place:
        now = Path(place)
        interface.describe(root, service, now)
        names = sorted(interface.files_of(service))
        return [name for name in names if _meaning(before / name) != _meaning(now / name)]


def _meaning(path: Path) -> Any:
    """What a file promises, without the ids and moments of the run it was recorded in."""
    if path.name == interface.EVENTS:
        found = interface.read_events(path)
        publishes = {
            name: (event.subject, {key: kind_of(key, value) for key, value in event.headers.items()})
            for name, event in found.publishes.items()
        }
        return publishes, found.consumes, found.takes
    if path.name == interface.VECTORS:
        return {(vector.recipe.transport, vector.recipe.name): vector.label for vector in vectors.load(path)}
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()
