"""What on-call does from a terminal: overrides, fallbacks, incidents, dead letters, checks."""

import asyncio
import json
import subprocess
import uuid

import nats
import pytest

from breakwater.local.secret_files import secret_text
from breakwater.local.state import State
from tests.support.platform import BREAKWATER, environment, eventually


def overrides(platform):
    """Override modes by edge, as `status --json` has them."""
    found = platform.status()["overrides"]
    return {(each["caller"], each["dependency"]): each["mode"] for each in found}


@pytest.fixture(autouse=True)
def nothing_forced(breakable):
    """What a test laid is lifted, however it ended."""
    yield
    for _, dependency in overrides(breakable):
        breakable.cli("override", "clear", dependency)


def test_an_override_is_laid_shown_and_lifted(breakable):
    """It has an actor and a reason, every caller's edge shows it, and lifting it leaves none."""
    done = breakable.cli("override", "set", "health", "--mode", "forced-open", "--reason", "rehearsal", "--ttl", "5m")
    assert "forced-open until" in done.stdout
    eventually("the override in the status", lambda: overrides(breakable).get(("gateway", "health")) == "forced-open")
    assert "rehearsal" in breakable.cli("override", "list").stdout
    checked = breakable.cli("check", check=False)
    assert (checked.returncode > 0, "edge gateway->health: forced" in checked.stdout) == (True, True)
    breakable.cli("override", "clear", "health")
    eventually("no override", lambda: not overrides(breakable))


def test_a_fallback_is_switched_on_with_a_reason_and_off_again(breakable, tmp_path):
    """While it is on, exports are made by the gateway's own engine, and say so."""
    breakable.cli("fallback", "on", "files", "--reason", "rehearsal", "--ttl", "5m")
    eventually("the fallback", lambda: overrides(breakable).get(("gateway", "files")) == "fallback")
    target = tmp_path / "leads.csv"
    done = breakable.cli("export", "leads", "--format", "csv", "--encoding", "gbk", "-o", str(target))
    assert "made by local" in done.stdout
    assert target.read_bytes().decode("gbk").startswith("线索编号")
    assert "degraded" in done.stderr
    breakable.cli("fallback", "off", "files")
    eventually("no override", lambda: not overrides(breakable))


def test_a_refused_override_names_the_field(breakable):
    """The platform's refusal reaches the terminal, with the way to its explanation."""
    done = breakable.cli(
        "override", "set", "files", "--mode", "forced-open", "--reason", "x", "--ttl", "5m", check=False
    )
    assert done.returncode == 1
    assert "reason" in done.stderr
    assert "breakwater explain invalid_request" in done.stderr


def test_an_incident_is_taken_handed_over_and_reported(breakable):
    """The cause, not the symptoms; who has it in hand; and the whole of it as a document. Viewers may only look."""
    fault = {"kind": "error", "code": "UNAVAILABLE"}
    order = {"mode": "chaos", "caller": "gateway", "fault": fault, "reason": "rehearsal", "ttl_s": 120}
    ops, api = breakable.ops(), breakable.api()
    assert ops.put("/v1/dependencies/health/override", json=order).status_code == 200
    try:
        seen = {}

        def opened():
            answers = [api.get(f"/v1/customers/{uuid.uuid4()}/health").status_code for _ in range(10)]
            every = ops.get("/v1/incidents").json()["items"]
            edges = ops.get("/v1/dependencies?dependency=health").json()["edges"]
            seen.update(answers=answers, incidents=every, edges=edges)
            # A test before may have left one that is over, and with it a name.
            found = [each for each in every if each["dependency"] == "health" and each["resolved_at"] is None]
            return found[0] if found else None

        try:
            incident = eventually("an incident", opened, within_s=60)
        except AssertionError:
            pytest.fail(f"no incident of health within 60 s; seen: {seen}")
        assert incident["root"] == {"caller": "gateway", "dependency": "health"}
        assert "scoring" in incident["journeys"]
        # The gateway is whom the console asks, and it answers late on a busy machine: nothing else is dragged along.
        own = ops.get(f"/v1/incidents/{incident['id']}").json()
        symptoms = [(each["caller"], each["dependency"]) for each in own["symptoms"]]
        assert set(symptoms) <= {("ops", "gateway")}, f"seen: {own}, {seen}"
        assert any("chaos" in change for change in incident["changes"])
        assert "in the hand of" in breakable.cli("incidents", "ack", incident["id"]).stdout
        done = breakable.cli("incidents", "hand-over", incident["id"], "--to", "boris", "--note", "it is a rehearsal")
        assert done.stdout.strip().endswith("boris")
        report = breakable.cli("incidents", "report", incident["id"]).stdout
        assert report.startswith(f"# {incident['id']}")
        assert "handed over to boris: it is a rehearsal" in report
        assert "gateway → health: closed → open" in report
        viewer = breakable.ops("manager")
        assert viewer.get(f"/v1/incidents/{incident['id']}/report").status_code == 200
        taken = viewer.post(f"/v1/incidents/{incident['id']}/hand-over", json={"to": "eva", "note": "mine"})
        assert taken.status_code == 403
    finally:
        breakable.cli("override", "clear", "health")


def test_a_wrong_token_exits_with_four(breakable):
    """Scripts can tell a credential from a failure."""
    done = subprocess.run(
        [BREAKWATER, "incidents"],
        env={**environment(breakable.state), "BREAKWATER_TOKEN": "not-a-token"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 4


def test_a_poisoned_event_is_listed_and_replayed(breakable):
    """An event no consumer can read becomes a dead letter with its reason; replaying sends it again."""
    asyncio.run(publish_poison(breakable))

    def letters():
        return json.loads(breakable.cli("dlq", "list", "--json").stdout)

    found = eventually("dead letters", letters, within_s=60)
    assert {letter["type"] for letter in found} == {"breakwater.leads.v1.LeadAssigned"}
    assert all(letter["reason"] for letter in found)
    # Several services receive it, each gives it up in its own time.
    first = {letter["seq"] for letter in json.loads(breakable.cli("dlq", "replay", "--all", "--json").stdout)}
    assert {letter["seq"] for letter in found} <= first
    # It is still poison: it comes back under another number, and nothing is lost on the way.
    again = eventually("the letters again", letters, within_s=60)
    assert first.isdisjoint(letter["seq"] for letter in again)


async def publish_poison(platform):
    at = platform.ready["nats"]
    password = secret_text(State.at(platform.state).secrets / "nats-operator.password")
    connection = await nats.connect(at["url"], user=at["user"], password=password)
    subject = "breakwater.leads.v1.LeadAssigned"
    event_id = str(uuid.uuid4())
    headers = {
        "Nats-Msg-Id": event_id,
        "ce-id": event_id,
        "ce-type": subject,
        "ce-source": "breakwater/leads",
        "ce-subject": "poison",
        "ce-sequence": "1",
        "ce-time": "2026-01-05T01:00:00Z",
        "ce-specversion": "1.0",
    }
    await connection.jetstream().publish(subject, b"\xff\xff\xff", headers=headers)
    await connection.close()
