"""The routes of the ops URL but the stream and the page."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.resilience import faults
from breakwater.resilience.errors import InvalidPolicyError
from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.call import Call
from services.gateway.http.declare import Api
from services.gateway.http.routes import Identifier, Input, LongText, QueryInput
from services.gateway.ops.budgets.domain import Budgets, Spending
from services.gateway.ops.console import Console, Deployment
from services.gateway.ops.edges.domain import Edge, Fault
from services.gateway.ops.http.views import (
    EdgeView,
    EntryView,
    IncidentView,
    OverrideView,
    edge_view,
    entry_view,
    fault_view,
    incident_view,
)
from services.gateway.ops.overrides.usecases import Overrides

EDGES_MAX = 1_000


class EdgesQuery(QueryInput):
    """A page of edges."""

    limit: int = Field(default=EDGES_MAX, ge=1, le=EDGES_MAX)
    cursor: str = Field(default="", max_length=200)
    caller: str = Field(default="", max_length=64)
    """Only edges of this caller."""
    dependency: str = Field(default="", max_length=64)
    """Only edges to this dependency."""


class TimelineQuery(QueryInput):
    """The newest entries."""

    limit: int = Field(default=100, ge=1, le=1_000)


class CallerQuery(QueryInput):
    """Whose edge; without it every caller's."""

    caller: str = Field(default="", max_length=64)


class FaultInput(Input):
    """What `chaos` injects into an edge."""

    kind: Literal["latency", "error", "hang", "reset", "slow-body", "credential"]
    share: float = 1.0
    """Share of the attempts it happens to, above 0 to 1."""
    control_share: float = 0.0
    """Share of the requests, by trace id, that it never happens to; 0 to below 1."""
    latency_p50_s: float | None = None
    """Of latency and slow-body: half of the delays are shorter."""
    latency_p99_s: float | None = None
    """One delay in a hundred is longer; without it every delay is latency_p50_s."""
    latency_s_max: float = 30.0
    """No delay is longer; at most 300."""
    code: str = Field(default="", max_length=40)
    """Of error: a gRPC status, an HTTP status or an SQLSTATE, as the edge's transport has them."""


class OverrideInput(Input):
    """An override: it has a reason and an end."""

    mode: Literal["forced-open", "forced-closed", "shadow", "disabled", "fallback", "chaos"]
    caller: Identifier | None = None
    """Whose edge; without it every caller's."""
    reason: str
    ttl_s: float = Field(gt=0)
    """Seconds until it ends by itself."""
    fault: FaultInput | None = None
    """What `chaos` injects; of no other mode."""


