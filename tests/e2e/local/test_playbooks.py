"""Playbooks on a running platform: previewed, refused, run by button."""

import json

import pytest

from tests.support.calling import calling
from tests.support.platform import eventually

pytestmark = [pytest.mark.capability(37, 38)]


def circuit(ops, dependency):
    """The state of the gateway's circuit."""
    edges = ops.get("/v1/dependencies").json()["edges"]
    return next(each["state"] for each in edges if (each["caller"], each["dependency"]) == ("gateway", dependency))


def told(ops, kind, name):
    """What the timeline says of a playbook."""
    items = ops.get("/v1/timeline", params={"limit": 500}).json()["items"]
    return [each["text"] for each in items if each["kind"] == kind and f"playbook {name} " in each["text"]]


def test_a_playbook_is_shown_and_previewed_and_refused_where_nothing_is_wrong(breakable):
    """A preview changes nothing and exits with 1 where a run would be refused, which is on the timeline."""
    listed = json.loads(breakable.cli("playbook", "list", "--json").stdout)
    assert {"files-down", "notify-hangs"} <= {each["name"] for each in listed["items"]}
    assert listed["refused"] == {}
    assert (
        "BreakwaterDependencySlow of health: starts by itself"
        in breakable.cli("playbook", "show", "health-slow").stdout
    )
    preview = breakable.cli("playbook", "run", "files-down", "--dry-run", check=False)
    assert preview.returncode == 1
    assert "1. override gateway → files: fallback for 600 s" in preview.stdout
    assert "the circuit gateway → files is not-closed" in preview.stderr
    refused = breakable.cli("playbook", "run", "files-down", "--reason", "to see", check=False)
    assert (refused.returncode, breakable.status()["overrides"]) == (1, [])
    [said] = told(breakable.ops(), "playbook_refused", "files-down")
    assert "not so: the circuit gateway → files is not-closed" in said


def test_a_dependency_that_hangs_is_restarted_by_button(breakable):
    """The run acts through the platform's own command, waits until the circuit is closed, and says what it did."""
    ops, api = breakable.ops(), breakable.api()
    breakable.cli("service", "stop", "notify")
    try:
        with calling(lambda: api.get("/v1/notifications")):
            eventually("the circuit to open", lambda: circuit(ops, "notify") != "closed")
            done = breakable.cli("playbook", "run", "notify-hangs", "--reason", "it does not answer")
    finally:
        breakable.cli("service", "start", "notify")
    assert "notify-hangs: done" in done.stdout
    [ended] = told(ops, "playbook_ended", "notify-hangs")
    assert "done: restart notify" in ended


def test_exports_are_sent_to_the_fallback_by_button_when_files_is_out(breakable):
    """Never by itself: a short outage would keep everybody from whole files; the timeline has who, why and the outcome."""
    ops, api = breakable.ops(), breakable.api()
    breakable.cli("service", "stop", "files")
    try:
        with calling(lambda: api.post("/v1/exports", json={"dataset": "leads", "format": "csv"}), every_s=0.2):
            eventually("the circuit to open", lambda: circuit(ops, "files") != "closed", within_s=60)
            breakable.cli("playbook", "run", "files-down", "--reason", "it will be long")
        [laid] = eventually("the fallback", lambda: breakable.status()["overrides"])
        assert (laid["caller"], laid["dependency"], laid["mode"]) == ("gateway", "files", "fallback")
        [ended] = eventually("the end of the run", lambda: told(ops, "playbook_ended", "files-down"))
        assert "files-down done" in ended
    finally:
        breakable.cli("service", "start", "files")
        breakable.cli("override", "clear", "files", check=False)
