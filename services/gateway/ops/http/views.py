"""Edges, incidents and entries as JSON (api.md, `GET /v1/dependencies`)."""

from datetime import UTC, datetime
from typing import Any

from typing_extensions import TypedDict

from services.gateway.http.answers import rfc3339_of
from services.gateway.ops.budgets.domain import Spending
from services.gateway.ops.edges.domain import Edge, Fault, Forced
from services.gateway.ops.incidents.domain import Incident
from services.gateway.ops.timeline.domain import Entry


class FaultView(TypedDict):
    """A fault that is injected; breakwater/resilience/README.md, Chaos."""

    kind: str
    share: float
    control_share: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    latency_s_max: float
    code: str


class OverrideView(TypedDict):
    """The override in force on an edge. `caller` null: it was laid for every caller."""

    mode: str
    caller: str | None
    actor: str
    reason: str
    expires_at: str | None
    fault: FaultView | None
    """What `chaos` injects; null in every other mode."""


class BulkheadView(TypedDict):
    """Attempts in flight of the limit, and those that wait."""

    in_use: int
    limit: int
    queued: int
    queue_max: int


class EdgeView(TypedDict):
    """One edge of one process. Shares are 0 to 1 and null without calls; counts are of the rolling window."""

    caller: str
    dependency: str
    instance: str
    state: str
    forced: str | None
    override: OverrideView | None
    stale: bool
    availability: float | None
    availability_first: float | None
    """Of the calls, what their first attempt answered: before retries."""
    error_rate: float | None
    slow_rate: float | None
    errors: dict[str, int]
    rate_per_s: float
    calls: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p99_5_ms: float | None
    retries: int
    retry_budget_tokens: float
    fallbacks: int
    injected: int
    bulkhead: BulkheadView
    next_probe_s: float | None
    slo: dict[str, Any]
    """`objective`, `burn_rates` by window, `budget_spent` of the period `since`, `severity`; `young_minutes` of data while these
    are too few for one; empty without a promise."""
    as_of: str | None


class PairView(TypedDict):
    """Caller and dependency, all instances of the caller together."""

    caller: str
    dependency: str


class ImpactView(TypedDict):
    """About how many requests it has cost so far, counted at the outermost edges it hurts."""

    failed: int
    degraded: int


class ActionView(TypedDict):
    """What somebody did about it: `acknowledged`, or `handed_over` with `to` and `note`."""

    at: str | None
    step: str
    actor: str
    to: str | None
    note: str | None


class IncidentView(TypedDict):
    """One cause. `dependency` and `callers` are those of its root edges."""

    id: str
    title: str
    dependency: str
    callers: list[str]
    opened_at: str | None
    resolved_at: str | None
    acknowledged_by: str | None
    """Who has it in hand, also after it was handed over."""
    root: PairView
    """The deepest failing edge; the worst hurt, where several callers fail."""
    instances: list[str]
    """The failing instances of the root's caller, where it is not all of them."""
    fault: str
    """down, slow, gray, flapping, credential, overload, replica or shared."""
    locus: str
    """local (the caller), network, or remote (the dependency)."""
    symptoms: list[PairView]
    journeys: list[str]
    impact: ImpactView
    began_at: str | None
    changes: list[str]
    """What was changed just before, newest first."""
    alert: str
    runbook: str
    owner: str | None
    relapses: int
    pages: int
    """How often somebody was called for it."""
    actions: list[ActionView]


class EntryView(TypedDict):
    """One line of the timeline."""

    id: str
    at: str | None
    kind: str
    text: str
    dependency: str
    actor: str | None


