"""A service's version stands in `services/<name>/VERSION`, and a changed interface needs a new one."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from breakwater.compat import artifacts, interface, vectors
from breakwater.compat.artifacts import IMAGE, VERSION, ArtifactError
from breakwater.compat.events import kind_of

_TOLD_MAX = 5
"""Differences of one file that are named; the rest is counted."""


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


def changes(root: Path, service: str) -> dict[str, str]:
    """What differs from the release of the same version, by interface file, in words; nothing when the version is new.

    Runs the service, some 10 seconds. Raises `ArtifactError`, or `RuntimeError` when it cannot be described.
    """
    version = of_tree(root, service)
    contracts = root / "contracts"
    if version not in artifacts.released(contracts, service):
        return {}
    before = artifacts.find(contracts, service, version).directory
    with tempfile.TemporaryDirectory(prefix="breakwater-interface-") as place:
        now = Path(place)
        interface.describe(root, service, now)
        names = sorted(interface.files_of(service))
        return {name: said for name in names if (said := _difference(before / name, now / name))}


def _difference(before: Path, now: Path) -> str:
    """What is new, gone or something else, by its place; empty for none."""
    found = list(_differences(_meaning(before), _meaning(now)))
    if not found and before.name == IMAGE and _image(before) != _image(now):
        found = ["an option, or an order"]  # what no dictionary of it shows
    more = f", and {len(found) - _TOLD_MAX} more" if len(found) > _TOLD_MAX else ""
    return ", ".join(found[:_TOLD_MAX]) + more


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    if not (isinstance(old, dict | list) and isinstance(new, dict | list)):
        if old != new:
            yield f"{place} is {new}, was {old}"
        return
    were, are = _entries(old), _entries(new)
    for name in were | are:
        inner = f"{place}.{name}" if place else name
        if name in were and name in are:
            yield from _differences(were[name], are[name], inner)
        else:
            yield f"{inner} is {'new' if name in are else 'gone'}"


def _entries(container: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """Of a list each entry by its name or text, wherever it stands; one that has neither by its number."""
    if isinstance(container, dict):
        return container
    return {
        str(each.get("name", number)) if isinstance(each, dict) else str(each): each
        for number, each in enumerate(container)
    }


def _image(path: Path) -> FileDescriptorSet:
    """Without comments: they promise nothing."""
    image = FileDescriptorSet.FromString(path.read_bytes())
    for file in image.file:
        file.ClearField("source_code_info")
    return image


def _meaning(path: Path) -> Any:
    """What a file promises, without the ids and moments of the run it was recorded in."""
    if path.name == interface.EVENTS:
        found = interface.read_events(path)
        publishes = {
            name: {
                "subject": event.subject,
                "headers": {key: kind_of(key, value) for key, value in event.headers.items()},
            }
            for name, event in found.publishes.items()
        }
        consumes = {name: {"stream": each.stream, "uses": list(each.uses)} for name, each in found.consumes.items()}
        takes = {stream: dict(labels) for stream, labels in found.takes.items()}
        return {"publishes": publishes, "consumes": consumes, "takes": takes}
    if path.name == interface.VECTORS:
        return {f"{vector.recipe.transport} {vector.recipe.name}": vector.label for vector in vectors.load(path)}
    if path.name == IMAGE:
        return MessageToDict(_image(path))
    return json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
