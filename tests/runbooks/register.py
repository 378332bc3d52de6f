"""Which runbook is executed by which rehearsal, and which is not, and why. docs/rehearsals.md tells it to people."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rehearsal:
    """Runbooks whose faults are made together. `sampled`: CI does it too; else only `make proof-runbooks`."""

    name: str
    runbooks: tuple[str, ...]
    sampled: bool = False
    replica_of: str = ""
    """A second process of this service runs beside the first."""


REHEARSALS: Final = (
    Rehearsal("shared", ("BreakwaterSharedDependencyDown",), sampled=True),
    Rehearsal("refused", ("BreakwaterCredentialRefused",), sampled=True),
    Rehearsal("stopped", ("BreakwaterDependencyDown", "BreakwaterServiceDown"), sampled=True),
    Rehearsal("fronts", ("BreakwaterGatewayDown", "BreakwaterOpsDown")),
    Rehearsal("outbox", ("BreakwaterOutboxStuck",)),
    Rehearsal("letters", ("BreakwaterDeadLetters",)),
    Rehearsal("replica", ("BreakwaterReplicaFailing",), replica_of="health"),
    Rehearsal("shares", ("BreakwaterDependencyGray", "BreakwaterDependencyOverloaded")),
    Rehearsal("slow", ("BreakwaterDependencySlow",)),
    Rehearsal("flapping", ("BreakwaterDependencyFlapping",)),
    Rehearsal("keys", ("BreakwaterKeysStale",)),
    Rehearsal("leaking", ("BreakwaterDependencyBudgetLeaking", "BreakwaterJourneyBudgetLeaking")),
    Rehearsal("burning", ("BreakwaterDependencyBudgetBurning", "BreakwaterJourneyBudgetBurning")),
)

EXCEPTIONS: Final = {
    "BreakwaterWatchdog": (
        "It fires always. What is alarmed is its silence, by the provider that listens, and the cure is to start Prometheus or"
        " Alertmanager, which are not ours to start. That it is heard: `tests/e2e/local/test_alerting.py`."
    ),
    "BreakwaterProviderDeviates": (
        "The platform of the tests has no provider that is not ours, and no command mends one. That the probe finds a"
        " deviation, and its end: `tests/integration/files/test_probe.py`."
    ),
}
