"""Who may call what: OpenAPI x roles, walked; tokens that must not pass."""

import re

import pytest

from breakwater.chassis.identity import Role
from services.gateway.http import openapi
from services.gateway.http.access import MATRIX
from services.gateway.http.answers import Answer
from services.gateway.http.declare import Api

pytestmark = pytest.mark.capability(42, 96)

# The matrix once more, as people read it: a role that gets a route by mistake differs from this page.
BUSINESS = {"service", "sales", "manager", "admin"}
EVERYBODY = BUSINESS | {"oncall", "sre"}
ALLOWED = {
    "POST /v1/leads": BUSINESS,
    "GET /v1/leads": BUSINESS,
    "GET /v1/leads/{lead_id}": BUSINESS,
    "GET /v1/leads/{lead_id}/assignments": BUSINESS,
    "GET /v1/leads/{lead_id}/assignments/{assignment_id}/replay": {"manager", "admin"},
    "POST /v1/leads/{lead_id}/claim": BUSINESS,
    "GET /v1/leads/{lead_id}/follow-ups": BUSINESS,
    "POST /v1/leads/{lead_id}/follow-ups": BUSINESS,
    "POST /v1/leads/{lead_id}/quick-follow-ups": BUSINESS,
    "POST /v1/leads/{lead_id}/transcripts": BUSINESS,
    "GET /v1/leads/{lead_id}/transcripts/{transcript_id}": BUSINESS,
    "POST /v1/tags/preview": BUSINESS,
    "GET /v1/tags/dictionary": BUSINESS,
    "PUT /v1/tags/dictionary": {"manager", "admin"},
    "GET /v1/follow-ups/quality": BUSINESS,
    "GET /v1/follow-ups/playbook": BUSINESS,
    "PUT /v1/follow-ups/playbook": {"manager", "admin"},
    "POST /v1/leads/{lead_id}/stage": BUSINESS,
    "POST /v1/imports": {"service", "manager", "admin"},
    "GET /v1/imports/{import_id}": {"service", "manager", "admin"},
    "GET /v1/imports/{import_id}/rejections": {"service", "manager", "admin"},
    "GET /v1/imports/{import_id}/report": {"service", "manager", "admin"},
    "GET /v1/routing/rules": EVERYBODY,
    "GET /v1/routing/rules/{version}": EVERYBODY,
    "PUT /v1/routing/rules": {"manager", "admin"},
    "POST /v1/routing/dry-runs": {"manager", "admin"},
    "POST /v1/routing/rollbacks": {"manager", "admin"},
    "GET /v1/sla/policies": BUSINESS,
    "PUT /v1/sla/policies": {"manager", "admin"},
    "GET /v1/sla/report": {"service", "manager", "admin"},
    "GET /v1/leads/{lead_id}/sla": BUSINESS,
    "POST /v1/leads/{lead_id}/sla/pause": BUSINESS,
    "POST /v1/leads/{lead_id}/sla/resume": BUSINESS,
    "GET /v1/people": EVERYBODY,
    "GET /v1/boards/lead-timeliness": BUSINESS,
    "GET /v1/boards/lead-timeliness/leads": BUSINESS,
    "GET /v1/boards/personal": BUSINESS,
    "POST /boards/session": BUSINESS,
    "GET /v1/people/findings": BUSINESS,
    "GET /v1/people/{person_id}": BUSINESS,
    "PUT /v1/people/{person_id}": {"manager", "admin"},
    "POST /v1/people/{person_id}/leave": {"manager", "admin"},
    "DELETE /v1/people/{person_id}/leave/{leave_id}": {"manager", "admin"},
    "GET /v1/teams": BUSINESS,
    "PUT /v1/teams/{team_id}": {"manager", "admin"},
    "GET /v1/organisation": BUSINESS,
    "PUT /v1/organisation": {"manager", "admin"},
    "GET /v1/customers/{customer_id}": BUSINESS,
    "GET /v1/customers/{customer_id}/follow-ups": BUSINESS,
    "GET /v1/customers/{customer_id}/story": BUSINESS,
    "GET /v1/customers/{customer_id}/health": BUSINESS,
    "POST /v1/customers/{customer_id}/signals": BUSINESS,
    "POST /v1/duplicates": BUSINESS,
    "GET /v1/customers/{customer_id}/duplicates": BUSINESS,
    "POST /v1/customers/{customer_id}/duplicates/dismissals": BUSINESS,
    "POST /v1/customers/{customer_id}/merges": BUSINESS,
    "GET /v1/customers/{customer_id}/merges": BUSINESS,
    "POST /v1/customers/{customer_id}/merges/{merge_id}/undo": BUSINESS,
    "GET /v1/customers/{customer_id}/changes": BUSINESS,
    "GET /v1/leads/{lead_id}/changes": BUSINESS,
    "POST /v1/leads/{lead_id}/fields": BUSINESS,
    "GET /v1/leads/{lead_id}/growth": BUSINESS,
    "GET /v1/growth": BUSINESS,
    "PUT /v1/growth": {"manager", "admin"},
    "GET /v1/growth/completeness": BUSINESS,
    "POST /v1/autofill": BUSINESS,
    "PUT /v1/forms/{name}": {"manager", "admin"},
    "GET /v1/forms/{name}": BUSINESS,
    "GET /v1/forms": {"manager", "admin"},
    "POST /v1/forms/{name}/leads": {"service", "manager", "admin"},
    "POST /v1/exports": BUSINESS,
    "GET /v1/exports/{export_id}": BUSINESS,
    "POST /v1/exports/{export_id}/cancel": BUSINESS,
    "GET /v1/exports/{export_id}/progress": BUSINESS,
    "GET /v1/exports/{export_id}/content": BUSINESS,
    "GET /v1/notifications": EVERYBODY,
    "POST /v1/notifications/{notification_id}/read": EVERYBODY,
    "POST /v1/notifications/{notification_id}/resend": {"manager", "oncall", "sre", "admin"},
    "GET /v1/people/{person_id}/channels": EVERYBODY,
    "PUT /v1/people/{person_id}/channels/{channel}": EVERYBODY,
    "DELETE /v1/people/{person_id}/channels/{channel}": EVERYBODY,
    "PUT /v1/people/{person_id}/notification-preferences": EVERYBODY,
    "GET /v1/notification-findings": {"manager", "oncall", "sre", "admin"},
    "GET /v1/notification-templates": EVERYBODY,
    "GET /v1/notification-templates/{name}/{language}/versions": EVERYBODY,
    "POST /v1/notification-templates/{name}/{language}/preview": {"manager", "admin"},
    "PUT /v1/notification-templates/{name}/{language}": {"manager", "admin"},
    "GET /v1/work-orders": EVERYBODY,
    "POST /v1/work-orders/{work_order_id}/close": EVERYBODY,
}
OPEN = {
    "GET /healthz",
    "GET /readyz",
    "GET /openapi.json",
    "GET /docs",
    "GET /ops",
    "GET /boards",
    "DELETE /boards/session",
}
ASSETS = "GET /boards/assets/{version}/{name}"


