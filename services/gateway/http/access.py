"""Who may call what: the whole matrix, in one place, denied by default.

A route that is not in the matrix does not start (`routes.Route`), and a test walks OpenAPI x roles. Scopes (own, team,
all) are applied by the service that owns the record; what a caller may not see is 404 there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from breakwater.chassis.identity import Role
from breakwater.resilience.shedding import Priority

_EVERYBODY = frozenset(Role)
_BUSINESS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})
_STEERING = frozenset({Role.SERVICE, Role.MANAGER, Role.ADMIN})
_RULES_SIZE_BYTES_MAX = 3 * 1024 * 1024
"""Ten thousand rules of some conditions each; as a message to leads they stay below its 4 MiB."""
_RULES = frozenset({Role.MANAGER, Role.ADMIN})
_SENDING = frozenset({Role.MANAGER, Role.ONCALL, Role.SRE, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Access:
    """What the matrix says of one route."""

    roles: frozenset[Role]
    """Empty: the route is open and asks for no token."""
    deadline_max_s: float = 10.0
    """The most a caller may ask for with X-Request-Timeout, and what one gets who does not ask."""
    priority: Priority = Priority.INTERACTIVE
    """Under overload the less urgent is refused first; the services behind inherit it."""
    body_size_bytes_max: int = 0
    """The largest body, where it may be larger than those of other routes."""
    streams: bool = False
    """As long as a body takes to travel: has a stream's slot, and its length says nothing about load."""

    @property
    def open(self) -> bool:
        return not self.roles


_OPEN = Access(frozenset(), deadline_max_s=5.0)
_PROBE = Access(frozenset(), deadline_max_s=5.0, priority=Priority.OPS)

