"""The pinned pacts of `contracts/pacts/<consumer>/<version>/`, one file a provider; pinned by `versions.yaml`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from breakwater.compat import artifacts
from breakwater.compat.artifacts import ArtifactError

PINS = "versions.yaml"
CREDENTIAL = "{credential}"
"""Where a pact holds the token, which is minted at each run."""


@dataclass(frozen=True, slots=True)
class ConsumerPact:
    """What one version of a consumer asks of one provider."""

    consumer: str
    version: str
    provider: str
    text: str
    interactions: int


def of_provider(root: Path, provider: str) -> list[ConsumerPact]:
    """Every pinned consumer's pact with a process. Raises `ArtifactError` when one is missing, changed or not understood."""
    return [pact for consumer in _pins(root) for pact in _of(root, consumer) if pact.provider == provider]


def _pins(root: Path) -> dict[str, dict[str, str]]:
    try:
        pins = yaml.safe_load((root / "contracts/pacts" / PINS).read_text(encoding="utf-8"))
        return {str(name): {"version": str(pin["version"]), "digest": str(pin["digest"])} for name, pin in pins.items()}
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ArtifactError(f"contracts/pacts/{PINS} pins no consumers") from error


def _of(root: Path, consumer: str) -> Iterator[ConsumerPact]:
    pin = _pins(root)[consumer]
    name = f"pacts/{consumer}/{pin['version']}"
    directory = root / "contracts" / name
    artifacts.verify(directory, name, pin["digest"].removeprefix("sha256:"), ())
    for path in sorted(directory.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        try:
            document = json.loads(text)
            provider, interactions = str(document["provider"]["name"]), len(document["interactions"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"contracts/{name}/{path.name} is no pact") from error
        if not interactions:
            raise ArtifactError(f"contracts/{name}/{path.name} holds no interactions")
        yield ConsumerPact(consumer, pin["version"], provider, text, interactions)
