"""What Alertmanager tells of Prometheus' alerts, and which of them fire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.declare import Api
from services.gateway.http.routes import Input
from services.gateway.ops.alerts.domain import Alert, Told
from services.gateway.ops.alerts.usecases import Alerts

ALERTS_MAX = 200
LABELS_MAX = 32
_NAME_CHARS_MAX = 200
Label = Annotated[str, StringConstraints(max_length=_NAME_CHARS_MAX)]
Text = Annotated[str, StringConstraints(max_length=2_000)]


class AlertInput(Input):
    """One alert, as Alertmanager writes it."""

    status: Literal["firing", "resolved"]
    labels: dict[Label, Label] = Field(max_length=LABELS_MAX)
    annotations: dict[Label, Text] = Field(default={}, max_length=LABELS_MAX)
    starts_at: Label = Field(alias="startsAt")
    ends_at: Label = Field(default="", alias="endsAt")
    generator_url: Text = Field(default="", alias="generatorURL")
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]


class AlertsInput(Input):
    """A message of Alertmanager's webhook, version 4 (prometheus.io/docs/alerting, webhook_config)."""

    version: Literal["4"]
    group_key: Text = Field(default="", alias="groupKey")
    truncated_alerts: int = Field(default=0, alias="truncatedAlerts")
    status: Literal["firing", "resolved"]
    receiver: Label
    group_labels: dict[Label, Label] = Field(default={}, alias="groupLabels")
    common_labels: dict[Label, Label] = Field(default={}, alias="commonLabels")
    common_annotations: dict[Label, Text] = Field(default={}, alias="commonAnnotations")
    external_url: Text = Field(default="", alias="externalURL")
    alerts: list[AlertInput] = Field(max_length=ALERTS_MAX)


class TakenView(TypedDict):
    """How many of the alerts were news."""

    changed: int


class AlertView(TypedDict):
    """A firing alert, and the open incident it belongs to."""

    name: str
    severity: str
    summary: str
    runbook: str
    labels: dict[str, str]
    since: str | None
    incident_id: str | None


class AlertsView(TypedDict):
    """The alerts that fire, oldest first."""

    items: list[AlertView]
    next_cursor: str | None


def add_routes(api: Api, alerts: Alerts) -> None:
    """Adds the routes."""

    @api.route("POST", "/v1/alerts", TakenView, tag="incidents")
    async def take_alerts(body: AlertsInput) -> Answer:
        """Takes a message of Alertmanager's webhook: its alerts become symptoms on the timeline."""
        changed = alerts.take(Told(_alert(each), firing=each.status == "firing") for each in body.alerts)
        return answer(TakenView(changed=len(changed)))

    @api.route("GET", "/v1/alerts", AlertsView, tag="incidents")
    async def list_alerts() -> Answer:
        """The alerts of Prometheus that fire, each with the incident it belongs to."""
        items = [_view(alert, incident_id) for alert, incident_id in alerts.firing()]
        return answer(AlertsView(items=items, next_cursor=None))


def _alert(given: AlertInput) -> Alert:
    return Alert(
        key=given.fingerprint,
        name=given.labels.get("alertname", "unnamed"),
        severity=given.labels.get("severity", ""),
        labels=given.labels,
        summary=given.annotations.get("summary", ""),
        runbook=given.annotations.get("runbook_url", ""),
        since=_moment(given.starts_at),
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - refused below
    if moment.tzinfo is None:
        raise InvalidRequestError(
            "the alert cannot be taken", errors=[FieldError("startsAt", "RFC 3339, with its zone")]
        )
    return moment


def _view(alert: Alert, incident_id: str) -> AlertView:
    return AlertView(
        name=alert.name,
        severity=alert.severity,
        summary=alert.summary,
        runbook=alert.runbook,
        labels=dict(alert.labels),
        since=rfc3339_of(alert.since),
        incident_id=incident_id or None,
    )
