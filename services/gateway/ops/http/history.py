"""What happened on the edges to a dependency, for charts."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import Field
from typing_extensions import TypedDict

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import NotFoundError
from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.declare import Api
from services.gateway.http.routes import QueryInput
from services.gateway.ops.edges.domain import Circuit
from services.gateway.ops.history.domain import OUTCOMES, History, Stretch

SECONDS_MAX = 86_400


class HistoryQuery(QueryInput):
    """How far back, and whose edge."""

    seconds: int = Field(default=300, ge=10, le=SECONDS_MAX)
    """Up to 720 by the second, more by ten seconds or longer steps."""
    caller: str = Field(default="", max_length=64)
    """Without it every caller's edge."""


class InstancesView(TypedDict):
    """The most instances seen in each state, step by step; null where nobody told anything."""

    open: list[int | None]
    half_open: list[int | None]
    closed: list[int | None]


class PastView(TypedDict):
    """One caller's edge, its instances summed; one entry for each step, null where nobody told anything."""

    caller: str
    dependency: str
    start: str | None
    """The first step begins here."""
    step_s: int
    instances: InstancesView
    outcomes: dict[str, list[int | None]]
    """Attempts by outcome; what never happened is left out."""
    retries: list[int | None]
    fallbacks: list[int | None]
    latency_le_ms: list[float | None]
    """Upper bounds of the histogram; the last, null, is infinite."""
    latency_counts: list[list[int] | None]
    """Answered attempts by those bounds, each without the ones before."""


class HistoryView(TypedDict):
    """The past of every caller's edge to a dependency."""

    as_of: str | None
    items: list[PastView]


def add_routes(api: Api, history: History, clock: Clock) -> None:
    """Adds the route."""

    @api.route("GET", "/v1/dependencies/{dependency}/history", HistoryView, tag="dependencies")
    async def show_history(dependency: str, query: Annotated[HistoryQuery, Query()]) -> Answer:
        """Attempts, errors, latencies and circuits of the edges to a dependency over time, up to a day back."""
        now = clock.now()
        callers = (query.caller,) if query.caller else history.callers_of(dependency)
        now_s = int(now.timestamp())
        found = {
            caller: history.stretch((caller, dependency), now_s=now_s, seconds=query.seconds) for caller in callers
        }
        items = [_view(caller, dependency, stretch) for caller, stretch in found.items() if stretch is not None]
        if not items:
            raise NotFoundError("no process has told of such an edge")
        return answer(HistoryView(as_of=rfc3339_of(now), items=items))


def _view(caller: str, dependency: str, stretch: Stretch) -> PastView:
    points = stretch.points
    states = {state: [point.instances[state] if point else None for point in points] for state in Circuit}
    outcomes = {name: [point.outcomes[name] if point else None for point in points] for name in OUTCOMES}
    bounds_s = stretch.bounds_s
    return PastView(
        caller=caller,
        dependency=dependency,
        start=rfc3339_of(datetime.fromtimestamp(stretch.from_s, UTC)),
        step_s=stretch.step_s,
        instances=InstancesView(
            open=states[Circuit.OPEN], half_open=states[Circuit.HALF_OPEN], closed=states[Circuit.CLOSED]
        ),
        outcomes={name: counts for name, counts in outcomes.items() if any(counts)},
        retries=[point.retries if point else None for point in points],
        fallbacks=[point.fallbacks if point else None for point in points],
        latency_le_ms=[1000 * bound_s for bound_s in bounds_s[:-1]] + [None] * bool(bounds_s),
        latency_counts=[point.latency_counts[: len(bounds_s)] if point else None for point in points],
    )
