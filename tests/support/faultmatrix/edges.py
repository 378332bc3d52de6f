"""Every edge there is, read from the services' own policies files, and the kind of transport each uses."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from breakwater.chassis import bus, database
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.policies import PolicyFile
from breakwater.resilience import Policy, PolicyRegistry, PolicySettings
from services.files.exports import objects

ROOT = Path(__file__).parents[3]
OUTSIDE = Path(__file__).with_name("outside.yaml")

KINDS = {
    **dict.fromkeys(("leads", "notify", "files", "health", "gateway"), "gRPC"),
    "postgres": "PostgreSQL",
    "nats": "NATS",
    "objects": "object store",
    "robot": "HTTP",
    "smtp": "SMTP",
}
"""By dependency. An edge to a name that is not here has no stated steady state, and the matrix fails."""

STREAMS = {("files", "leads")}
"""Edges of streaming calls; the other gRPC edges are unary."""

_CLASSIFIERS = {"postgres": database.classify, "nats": bus.classify, "objects": objects.classify}


@dataclass(frozen=True)
class Edge:
    """One caller -> dependency edge with the settings of its real file."""

    caller: str
    dependency: str
    file: Path

    @property
    def name(self) -> str:
        return f"{self.caller} -> {self.dependency}"

    @property
    def kind(self) -> str:
        """Its transport. Raises `KeyError` for a dependency that `KINDS` does not know."""
        return "gRPC stream" if (self.caller, self.dependency) in STREAMS else KINDS[self.dependency]

    @cached_property
    def settings(self) -> PolicySettings:
        return self.policy().settings

    def policy(self) -> Policy:
        """A new policy of this edge, as the service would make it."""
        return _registry(self.caller, self.file)[self.dependency]

    @property
    def deadline_s(self) -> float:
        """What a caller of the matrix gives: a little more than a slow call takes, so that a time-out counts."""
        return self.settings.slow_call_s + max(0.3, 0.2 * self.settings.slow_call_s)

    @property
    def patience_s(self) -> float:
        """What a caller gives where everything is expected to be answered: a disk may stall for a second."""
        return max(self.settings.attempt_timeout_s, self.deadline_s)

    @property
    def recovery_s(self) -> float:
        """How soon after a fault the circuit is closed again: open time, one failed round, reconnect, probes.

        A round fails where the dependency is still slow from what the fault held back.
        """
        return round(3 * self.settings.open_s * 1.1 + 1.0 + 2 * self.deadline_s, 1)


def edges() -> list[Edge]:
    """Sorted by caller and dependency; the kinds that no service uses yet come from `outside.yaml`."""
    found = []
    for file in [*sorted((ROOT / "services").rglob("policies.yaml")), OUTSIDE]:
        caller = "notify" if file == OUTSIDE else file.parent.name
        found += [Edge(caller, policy.settings.dependency, file) for policy in _registry(caller, file)]
    return sorted(found, key=lambda edge: (edge.caller, edge.dependency))


def _registry(caller: str, file: Path) -> PolicyRegistry:
    return PolicyFile(caller, file, clock=SystemClock(), classifiers=_CLASSIFIERS).registry