MATRIX: Mapping[tuple[str, str], Access] = {
    ("POST", "/v1/leads"): Access(_BUSINESS),
    ("GET", "/v1/leads"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/assignments"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/assignments/{assignment_id}/replay"): Access(_RULES),
    ("POST", "/v1/leads/{lead_id}/claim"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/follow-ups"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/follow-ups"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/quick-follow-ups"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/transcripts"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/transcripts/{transcript_id}"): Access(_BUSINESS),
    ("POST", "/v1/tags/preview"): Access(_BUSINESS),
    ("GET", "/v1/tags/dictionary"): Access(_BUSINESS),
    ("PUT", "/v1/tags/dictionary"): Access(_RULES),
    ("GET", "/v1/follow-ups/quality"): Access(_BUSINESS, priority=Priority.BATCH),
    ("GET", "/v1/follow-ups/playbook"): Access(_BUSINESS),
    ("PUT", "/v1/follow-ups/playbook"): Access(_RULES),
    ("POST", "/v1/leads/{lead_id}/stage"): Access(_BUSINESS),
    ("POST", "/v1/imports"): Access(_STEERING, deadline_max_s=120.0, priority=Priority.BATCH, streams=True),
    ("GET", "/v1/imports/{import_id}"): Access(_STEERING),
    ("GET", "/v1/imports/{import_id}/rejections"): Access(_STEERING, priority=Priority.BATCH),
    ("GET", "/v1/imports/{import_id}/report"): Access(
        _STEERING, deadline_max_s=120.0, priority=Priority.BATCH, streams=True
    ),
    ("GET", "/v1/routing/rules"): Access(_EVERYBODY),
    ("GET", "/v1/routing/rules/{version}"): Access(_EVERYBODY),
    ("PUT", "/v1/routing/rules"): Access(_RULES, body_size_bytes_max=_RULES_SIZE_BYTES_MAX),
    ("POST", "/v1/routing/dry-runs"): Access(_RULES, deadline_max_s=60.0, body_size_bytes_max=_RULES_SIZE_BYTES_MAX),
    ("POST", "/v1/routing/rollbacks"): Access(_RULES),
    ("GET", "/v1/sla/policies"): Access(_BUSINESS),
    ("PUT", "/v1/sla/policies"): Access(_RULES),
    ("GET", "/v1/sla/report"): Access(_STEERING),
    ("GET", "/v1/leads/{lead_id}/sla"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/sla/pause"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/sla/resume"): Access(_BUSINESS),
    ("GET", "/v1/people"): Access(_EVERYBODY),
    ("GET", "/v1/boards/lead-timeliness"): Access(_BUSINESS),
    ("GET", "/v1/boards/lead-timeliness/leads"): Access(_BUSINESS),
    ("GET", "/v1/boards/personal"): Access(_BUSINESS),
    ("GET", "/v1/people/findings"): Access(_BUSINESS),
    ("GET", "/v1/people/{person_id}"): Access(_BUSINESS),
    ("PUT", "/v1/people/{person_id}"): Access(_RULES),
    ("POST", "/v1/people/{person_id}/leave"): Access(_RULES),
    ("DELETE", "/v1/people/{person_id}/leave/{leave_id}"): Access(_RULES),
    ("GET", "/v1/teams"): Access(_BUSINESS),
    ("PUT", "/v1/teams/{team_id}"): Access(_RULES),
    ("GET", "/v1/organisation"): Access(_BUSINESS),
    ("PUT", "/v1/organisation"): Access(_RULES),
    ("GET", "/v1/customers/{customer_id}"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/follow-ups"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/story"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/health"): Access(_BUSINESS),
    ("POST", "/v1/customers/{customer_id}/signals"): Access(_BUSINESS),
    ("POST", "/v1/duplicates"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/duplicates"): Access(_BUSINESS),
    ("POST", "/v1/customers/{customer_id}/duplicates/dismissals"): Access(_BUSINESS),
    ("POST", "/v1/customers/{customer_id}/merges"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/merges"): Access(_BUSINESS),
    ("POST", "/v1/customers/{customer_id}/merges/{merge_id}/undo"): Access(_BUSINESS),
    ("GET", "/v1/customers/{customer_id}/changes"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/changes"): Access(_BUSINESS),
    ("POST", "/v1/leads/{lead_id}/fields"): Access(_BUSINESS),
    ("GET", "/v1/leads/{lead_id}/growth"): Access(_BUSINESS),
    ("GET", "/v1/growth"): Access(_BUSINESS),
    ("PUT", "/v1/growth"): Access(_RULES),
    ("GET", "/v1/growth/completeness"): Access(_BUSINESS),
    ("POST", "/v1/autofill"): Access(_BUSINESS),
    ("PUT", "/v1/forms/{name}"): Access(_RULES),
    ("GET", "/v1/forms/{name}"): Access(_BUSINESS),
    ("GET", "/v1/forms"): Access(_RULES),
    ("POST", "/v1/forms/{name}/leads"): Access(_STEERING),
    ("POST", "/v1/exports"): Access(_BUSINESS, priority=Priority.BATCH),
    ("GET", "/v1/exports/{export_id}"): Access(_BUSINESS),
    ("POST", "/v1/exports/{export_id}/cancel"): Access(_BUSINESS),
    ("GET", "/v1/exports/{export_id}/progress"): Access(
        _BUSINESS, deadline_max_s=600.0, priority=Priority.BATCH, streams=True
    ),
    ("GET", "/v1/exports/{export_id}/content"): Access(
        _BUSINESS, deadline_max_s=600.0, priority=Priority.BATCH, streams=True
    ),
    ("GET", "/v1/notifications"): Access(_EVERYBODY),
    ("POST", "/v1/notifications/{notification_id}/read"): Access(_EVERYBODY),
    ("POST", "/v1/notifications/{notification_id}/resend"): Access(_SENDING),
    ("GET", "/v1/people/{person_id}/channels"): Access(_EVERYBODY),
    ("PUT", "/v1/people/{person_id}/channels/{channel}"): Access(_EVERYBODY),
    ("DELETE", "/v1/people/{person_id}/channels/{channel}"): Access(_EVERYBODY),
    ("PUT", "/v1/people/{person_id}/notification-preferences"): Access(_EVERYBODY),
    ("GET", "/v1/notification-findings"): Access(_SENDING),
    ("GET", "/v1/notification-templates"): Access(_EVERYBODY),
    ("GET", "/v1/notification-templates/{name}/{language}/versions"): Access(_EVERYBODY),
    ("POST", "/v1/notification-templates/{name}/{language}/preview"): Access(_RULES),
    ("PUT", "/v1/notification-templates/{name}/{language}"): Access(_RULES),
    ("GET", "/v1/work-orders"): Access(_EVERYBODY),
    ("POST", "/v1/work-orders/{work_order_id}/close"): Access(_EVERYBODY),
    ("GET", "/healthz"): _PROBE,
    ("GET", "/readyz"): _PROBE,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/docs"): _OPEN,
    ("GET", "/ops"): _OPEN,
    ("GET", "/boards"): _OPEN,
    ("GET", "/boards/assets/{version}/{name}"): _OPEN,
    ("POST", "/boards/session"): Access(_BUSINESS),
    ("DELETE", "/boards/session"): _OPEN,
}
