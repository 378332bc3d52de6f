"""Recorded vectors of a provider: `contracts/external/<provider>/<version>/vectors.jsonl`, pinned by `versions.yaml`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from breakwater.compat import artifacts
from breakwater.compat.artifacts import ArtifactError

PROVIDERS = ("wecom", "dingtalk", "feishu", "finance", "object-store")
PINS = "versions.yaml"
README = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One line of `vectors.jsonl`: what is asked, the answer it has, and what that answer means to us.

    At most one of `ask` (an HTTP request), `do` (operations on objects) and `signed` is there. With none of them the
    answer is one that no stub needs to give; it is only to be read. `contracts/external/README.md` explains the recipes.
    """

    id: str
    answer: Mapping[str, Any]
    ask: Mapping[str, Any] | None = None
    do: Sequence[Sequence[Any]] = ()
    signed: Mapping[str, str] | None = None
    given: int | None = None
    """The code or status the provider is made to answer: a trouble that no request brings about."""
    times: int = 1
    """Asked so often; the last answer counts ..."""
    every_s: float = 0.0
    """... with so much time of the provider between two ..."""
    pause_s: float = 0.0
    """... and so much before the last."""
    means: str = ""
    live: bool = False
    """Harmless: the synthetic probe asks it of the live provider."""

    @property
    def asked(self) -> bool:
        return self.ask is not None or bool(self.do)


@dataclass(frozen=True, slots=True)
class Contract:
    """A provider's verified vectors."""

    provider: str
    version: str
    vectors: Sequence[Vector] = field(default=())

    def live(self) -> Vector:
        """The harmless one. Raises `ArtifactError` unless there is exactly one."""
        found = [each for each in self.vectors if each.live]
        if len(found) != 1:
            raise ArtifactError(f"contracts/external/{self.provider} has {len(found)} harmless vectors, not one")
        return found[0]


def load(root: Path, provider: str) -> Contract:
    """The pinned vectors of a provider in the tree at `root`.

    Raises `ArtifactError` when they are missing, changed, none, or not understood.
    """
    place = root / "contracts" / "external"
    try:
        pin = yaml.safe_load((place / PINS).read_text(encoding="utf-8"))[provider]
        version, digest = str(pin["version"]), str(pin["digest"]).removeprefix("sha256:")
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ArtifactError(f"contracts/external/{PINS} pins no version and digest of {provider}") from error
    directory = place / provider / version
    artifacts.verify(directory, f"external/{provider}/{version}", digest, {artifacts.VECTORS, README})
    try:
        lines = (directory / artifacts.VECTORS).read_text(encoding="utf-8").splitlines()
        vectors = tuple(Vector(**json.loads(line)) for line in lines)
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"contracts/external/{provider}/{version}: a vector is not understood: {error}") from error
    if not vectors or len({each.id for each in vectors}) != len(vectors):
        raise ArtifactError(f"contracts/external/{provider}/{version} has no vectors, or one of them twice")
    return Contract(provider, version, vectors)
