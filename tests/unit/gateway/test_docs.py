"""The API's description, for machines and for people."""

import json
import re

from services.gateway.http import openapi


async def test_openapi_has_examples_roles_and_problems(gateway):
    """A client can be generated from it, failures included."""
    schema = (await gateway.client.get("/openapi.json")).json()
    create = schema["paths"]["/v1/leads"]["post"]
    assert schema["openapi"].startswith("3.1")
    assert create["x-roles"] == ["admin", "manager", "sales", "service"]
    assert {"401", "403", "404", "409", "413", "422", "429", "503"} <= set(create["responses"])
    names = sorted(each["name"] for each in create["parameters"])
    assert names == ["Idempotency-Key", "X-Request-Timeout", "traceparent"]
    assert schema["components"]["schemas"]["NewLead"]["examples"][0]["name"] == "王芳"
    assert schema["components"]["schemas"]["NewLead"]["additionalProperties"] is False
    assert "HTTPValidationError" not in json.dumps(schema)


async def test_a_key_is_documented_where_it_is_kept(gateway):
    """A caller must not rely on a key that nobody remembers."""
    schema = openapi.document(gateway.api.routes)
    keyed = {
        path
        for path, methods in schema["paths"].items()
        if any(each["name"] == "Idempotency-Key" for each in methods.get("post", {}).get("parameters", []))
    }
    assert keyed == {
        "/v1/leads",
        "/v1/leads/{lead_id}/claim",
        "/v1/leads/{lead_id}/follow-ups",
        "/v1/leads/{lead_id}/quick-follow-ups",
        "/v1/leads/{lead_id}/transcripts",
        "/v1/leads/{lead_id}/stage",
        "/v1/customers/{customer_id}/signals",
        "/v1/imports",
        "/v1/leads/{lead_id}/fields",
        "/v1/forms/{name}/leads",
        "/v1/people/{person_id}/leave",
        "/v1/customers/{customer_id}/merges",
        "/v1/customers/{customer_id}/merges/{merge_id}/undo",
        "/v1/exports",
    }


async def test_the_page_needs_nothing_from_outside(gateway):
    """No script, no address but its own; its policy would stop them."""
    reply = await gateway.client.get("/docs")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in reply.text
    assert set(re.findall(r"(?:href|src)='?(https?:|//)", reply.text)) == set()
    assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_every_reference_on_the_page_leads_somewhere(gateway):
    """Schemas and problem types are anchors that exist."""
    page = (await gateway.client.get("/docs")).text
    anchors = set(re.findall(r"id='([^']+)'", page))
    assert set(re.findall(r"href='#([^']+)'", page)) - anchors == set()
    assert "problem-not_found" in anchors


def test_text_is_escaped():
    """What an author writes in a description is shown, not run."""
    schema = {
        "info": {"description": "<b>&</b>"},
        "paths": {},
        "components": {"schemas": {"X": {"description": "<script>"}}},
    }
    page = openapi.page(schema).decode()
    assert "<script" not in page
    assert "&lt;b&gt;&amp;" in page


async def test_ops_is_redirected_to_its_own_process(gateway):
    """The gateway may be down when the page is needed, so it lives elsewhere."""
    reply = await gateway.client.get("/ops")
    assert (reply.status_code, reply.headers["location"]) == (307, "http://ops.test:8090/ops")


async def test_readiness_ends_with_the_drain(gateway):
    """A load balancer sends nothing to a process that is leaving; liveness stays."""
    gateway.ready = False
    assert (await gateway.client.get("/readyz")).status_code == 503
    assert (await gateway.client.get("/healthz")).status_code == 200
