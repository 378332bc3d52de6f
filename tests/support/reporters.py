"""A small platform whose processes report what a test says they saw, for what judges their edges."""

from dataclasses import dataclass, field, replace

from breakwater.resilience.testing import VirtualClock
from services.gateway.ops.edges.domain import Bulkhead, Changes, Circuit, Edge, Report, Totals
from services.gateway.ops.incidents.usecases import Incidents

GRAPH = (
    ("gateway", "leads"), ("gateway", "files"), ("files", "leads"), ("files", "postgres"), ("leads", "postgres"),
    ("leads", "nats"), ("notify", "postgres"), ("notify", "nats"),
)  # fmt: skip


@dataclass
class Notes:
    """The record, in memory."""

    told: list = field(default_factory=list)
    changes: tuple = ()

    def incident_changed(self, incident, what):
        self.told.append((what, incident.id))

    def incident_acted_on(self, incident, action):
        self.told.append((action.step.value, incident.id))

    def changes_between(self, start, end, names):
        return self.changes


class Platform:
    """Processes that report every second what they are told to have seen."""

    def __init__(self, instances=1):
        self.clock = VirtualClock()
        self.notes = Notes()
        self.incidents = Incidents(self.notes, self.clock, {"postgres": "dba"})
        self.others = []
        self.names = {caller: [f"{caller}-{n}" for n in range(instances)] for caller, _ in GRAPH}
        self.totals = {}
        self.state = {}
        self.pages = []

    async def run(
        self,
        seconds,
        bad=(),
        *,
        outcome="failed",
        share=1.0,
        open_circuit=True,
        only=None,
        silent=(),
        per_s=20,
        asked=GRAPH,
    ):
        """Time passes; calls of the pairs in `bad` come to `outcome`, of the instance `only` where it is given.

        What is not `asked` for is not called.
        """
        for _ in range(seconds):
            await self.clock.advance(1)
            for process, instances in self.names.items():
                if process not in silent:
                    for instance in instances:
                        affected = {pair for pair in bad if only in {None, instance}}
                        self.report(process, instance, affected, outcome, share, open_circuit, per_s, asked)
            for process in silent:
                stale = [edge for (i, _), edge in self.state.items() if i in self.names[process]]
                self.incidents.follow(Changes(edges=tuple(stale_of(edge) for edge in stale)))
            self.pages += [each.id for each in self.incidents.judge() if each.resolved_at is None]

    def report(self, process, instance, bad, outcome, share, open_circuit, per_s, asked):
        edges = []
        for pair in (pair for pair in GRAPH if pair[0] == process):
            counts = self.totals.setdefault((instance, pair), {})
            calls = per_s if pair in asked else 0
            failed = round(calls * share) if pair in bad else 0
            counts[outcome] = counts.get(outcome, 0) + failed
            counts["success"] = counts.get("success", 0) + calls - failed
            is_open = pair in bad and open_circuit
            edges.append(
                edge_of(pair, instance, dict(counts), Circuit.OPEN if is_open else Circuit.CLOSED, self.clock.now())
            )
            self.state[instance, pair] = edges[-1]
        for each in (self.incidents, *self.others):
            each.observe(Report(process, instance, self.clock.now(), tuple(edges)))

    @property
    def opened(self):
        return [incident for what, incident in self.notes.told if what == "opened"]

    def only(self):
        """The one incident."""
        [incident] = self.incidents.open()
        return incident


def edge_of(pair, instance, counts, state, at):
    return Edge(
        caller=pair[0],
        dependency=pair[1],
        instance=instance,
        state=state,
        override=None,
        availability=0.5 if state is not Circuit.CLOSED else 1.0,
        error_rate=None,
        errors={},
        rate_per_s=20.0,
        p50_ms=5.0,
        p90_ms=9.0,
        p99_ms=12.0,
        retries=0,
        retry_budget_tokens=10.0,
        bulkhead=Bulkhead(0, 10, 0),
        next_probe_s=None if state is Circuit.CLOSED else 1.0,
        fallbacks=0,
        injected=0,
        as_of=at,
        calls=400,
        slow_rate=0.0,
        totals=Totals(counts, 0, 0, ()),
    )


def stale_of(edge):
    return replace(edge, stale=True)
