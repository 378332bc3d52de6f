"""Alarms reach people: in the inbox of on-call, and by their group's robot while notify is down."""

import json

import pytest

from tests.support.platform import eventually

pytestmark = pytest.mark.timeout(480)


def inbox(platform):
    """What stands in the shared inbox of on-call, newest first; nothing while the gateway does not ask notify yet."""
    return platform.api("oncall", "oncall", "own").get("/v1/notifications").json().get("items", [])


def said(group):
    """Every text that the group was told."""
    return [json.loads(heard.body)["text"]["content"] for heard in group.taken]


def test_an_outage_of_notify_reaches_the_group_at_once_and_the_inbox_later(breakable, group):
    """Nobody has to look at a page to know; each way tells each thing once."""
    breakable.cli("service", "stop", "notify")
    try:
        [incident] = eventually("the incident", lambda: about_notify(breakable, "open"), within_s=90)
        opened = f"编号 Incident: {incident['id']}"
        text = eventually("the group to be told", lambda: [each for each in said(group) if opened in each], within_s=60)
        assert text[0].startswith("【告警 Alarm】notify")
        assert "docs/runbooks/BreakwaterDependencyDown.md" in text[0]
    finally:
        breakable.cli("service", "start", "notify")
    subject = f"incident:{incident['id']}"
    resolved = lambda: [each["kind"] for each in inbox(breakable) if each["subject"] == subject]  # noqa: E731
    kinds = eventually(
        "both in the inbox", lambda: (k := resolved()) and "incident_resolved" in k and k, within_s=300, every_s=1.0
    )
    assert sorted(kinds) == ["incident_opened", "incident_resolved"]
    told = [each for each in said(group) if opened in each]
    assert [each.startswith("【告警") for each in told] == [True, False]
    kinds = {each["kind"] for each in breakable.ops().get("/v1/timeline").json()["items"]}
    assert "alarm_told" in kinds


def about_notify(platform, state):
    found = platform.ops().get("/v1/incidents").json()["items"]
    return [
        each for each in found if each["dependency"] == "notify" and (each["resolved_at"] is None) == (state == "open")
    ]
