"""Which user journeys run over which edges; the names are those of deploy/slo.yaml. Pure.

The services' READMEs say what breaks for whom. What only delays a journey counts as hurting it: an event that waits in the outbox
is a notification that is late.
"""

from collections.abc import Iterable, Mapping

from services.gateway.ops.incidents.evidence import Pair

JOURNEYS: Mapping[str, frozenset[Pair]] = {
    "intake": frozenset({("gateway", "leads"), ("leads", "postgres")}),
    "assignment": frozenset({("gateway", "leads"), ("leads", "postgres"), ("leads", "nats")}),
    "export": frozenset(
        {
            ("gateway", "files"),
            ("gateway", "postgres"),
            ("gateway", "nats"),
            ("files", "leads"),
            ("files", "objects"),
            ("files", "postgres"),
            ("files", "nats"),
            ("leads", "postgres"),
        }
    ),
    "notification": frozenset({("gateway", "notify"), ("notify", "postgres"), ("notify", "nats"), ("leads", "nats")}),
    "scoring": frozenset({("gateway", "health"), ("health", "postgres"), ("health", "nats"), ("leads", "nats")}),
}
OWNERS_OF_EVERYTHING_ELSE: Mapping[str, str] = {"notify": "notification", "files": "export", "health": "scoring"}
"""Edges that only some deployments have, such as notify → wecom, serve their caller's journey."""


def hurt(pairs: Iterable[Pair]) -> tuple[str, ...]:
    """The journeys that run over any of the pairs, in the order of `JOURNEYS`."""
    touched = set(pairs)
    found = {name for name, edges in JOURNEYS.items() if edges & touched}
    listed = frozenset().union(*JOURNEYS.values())
    found |= {OWNERS_OF_EVERYTHING_ELSE[pair[0]] for pair in touched - listed if pair[0] in OWNERS_OF_EVERYTHING_ELSE}
    return tuple(name for name in JOURNEYS if name in found)