def edge_view(edge: Edge, *, wide: bool, spending: Spending | None) -> EdgeView:
    """The edge; `wide` says that its override was laid for every caller."""
    return EdgeView(
        caller=edge.caller,
        dependency=edge.dependency,
        instance=edge.instance,
        state=edge.state.value,
        forced=edge.override.mode if edge.override else None,
        override=override_view(edge.override, None if wide else edge.caller),
        stale=edge.stale,
        availability=edge.availability,
        availability_first=edge.availability_first,
        error_rate=edge.error_rate,
        slow_rate=edge.slow_rate,
        errors=dict(edge.errors),
        rate_per_s=edge.rate_per_s,
        calls=edge.calls,
        p50_ms=edge.p50_ms,
        p90_ms=edge.p90_ms,
        p99_ms=edge.p99_ms,
        p99_5_ms=edge.p99_5_ms,
        retries=edge.retries,
        retry_budget_tokens=edge.retry_budget_tokens,
        fallbacks=edge.fallbacks,
        injected=edge.injected,
        bulkhead=BulkheadView(
            in_use=edge.bulkhead.in_use,
            limit=edge.bulkhead.limit,
            queued=edge.bulkhead.queued,
            queue_max=edge.bulkhead.queue_max,
        ),
        next_probe_s=edge.next_probe_s,
        slo=slo_view(spending),
        as_of=rfc3339_of(edge.as_of),
    )


def slo_view(spending: Spending | None) -> dict[str, Any]:
    """What the edge does to the error budget of its dependency; 1 burns it in just its period."""
    if spending is None:
        return {}
    return {
        "objective": spending.objective,
        "burn_rates": {
            _window(window_s): None if burn is None else round(burn, 2)
            for window_s, burn in spending.burn_rates.items()
        },
        "budget_spent": round(spending.spent, 5),
        "since": rfc3339_of(datetime.fromtimestamp(spending.since_s, UTC)),
        "severity": spending.severity or None,
        "young_minutes": spending.young_minutes,
    }


def _window(window_s: int) -> str:
    if window_s % 86_400 == 0:
        return f"{window_s // 86_400}d"
    return f"{window_s // 3_600}h" if window_s % 3_600 == 0 else f"{window_s // 60}m"


def override_view(forced: Forced | None, caller: str | None) -> OverrideView | None:
    """`caller` None: it was laid for every caller."""
    if forced is None:
        return None
    return OverrideView(
        mode=forced.mode,
        caller=caller,
        actor=forced.actor,
        reason=forced.reason,
        expires_at=rfc3339_of(forced.expires_at),
        fault=fault_view(forced.fault),
    )


def fault_view(fault: Fault | None) -> FaultView | None:
    if fault is None:
        return None
    return FaultView(
        kind=fault.kind,
        share=fault.share,
        control_share=fault.control_share,
        latency_p50_s=fault.latency_p50_s,
        latency_p99_s=fault.latency_p99_s,
        latency_s_max=fault.latency_s_max,
        code=fault.code,
    )


def incident_view(incident: Incident) -> IncidentView:
    cause = incident.cause
    return IncidentView(
        id=incident.id,
        title=incident.title,
        dependency=cause.dependency,
        callers=list(cause.callers),
        opened_at=rfc3339_of(incident.opened_at),
        resolved_at=rfc3339_of(incident.resolved_at),
        acknowledged_by=incident.acknowledged_by or None,
        root=PairView(caller=cause.caller, dependency=cause.dependency),
        instances=list(cause.instances),
        fault=cause.fault.value,
        locus=cause.locus.value,
        symptoms=[PairView(caller=caller, dependency=dependency) for caller, dependency in cause.symptoms],
        journeys=list(incident.journeys),
        impact=ImpactView(failed=round(incident.failed), degraded=round(incident.degraded)),
        began_at=rfc3339_of(cause.since),
        changes=list(incident.changes),
        alert=incident.alert,
        runbook=incident.runbook,
        owner=incident.owner or None,
        relapses=incident.relapses,
        pages=incident.pages,
        actions=[
            ActionView(
                at=rfc3339_of(each.at),
                step=each.step.value,
                actor=each.actor,
                to=each.to or None,
                note=each.note or None,
            )
            for each in incident.actions
        ],
    )


def entry_view(entry: Entry) -> EntryView:
    return EntryView(
        id=entry.id,
        at=rfc3339_of(entry.at),
        kind=str(entry.kind),
        text=entry.text,
        dependency=entry.dependency,
        actor=entry.actor or None,
    )
