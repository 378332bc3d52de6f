"""Overrides on a running platform: everywhere within 2 s, whatever is down, and gone by themselves."""

import json
import time

import httpx2
import pytest

from tests.support.platform import eventually

EVERYWHERE_S = 2.0
CALLERS_OF_POSTGRES = {"leads", "notify", "files", "health", "gateway"}


def edges(platform, dependency):
    """The edges to a dependency that are heard of, by caller; ops's own left out, it takes what names it only."""
    found = platform.ops().get("/v1/dependencies").json()["edges"]
    return {e["caller"]: e for e in found if e["dependency"] == dependency and not e["stale"] and e["caller"] != "ops"}


def lay(platform, dependency, **body):
    """PUT of an override; the answer, and when it was asked for."""
    began_s = time.monotonic()
    answer = platform.ops().put(f"/v1/dependencies/{dependency}/override", json=body)
    return answer, began_s


def modes(platform, dependency):
    return {caller: edge["forced"] for caller, edge in edges(platform, dependency).items()}


def everywhere(platform, dependency, mode, callers):
    """Waits until the edges of all callers show the mode."""
    wanted = dict.fromkeys(callers, mode)
    eventually(f"{mode} everywhere", lambda: modes(platform, dependency) == wanted, within_s=20, every_s=0.05)


def overridden(platform, caller, dependency):
    """Whether the caller says itself, on its metrics port, that its edge is overridden: nobody else is needed."""
    port = platform.ready["services"][caller]["metrics"]
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return f'breakwater_override{{caller="{caller}",dependency="{dependency}"}} 1.0' in text


@pytest.fixture
def nats_down(breakable):
    """NATS is stopped, and back when the test has ended."""
    breakable.cli("service", "stop", "nats")
    yield
    breakable.cli("service", "start", "nats")


def test_a_fault_is_injected_into_an_edge_and_lifted(breakable):
    """Callers see what a broken dependency would bring; the edge says that it is forced, and how often it was."""
    api = breakable.api()
    assert api.get("/v1/leads").status_code == 200
    breakable.cli(
        *("override", "set", "leads", "--caller", "gateway", "--mode", "chaos", "--fault", "error"),
        *("--code", "UNAVAILABLE", "--reason", "rehearsal", "--ttl", "5m"),
    )
    refused = api.get("/v1/leads")
    assert refused.status_code == 503
    assert refused.json()["dependency"] == "leads"
    edge = eventually("the fault", lambda: (e := edges(breakable, "leads")["gateway"])["injected"] and e)
    assert (edge["forced"], edge["override"]["fault"]["kind"]) == ("chaos", "error")
    assert "chaos (error)" in breakable.cli("override", "list").stdout
    breakable.cli("override", "clear", "leads")
    eventually("leads again", lambda: breakable.api().get("/v1/leads").status_code == 200)


def test_a_credential_that_leads_refuses_is_no_fault_of_the_caller(breakable):
    """The gateway's own credential is refused: 503 with the dependency's name, never 401, and nobody retries."""
    api = breakable.api()
    retries = edges(breakable, "leads")["gateway"]["retries"]
    body = {"mode": "chaos", "caller": "gateway", "fault": {"kind": "credential"}, "reason": "rehearsal", "ttl_s": 60}
    assert lay(breakable, "leads", **body)[0].status_code == 200
    refused = api.get("/v1/leads")
    assert (refused.status_code, refused.json()["code"]) == (503, "dependency_auth")
    edge = eventually("the count", lambda: (e := edges(breakable, "leads")["gateway"])["errors"]["auth"] and e)
    assert edge["retries"] <= retries
    breakable.cli("override", "clear", "leads")
    eventually("leads again", lambda: breakable.api().get("/v1/leads").status_code == 200)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "chaos"}, "fault"),
        ({"mode": "chaos", "fault": {"kind": "latency"}}, "fault.latency_p50_s"),
        ({"mode": "chaos", "fault": {"kind": "gremlins"}}, "fault.kind"),
        ({"mode": "chaos", "fault": {"kind": "reset", "share": 1.5}}, "fault.share"),
        ({"mode": "chaos", "fault": {"kind": "reset", "shore": 0.5}}, "fault.shore"),
        ({"mode": "shadow", "fault": {"kind": "reset"}}, "fault"),
        ({"mode": "chaos", "fault": {"kind": "reset"}, "ttl_s": 1e9}, "ttl_s"),
    ],
)
def test_a_fault_that_cannot_be_is_a_422_that_names_the_field(breakable, body, field):
    """And nothing is injected."""
    answer, _ = lay(breakable, "leads", **{"reason": "rehearsal", "ttl_s": 60, **body})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert set(modes(breakable, "leads").values()) == {None}


def test_an_override_is_everywhere_within_two_seconds(breakable):
    """In every process that has the edge, which the answer names."""
    answer, began_s = lay(breakable, "postgres", mode="shadow", reason="rehearsal", ttl_s=60)
    told_s = time.monotonic() - began_s
    assert set(answer.json()["edges"]) >= CALLERS_OF_POSTGRES
    assert answer.json()["unreached"] == []
    assert told_s < EVERYWHERE_S
    everywhere(breakable, "postgres", "shadow", CALLERS_OF_POSTGRES)
    breakable.cli("override", "clear", "postgres")
    everywhere(breakable, "postgres", None, CALLERS_OF_POSTGRES)