class DeploymentInput(Input):
    """The release that runs now."""

    version: str = Field(pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    environment: Identifier
    forced: LongText | None = None
    """Why it was deployed although the gate said no."""


class GateVerdictInput(Input):
    """What `breakwater gate` said of a candidate."""

    environment: Identifier
    line: LongText
    """Its first line: YES or NO, the worst finding, and the cure."""


class EdgesView(TypedDict):
    """Every edge, worst first."""

    as_of: str | None
    edges: list[EdgeView]
    incidents: list[IncidentView]
    next_cursor: str | None


class LaidView(TypedDict):
    """Where an override is in force."""

    dependency: str
    override: OverrideView
    edges: dict[str, int]
    """Edges it governs by process."""
    unreached: list[str]
    """Processes that did not answer; they take it from NATS when they can."""
    in_nats: bool
    """Whether NATS keeps it for processes that start later; otherwise only ops can tell them."""


class LiftedView(TypedDict):
    """Where an override was lifted."""

    dependency: str
    edges: dict[str, int]
    unreached: list[str]


class TimelineView(TypedDict):
    """Newest first."""

    items: list[EntryView]
    next_cursor: str | None


class VerificationView(TypedDict):
    """Whether the timeline is as it was written; `sha256` is also in the log of whoever wrote it (`timeline_saved`)."""

    intact: bool
    problem: str | None
    entries: int
    seq: int
    sha256: str


class Views:
    """Edges as JSON, with what only the overrides and the budgets know of them."""

    def __init__(self, overrides: Overrides, budgets: Budgets, clock: Clock) -> None:
        self._overrides = overrides
        self._budgets = budgets
        self._clock = clock

    def edge(self, edge: Edge) -> EdgeView:
        spending = self.spending(edge.caller, edge.dependency)
        return edge_view(edge, wide=self.is_wide(edge.dependency, edge.caller), spending=spending)

    def is_wide(self, dependency: str, caller: str) -> bool:
        """Whether the override on an edge was laid for every caller."""
        return self._overrides.is_wide(dependency, caller)

    def spending(self, caller: str, dependency: str) -> Spending | None:
        """What the caller's edge does to the error budget of the dependency."""
        return self._budgets.spending(caller, dependency, int(self._clock.now().timestamp()))


def add_routes(api: Api, console: Console, overrides: Overrides, views: Views, clock: Clock) -> None:
    """Adds the routes."""

    @api.route("GET", "/v1/dependencies", EdgesView, tag="dependencies")
    async def list_dependencies(query: Annotated[EdgesQuery, Query()]) -> Answer:
        """Every caller -> dependency edge with its figures, worst first."""
        edges = [
            edge
            for edge in console.edges()
            if query.caller in {"", edge.caller} and query.dependency in {"", edge.dependency}
        ]
        start = _start(query.cursor, len(edges))
        end = start + query.limit
        view = EdgesView(
            as_of=rfc3339_of(clock.now()),
            edges=[views.edge(edge) for edge in edges[start:end]],
            incidents=[incident_view(incident) for incident in console.incidents(open_only=True)],
            next_cursor=str(end) if end < len(edges) else None,
        )
        return answer(view)

    @api.route("PUT", "/v1/dependencies/{dependency}/override", LaidView, tag="dependencies")
    async def lay_override(dependency: str, call: Call, body: OverrideInput) -> Answer:
        """Overrides an edge everywhere, until it ends by itself."""
        what, delivery = await overrides.lay(
            call.actor,
            dependency=dependency,
            caller=body.caller,
            mode=body.mode,
            reason=body.reason,
            ttl_s=body.ttl_s,
            fault=_fault(body.fault),
        )
        view = LaidView(
            dependency=dependency,
            override=OverrideView(
                mode=body.mode,
                caller=what.caller,
                actor=what.actor,
                reason=what.reason,
                expires_at=rfc3339_of(what.expires_at),
                fault=fault_view(what.fault),
            ),
            edges=dict(delivery.edges),
            unreached=list(delivery.unreached),
            in_nats=delivery.in_bucket,
        )
        return answer(view)

    @api.route("DELETE", "/v1/dependencies/{dependency}/override", LiftedView, tag="dependencies")
    async def lift_override(dependency: str, call: Call, query: Annotated[CallerQuery, Query()]) -> Answer:
        """Lifts the override of one caller's edge or, without caller, every override on the dependency."""
        delivery = await overrides.lift(call.actor, dependency=dependency, caller=query.caller or None)
        unreached = list(delivery.unreached)
        return answer(LiftedView(dependency=dependency, edges=dict(delivery.edges), unreached=unreached))

    @api.route("PUT", "/v1/deployments/{service}", EntryView, tag="incidents")
    async def record_deployment(service: str, call: Call, body: DeploymentInput) -> Answer:
        """Puts a deployment on the timeline, beside what it may have caused; answers the entry."""
        what = Deployment(service, body.version, body.digest, body.environment, body.forced or "")
        return answer(entry_view(console.deployed(call.actor, what)))

    @api.route("POST", "/v1/gate-verdicts/{service}", EntryView, status=201, tag="incidents")
    async def record_verdict(service: str, call: Call, body: GateVerdictInput) -> Answer:
        """Puts what the gate said of a candidate on the timeline; answers the entry."""
        return answer(entry_view(console.gate_said(call.actor, service, body.environment, body.line)), status=201)

    @api.route("GET", "/v1/timeline", TimelineView, tag="incidents")
    async def list_timeline(query: Annotated[TimelineQuery, Query()]) -> Answer:
        """What changed and who changed it, newest first."""
        items = [entry_view(entry) for entry in console.timeline(query.limit)]
        return answer(TimelineView(items=items, next_cursor=None))

    @api.route("GET", "/v1/timeline/verification", VerificationView, tag="incidents")
    async def verify_timeline() -> Answer:
        """Goes through the chain of everything on the record."""
        found = await console.verify_timeline()
        view = VerificationView(
            intact=found.problem is None,
            problem=found.problem,
            entries=found.entries,
            seq=found.seq,
            sha256=found.sha256.hex(),
        )
        return answer(view)


def snapshot(console: Console, views: Views, clock: Clock, entries_max: int) -> dict[str, Any]:
    """What a watcher begins with; the timeline is oldest first, as a page writes it."""
    return {
        "as_of": rfc3339_of(clock.now()),
        "edges": [views.edge(edge) for edge in console.edges()],
        "incidents": [incident_view(incident) for incident in console.incidents(open_only=True)],
        "timeline": [entry_view(entry) for entry in reversed(console.timeline(entries_max))],
    }


def _fault(given: FaultInput | None) -> Fault | None:
    if given is None:
        return None
    try:
        kept = faults.Fault(**given.model_dump() | {"kind": faults.FaultKind(given.kind)})
    except InvalidPolicyError as error:
        fields = [FieldError(*each.split(": ", 1)) for each in error.errors]
        raise InvalidRequestError("the fault cannot be injected as it is", errors=fields) from None
    return Fault(**{**asdict(kept), "kind": given.kind})


def _start(cursor: str, count: int) -> int:
    if not cursor:
        return 0
    if not cursor.isdecimal() or int(cursor) > count:
        raise InvalidRequestError("the cursor is not ours", errors=[FieldError("cursor", "unknown")])
    return int(cursor)
