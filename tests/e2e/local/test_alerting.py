"""Prometheus and Alertmanager, as deployed, watch a running platform: what they find reaches the incident engine."""

import json

import httpx2
import pytest

from breakwater.slo import generated
from tests.support.calling import business, calling
from tests.support.platform import ROOT, eventually

pytestmark = [pytest.mark.capability(37, 38)]


def test_a_stopped_dependency_fires_into_the_incident_engine_and_nobody_else_is_paged(breakable, watchers):
    """Prometheus fires, Alertmanager tells ops with its token, ops names the incident; the end arrives as well."""
    ops = breakable.ops()

    def alerts():
        return {
            (each["name"], each["labels"].get("caller")): each
            for each in ops.get("/v1/alerts").json()["items"]
            if each["labels"].get("dependency") == "health"
        }

    with calling(*business(breakable)):
        breakable.cli("service", "stop", "health")
        try:
            edge = ("BreakwaterDependencyDown", "gateway")
            eventually("the alert in its incident", lambda: alerts().get(edge, {}).get("incident_id"), within_s=60)
            found = alerts()[edge]
            incidents = {each["id"]: each for each in ops.get("/v1/incidents").json()["items"]}
            assert incidents[found["incident_id"]]["dependency"] == "health"
            assert found["runbook"] == "docs/runbooks/BreakwaterDependencyDown.md"
            eventually("the process's own alert", lambda: ("BreakwaterServiceDown", None) in alerts(), within_s=60)
        finally:
            breakable.cli("service", "start", "health")
        # The budget that was burnt burns on for the length of its windows.
        passing = {("BreakwaterDependencyDown", "gateway"), ("BreakwaterServiceDown", None)}
        eventually("the end of both", lambda: not passing & alerts().keys(), within_s=90)
    told = [each["text"] for each in ops.get("/v1/timeline").json()["items"] if each["kind"].startswith("alert_")]
    assert any(text.startswith("BreakwaterDependencyDown fires: gateway cannot use health") for text in told)
    assert any(text.startswith("BreakwaterDependencyDown is over") for text in told)
    assert not {alert for alert, _ in passing} & {alert for _, alert, _ in watchers.pager.pages}


def test_the_heartbeat_goes_on_and_a_gateway_that_is_down_pages_past_the_engine(breakable, watchers):
    """Whoever listens for the heartbeat hears it; the gateway's alert reaches people without the ops process."""
    eventually("the heartbeat", lambda: ("/heartbeat", "BreakwaterWatchdog", "firing") in watchers.pager.pages)
    breakable.cli("service", "stop", "ops")
    try:
        breakable.cli("service", "stop", "gateway")
        try:
            page = ("/breakwater", "BreakwaterGatewayDown", "firing")
            eventually("the page", lambda: page in watchers.pager.pages, within_s=60)
        finally:
            breakable.cli("service", "start", "gateway")
        eventually("its end", lambda: ("/breakwater", "BreakwaterGatewayDown", "resolved") in watchers.pager.pages, 60)
    finally:
        breakable.cli("service", "start", "ops")


def test_a_stranger_brings_no_alerts(breakable):
    """Without a token 401, as on-call 403: only machines tell; the refusal is on the timeline."""
    message = {"version": "4", "status": "firing", "receiver": "incidents", "alerts": []}
    assert httpx2.post(f"{breakable.ready['ops']}/v1/alerts", json=message).status_code == 401
    assert breakable.ops("oncall", "mallory").post("/v1/alerts", json=message).status_code == 403
    refused = breakable.ops().get("/v1/timeline").json()["items"]
    assert any(each["actor"] == "mallory" and "POST /v1/alerts" in each["text"] for each in refused)


def test_every_rule_and_every_query_of_the_dashboards_is_evaluated(breakable, watchers):
    """By the real Prometheus over the real platform: no rule ails, no query errs, and what is always measured shows."""
    with calling(*business(breakable)):
        eventually("every rule to be evaluated", lambda: all(rule["health"] == "ok" for rule in watchers.rules()))
        dashboards = [json.loads(path.read_text()) for path in sorted((ROOT / generated.DASHBOARDS).glob("*.json"))]
        queries = [target["expr"] for each in dashboards for panel in each["panels"] for target in panel["targets"]]
        assert len(queries) > 30
        # Of nothing there is no ratio; a day's budget needs a day; nobody is shed, and nobody exports.
        quiet = ("breakwater:", "breakwater_requests_shed_total", "breakwater_export_duration_seconds", "first-touch")

        def unanswered():
            return [expr for expr in queries if not any(part in expr for part in quiet) and not watchers.query(expr)]

        eventually("an answer to every query", lambda: not unanswered(), within_s=60)
        for expr in queries:
            watchers.query(expr)
