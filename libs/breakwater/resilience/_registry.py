"""The policies of one process, by dependency."""

import random
from collections.abc import Iterator, Mapping
from typing import Any, Self

from breakwater.resilience._clock import Clock
from breakwater.resilience._outcome import Classify, classify_by_type
from breakwater.resilience._override import Override
from breakwater.resilience._policy import Listener, Policy
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience._snapshot import EdgeSnapshot


class PolicyRegistry:
    """Holds one policy for each dependency of `caller` and tells every listener of their transitions."""

    def __init__(
        self,
        caller: str,
        settings: Mapping[str, PolicySettings],
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        rng: random.Random | None = None,
    ) -> None:
        self.caller = caller

    @classmethod
    def from_mapping(
        cls,
        caller: str,
        document: Mapping[str, Any],
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        rng: random.Random | None = None,
    ) -> Self:
        """From a parsed `policies.yaml`: `{defaults: {setting: value}, edges: {dependency: {setting: value}}}`."""
        raise NotImplementedError

    def __getitem__(self, dependency: str) -> Policy:
        """The policy of an edge; KeyError names the declared ones."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Policy]:
        raise NotImplementedError

    def listen(self, listener: Listener) -> None:
        """Adds a listener for all edges; it must return at once."""
        raise NotImplementedError

    def snapshots(self) -> tuple[EdgeSnapshot, ...]:
        """One of each edge."""
        raise NotImplementedError

    def apply(self, dependency: str, override: Override | None, *, caller: str | None = None) -> bool:
        """Overrides the edge to `dependency` (None ends it); False where it is another caller's or not ours."""
        raise NotImplementedError
