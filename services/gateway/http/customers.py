"""Customers with their health (17, 18): `/v1/customers`."""

import asyncio
from typing import Annotated, NotRequired

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ConfigDict, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.errors import BreakwaterError, NotFoundError
from breakwater.chassis.identity import Scope
from breakwater.chassis.wire import actor_to
from breakwater.health.v1 import health_pb2
from breakwater.leads.v1 import leads_pb2
from services.gateway.clients import Health, Leads
from services.gateway.http.answers import Answer, Degraded, answer, rfc3339
from services.gateway.http.call import Call
from services.gateway.http.declare import KEYED, Api, idempotency_of
from services.gateway.http.leads import LeadView, lead_view
from services.gateway.http.routes import Input, Moment


class NewSignal(Input):
    """Something observed of a customer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "nps", "value": "62", "occurred_at": "2026-11-20T10:00:00+08:00"}]}
    )

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """login, download, call, invoice, opportunity, nps, referral, ticket, ..."""
    value: Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$")] = "1"
    """What the kind measures: amount, score, count; a decimal as text."""
    occurred_at: Moment | None = None
    """Now when absent."""


class ReasonView(TypedDict):
    """Why a layer has its score."""

    metric: str
    actual: str | None
    target: str
    points: float
    points_max: float
    text: str


class LayerView(TypedDict):
    """One weighted part of a score."""

    name: str
    weight: float
    score: float
    reasons: list[ReasonView]


class HealthView(TypedDict):
    """A score from 0 to 100 with the reasons behind it (17)."""

    customer_id: str
    score: float
    grade: str
    needs_care: bool
    signals: int
    scored_at: str | None
    model_version: str
    layers: list[LayerView]


class HealthSummary(TypedDict):
    """The score without its reasons."""

    score: float
    grade: str
    needs_care: bool


class PainTagView(TypedDict):
    """What hurts the customer and how many of its records say so (12)."""

    tag: str
    records: int
    last_at: str | None


class CustomerView(TypedDict):
    """One customer, one record (53). `health` is null while nothing is known, or while it is missing (`degraded`)."""

    id: str
    name: str
    company: str | None
    phone: str | None
    email: str | None
    owner_id: str | None
    created_at: str | None
    leads: list[LeadView]
    pain_tags: list[PainTagView]
    health: HealthSummary | None
    degraded: NotRequired[Degraded]


class SignalCreated(TypedDict):
    """The signal and the score after it."""

    id: str
    customer_id: str
    kind: str
    value: str
    occurred_at: str | None
    health: HealthView


class _Reads:
    """What the routes ask of two services."""

    def __init__(self, leads: Leads, health: Health) -> None:
        self._leads = leads
        self._health = health

    async def customer(self, call: Call, customer_id: str) -> leads_pb2.Customer:
        request = leads_pb2.GetCustomerRequest(actor=actor_to(call.actor), id=customer_id)
        return (await self._leads.channel.unary(self._leads.leads.GetCustomer, request, retryable=True)).customer

    async def score(self, call: Call, customer_id: str) -> health_pb2.Health:
        request = health_pb2.GetHealthRequest(actor=actor_to(call.actor), customer_id=customer_id)
        return (await self._health.channel.unary(self._health.scoring.GetHealth, request, retryable=True)).health

    async def score_or_gap(self, call: Call, customer_id: str) -> health_pb2.Health | BreakwaterError | None:
        """The score; None when nothing is known yet; the failure when health is out, counted as a fallback."""
        gap: list[BreakwaterError] = []

        async def leave_out(error: BreakwaterError) -> health_pb2.GetHealthResponse:
            gap.append(error)
            return health_pb2.GetHealthResponse()

        request = health_pb2.GetHealthRequest(actor=actor_to(call.actor), customer_id=customer_id)
        try:
            reply = await self._health.channel.unary(
                self._health.scoring.GetHealth, request, retryable=True, fallback=leave_out
            )
        except NotFoundError:
            return None
        return gap[0] if gap else reply.health

    async def require_visible(self, call: Call, customer_id: str) -> None:
        """leads knows whose customer it is, health does not. Raises `NotFoundError`."""
        if call.actor.scope is not Scope.ALL:
            await self.customer(call, customer_id)


def add_routes(api: Api, leads: Leads, health: Health) -> None:
    """Adds the routes of customers."""
    reads = _Reads(leads, health)

    @api.route("GET", "/v1/customers/{customer_id}", CustomerView, tag="customers")
    async def get_customer(call: Call, customer_id: str) -> Answer:
        """One customer with its leads and its score; without the score, and saying so, while health is out."""
        scoring = asyncio.create_task(reads.score_or_gap(call, customer_id))
        try:
            view = _customer_view(await reads.customer(call, customer_id))
            scored = await scoring
        finally:
            scoring.cancel()
        if isinstance(scored, health_pb2.Health):
            view["health"] = {"score": scored.score, "grade": scored.grade, "needs_care": scored.needs_care}
        elif scored is not None:
            view["degraded"] = {"dependency": "health", "fallback": "omitted", "missing": ["health"]}
            return answer(view, degraded="health")
        return answer(view)

    @api.route("GET", "/v1/customers/{customer_id}/health", HealthView, tag="customers")
    async def get_health(call: Call, customer_id: str) -> Answer:
        """The score with the reasons behind it."""
        await reads.require_visible(call, customer_id)
        return answer(_health_view(await reads.score(call, customer_id)))

    @api.route("POST", "/v1/customers/{customer_id}/signals", SignalCreated, status=201, tag="customers", extra=KEYED)
    async def record_signal(call: Call, customer_id: str, body: NewSignal) -> Answer:
        """Stores a signal and scores its customer at once (18)."""
        await reads.require_visible(call, customer_id)
        occurred_at = None
        if body.occurred_at is not None:
            occurred_at = Timestamp()
            occurred_at.FromDatetime(body.occurred_at)
        request = health_pb2.RecordSignalRequest(
            actor=actor_to(call.actor),
            idempotency=idempotency_of(call),
            customer_id=customer_id,
            kind=body.kind,
            value=body.value,
            occurred_at=occurred_at,
        )
        reply = await health.channel.unary(
            health.scoring.RecordSignal, request, retryable=bool(request.idempotency.key)
        )
        view: SignalCreated = {
            "id": reply.signal.id,
            "customer_id": reply.signal.customer_id,
            "kind": reply.signal.kind,
            "value": reply.signal.value,
            "occurred_at": rfc3339(reply.signal.occurred_at),
            "health": _health_view(reply.health),
        }
        return answer(view, status=201, replayed=reply.replayed)


def _customer_view(customer: leads_pb2.Customer) -> CustomerView:
    return {
        "id": customer.id,
        "name": customer.name,
        "company": customer.company or None,
        "phone": customer.phone or None,
        "email": customer.email or None,
        "owner_id": customer.owner_id or None,
        "created_at": rfc3339(customer.created_at),
        "leads": [lead_view(lead) for lead in customer.leads],
        "pain_tags": [
            {"tag": each.tag, "records": each.records, "last_at": rfc3339(each.last_at)} for each in customer.pain_tags
        ],
        "health": None,
    }


def _health_view(health: health_pb2.Health) -> HealthView:
    return {
        "customer_id": health.customer_id,
        "score": health.score,
        "grade": health.grade,
        "needs_care": health.needs_care,
        "signals": health.signals,
        "scored_at": rfc3339(health.scored_at),
        "model_version": health.model_version,
        "layers": [
            {
                "name": layer.name,
                "weight": layer.weight,
                "score": layer.score,
                "reasons": [
                    {
                        "metric": reason.metric,
                        "actual": reason.actual or None,
                        "target": reason.target,
                        "points": reason.points,
                        "points_max": reason.points_max,
                        "text": reason.text,
                    }
                    for reason in layer.reasons
                ],
            }
            for layer in health.layers
        ],
    }