def test_it_is_everywhere_though_nats_is_down_also_where_a_process_starts_later(breakable, nats_down):
    """By gRPC; and who starts meanwhile is told as soon as it is heard of."""
    answer, began_s = lay(breakable, "postgres", mode="shadow", reason="rehearsal", ttl_s=120)
    assert time.monotonic() - began_s < EVERYWHERE_S
    assert set(answer.json()["edges"]) >= CALLERS_OF_POSTGRES
    everywhere(breakable, "postgres", "shadow", CALLERS_OF_POSTGRES)
    before = edges(breakable, "postgres")["health"]["instance"]
    breakable.cli("service", "restart", "health")

    def told():
        edge = edges(breakable, "postgres").get("health")
        return edge is not None and edge["instance"] != before and edge["forced"] == "shadow"

    eventually("the new process to be told", told, within_s=30)
    breakable.cli("override", "clear", "postgres")
    everywhere(breakable, "postgres", None, CALLERS_OF_POSTGRES)


def test_a_process_that_starts_later_finds_it_in_nats_without_ops(breakable):
    """ops is down by then: the bucket has it, with its end; once lifted it is gone there too."""
    order = {"caller": "gateway", "mode": "forced-open", "reason": "rehearsal", "ttl_s": 300}

    def laid():
        told = lay(breakable, "health", **order)[0].json()
        return told["in_nats"] and told["override"]

    # Another test may have stopped NATS a moment ago.
    override = eventually("it is in NATS", laid)
    breakable.cli("service", "stop", "ops")
    try:
        breakable.cli("service", "restart", "gateway")
        eventually("the override in the new process", lambda: overridden(breakable, "gateway", "health"), within_s=30)
    finally:
        breakable.cli("service", "start", "ops")
    told = eventually("the new process to tell", lambda: edges(breakable, "health").get("gateway", {}).get("override"))
    assert told["expires_at"] == override["expires_at"]
    breakable.ops().delete("/v1/dependencies/health/override", params={"caller": "gateway"}).raise_for_status()
    eventually("no override", lambda: modes(breakable, "health").get("gateway", "?") is None, within_s=30)


def test_overrides_end_by_themselves_while_everything_else_is_down(breakable):
    """NATS, PostgreSQL and ops are stopped: the edge is back in time all the same."""
    began_s = time.monotonic()
    lay(breakable, "files", caller="gateway", mode="forced-open", reason="rehearsal", ttl_s=15)
    eventually("the override", lambda: overridden(breakable, "gateway", "files"))
    for name in ("ops", "nats", "postgres"):
        breakable.cli("service", "stop", name)
    try:
        eventually("the end of the override", lambda: not overridden(breakable, "gateway", "files"), within_s=60)
        assert time.monotonic() - began_s >= 14
    finally:
        for name in ("postgres", "nats", "ops"):
            breakable.cli("service", "start", name)
    eventually("ops again", lambda: modes(breakable, "files").get("gateway", "?") is None, within_s=60)


def test_policies_are_shown_with_where_they_come_from(breakable):
    """By the API and by the command."""
    told = breakable.ops("manager").get("/v1/dependencies/files/policy").json()
    (policy,) = [item for item in told["items"] if item["caller"] == "gateway"]
    assert policy["settings"]["attempt_timeout_s"] == {"value": 0.5, "origin": "service edge"}
    assert policy["settings"]["attempt_timer"] == {"value": False, "origin": "chassis edge"}
    assert policy["settings"]["stream_s_max"]["origin"] == "built-in"
    assert breakable.ops().get("/v1/dependencies/nobody/policy").status_code == 404
    shown = json.loads(breakable.cli("policies", "files", "--json").stdout)
    assert shown[0]["items"]
    assert "service edge" in breakable.cli("policies", "files").stdout


def test_what_was_done_and_what_was_refused_is_on_the_record(breakable):
    """By name, with its reason; the chain of the record is whole."""
    ops = breakable.ops("sre", "sun")
    body = {"mode": "shadow", "reason": "on the record", "ttl_s": 30}
    assert ops.put("/v1/dependencies/health/override", json=body).status_code == 200
    assert ops.delete("/v1/dependencies/health/override").status_code == 200
    assert ops.put("/v1/dependencies/health/override", json={**body, "reason": "x"}).status_code == 422
    assert breakable.ops("manager", "ma").put("/v1/dependencies/health/override", json=body).status_code == 403
    entries = ops.get("/v1/timeline").json()["items"]
    by_actor = {(entry["kind"], entry["actor"]): entry["text"] for entry in reversed(entries)}
    assert "on the record" in by_actor["override_set", "sun"]
    assert ("override_lifted", "sun") in by_actor
    assert "reason" in by_actor["override_refused", "sun"]
    assert "permission_denied" in by_actor["override_refused", "ma"]
    verified = eventually(
        "the record to be saved", lambda: (v := ops.get("/v1/timeline/verification").json())["entries"] and v
    )
    assert (verified["intact"], verified["problem"]) == (True, None)