def operations(gateway):
    """Every operation that OpenAPI shows, as `METHOD /path`."""
    paths = openapi.document(gateway.api.routes)["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


async def test_openapi_shows_exactly_the_routes_of_the_matrix(gateway):
    """No route is outside of the matrix and no row of the matrix is without a route."""
    assert operations(gateway) == {f"{method} {path}" for method, path in MATRIX} == set(ALLOWED) | OPEN | {ASSETS}


@pytest.mark.parametrize("role", [role.value for role in Role])
async def test_each_role_reaches_exactly_its_routes(gateway, role):
    """Every other role is told 403 before anything is asked of a service."""
    for operation, roles in ALLOWED.items():
        method, path = operation.split(" ")
        reply = await gateway.ask(method, re.sub(r"{\w+}", "0198", path), role=role)
        assert (reply.status_code == 403) == (role not in roles), f"{role}: {operation} -> {reply.status_code}"
        if reply.status_code == 403:
            assert reply.json()["code"] == "permission_denied"
    allowed_rpcs = {rpc for channel in (gateway.leads, gateway.health, gateway.notify) for rpc, _ in channel.asked}
    assert ("CreateLead" in allowed_rpcs) is False, "a body was missing, so nothing may have been created"


async def test_without_a_token_only_the_open_routes_answer(gateway):
    """401 with the scheme to use; liveness, readiness and the docs need no token."""
    for operation in ALLOWED:
        method, path = operation.split(" ")
        reply = await gateway.client.request(method, re.sub(r"{\w+}", "0198", path))
        assert reply.status_code == 401, operation
        assert reply.headers["www-authenticate"].startswith("Bearer")
    for operation in OPEN:
        method, path = operation.split(" ")
        assert (await gateway.client.request(method, path)).status_code in {200, 204, 307}, operation


async def test_a_route_outside_of_the_matrix_does_not_start():
    """Denied by default means: a route nobody thought of cannot exist."""
    api = Api()

    async def read_secrets() -> Answer:
        """A route that was forgotten in the matrix."""
        return Answer(200)

    with pytest.raises(LookupError, match="GET /v1/secrets is not in the access matrix"):
        api.route("GET", "/v1/secrets", None, tag="x")(read_secrets)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1_000_000_000, "iat": 999_999_000},
        {"iss": "https://elsewhere.test"},
        {"aud": "another"},
        {"role": "root"},
        {"role": "admin", "scope": "everything"},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"kid": "unknown"}},
    ],
    ids=["expired", "foreign-issuer", "foreign-audience", "role", "scope", "alg-none", "alg-hs256", "unknown-key"],
)
async def test_a_token_that_is_not_ours_is_refused_without_saying_why(gateway, claims):
    """Expired, foreign, unsigned or of an unknown role: 401 and the same text for all."""
    reply = await gateway.client.get("/v1/leads", headers=gateway.bearer(**claims))
    assert reply.status_code == 401
    assert reply.json()["detail"] == "The credential is missing or not valid."
    assert gateway.leads.asked == []


async def test_a_token_signed_by_another_key_is_refused(gateway):
    """The right claims are worth nothing without the right signature."""
    token = gateway.token()
    forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    reply = await gateway.client.get("/v1/leads", headers={"authorization": f"Bearer {forged}"})
    assert reply.status_code == 401


async def test_the_caller_reaches_the_service_with_role_and_scope(gateway):
    """Scopes are applied where the records are: the owning service is told who asks."""
    await gateway.ask("GET", "/v1/leads", role="sales", headers=gateway.bearer("sales", sub="1001", scope="own"))
    actor = gateway.leads.requests("ListLeads")[0].actor
    assert (actor.sub, actor.role, actor.scope) == ("1001", 2, 1)
