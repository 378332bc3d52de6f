"""Who may do what at the ops URL: denied by default, as at the gateway (services.gateway.http.access)."""

from collections.abc import Mapping
from typing import ClassVar

from breakwater.chassis.identity import Role
from breakwater.resilience.shedding import Priority
from services.gateway.http.access import Access
from services.gateway.http.routes import Route

VIEWERS = frozenset({Role.SERVICE, Role.MANAGER, Role.ONCALL, Role.SRE, Role.ADMIN})
OPERATORS = frozenset({Role.ONCALL, Role.SRE, Role.ADMIN})
_OPEN = Access(frozenset(), deadline_max_s=5.0, priority=Priority.OPS)
_VIEW = Access(VIEWERS, priority=Priority.OPS)
_OPERATE = Access(OPERATORS, priority=Priority.OPS)
_TELL = Access(frozenset({Role.SERVICE, Role.SRE, Role.ADMIN}), priority=Priority.OPS)
"""Machines tell, Alertmanager as a service; people who set it up try it."""
_JUDGE = Access(OPERATORS | {Role.SERVICE}, priority=Priority.OPS)
"""CI runs the gate as a service, people by hand."""

MATRIX: Mapping[tuple[str, str], Access] = {
    ("GET", "/v1/dependencies"): _VIEW,
    ("GET", "/v1/dependencies/{dependency}/policy"): _VIEW,
    ("GET", "/v1/dependencies/{dependency}/history"): _VIEW,
    ("PUT", "/v1/dependencies/{dependency}/override"): _OPERATE,
    ("DELETE", "/v1/dependencies/{dependency}/override"): _OPERATE,
    ("GET", "/v1/incidents"): _VIEW,
    ("GET", "/v1/incidents/{incident_id}"): _VIEW,
    ("GET", "/v1/incidents/{incident_id}/report"): _VIEW,
    ("POST", "/v1/incidents/{incident_id}/ack"): _OPERATE,
    ("POST", "/v1/incidents/{incident_id}/hand-over"): _OPERATE,
    ("GET", "/v1/alerts"): _VIEW,
    ("POST", "/v1/alerts"): _TELL,
    ("GET", "/v1/backlogs"): _VIEW,
    ("GET", "/v1/dead-letters"): _VIEW,
    ("POST", "/v1/dead-letters/{seq}/replay"): _OPERATE,
    ("PUT", "/v1/deployments/{service}"): _OPERATE,
    ("POST", "/v1/gate-verdicts/{service}"): _JUDGE,
    ("GET", "/v1/playbooks"): _VIEW,
    ("POST", "/v1/playbooks/{name}/runs"): _OPERATE,
    ("GET", "/v1/playbooks/runs/{run_id}"): _VIEW,
    ("GET", "/v1/timeline"): _VIEW,
    ("GET", "/v1/timeline/verification"): _VIEW,
    ("POST", "/ops/session"): _VIEW,
    ("DELETE", "/ops/session"): _OPEN,
    ("GET", "/ops"): _OPEN,
    ("GET", "/ops/assets/{name}"): _OPEN,
    ("GET", "/ops/assets/{version}/{name}"): _OPEN,
    ("GET", "/ops/runbooks/{name}"): _VIEW,
    ("GET", "/healthz"): _OPEN,
    ("GET", "/readyz"): _OPEN,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/docs"): _OPEN,
}


class OpsRoute(Route):
    """A route of this matrix."""

    matrix: ClassVar[Mapping[tuple[str, str], Access]] = MATRIX
