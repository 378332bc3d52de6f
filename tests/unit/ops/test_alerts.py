"""Alerts of Prometheus: taken once, ended once, beside the incident they belong to."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from breakwater.chassis.clock import VirtualClock
from services.gateway.ops.alerts.domain import ALERTS_MAX, SILENT_AFTER_S, Alert, Told
from services.gateway.ops.alerts.usecases import Alerts

AT = datetime(2026, 3, 8, tzinfo=UTC)


class Console:
    """Has one incident, of the edges to files, and remembers what is put on the record and for what somebody is called."""

    def __init__(self):
        self.record = []
        self.called = []

    def accounts_for(self, alert):
        return alert.dependency == "files"

    def alert_unexplained(self, alert, *, firing):
        self.called.append((alert.key, firing))

    def incident_of(self, caller, dependency):
        return "files-1" if dependency == "files" else ""

    def alert_changed(self, what, incident_id):
        self.record.append((what.alert.name, what.firing, what.silent, incident_id))


def alert(key="a1", name="BreakwaterDependencyDown", dependency="files"):
    labels = {"alertname": name, "dependency": dependency} if dependency else {"alertname": name}
    return Alert(key, name, "critical", labels, "it is down", "docs/runbooks/x.md", AT)


@pytest.fixture
def clock():
    """Stands still unless it is moved."""
    return VirtualClock()


@pytest.fixture
def console():
    """Where alerts belong and are recorded."""
    return Console()


@pytest.fixture
def alerts(console, clock):
    """The verbs."""
    return Alerts(console, console, console, clock)


def test_an_alert_is_on_the_record_when_it_begins_and_when_it_ends(alerts, console):
    """What Alertmanager says again is no news; both lines name the incident."""
    for firing in (True, True, False, False):
        alerts.take([Told(alert(), firing)])
    assert console.record == [
        ("BreakwaterDependencyDown", True, False, "files-1"),
        ("BreakwaterDependencyDown", False, False, "files-1"),
    ]
    assert alerts.firing() == []


def test_an_alert_of_no_dependency_belongs_to_no_incident(alerts):
    """A journey's budget is what an incident costs, not an edge."""
    alerts.take([Told(alert("b2", "BreakwaterJourneyBudgetBurning", ""), True), Told(alert(), True)])
    assert [(each.name, incident) for each, incident in alerts.firing()] == [
        ("BreakwaterDependencyDown", "files-1"),
        ("BreakwaterJourneyBudgetBurning", ""),
    ]


async def test_an_alert_that_nobody_repeats_is_ended_and_the_record_says_so(alerts, console, clock):
    """Alertmanager may be gone: a firing alert is not shown for ever, and its silence is not called an end."""
    alerts.take([Told(alert(), True)])
    await clock.advance(SILENT_AFTER_S - 1)
    alerts.take([Told(alert(), True)])
    await clock.advance(SILENT_AFTER_S - 1)
    assert alerts.follow_silence() == []
    await clock.advance(2)
    [ended] = alerts.follow_silence()
    assert (ended.firing, ended.silent) == (False, True)
    assert console.record[-1] == ("BreakwaterDependencyDown", False, True, "files-1")


def test_more_alerts_than_there_is_room_for_are_not_taken(alerts):
    """A label that is not bounded does not fill the process; those that fire may still be repeated and end."""
    alerts.take(Told(alert(f"{number:x}"), True) for number in range(ALERTS_MAX + 5))
    assert len(alerts.firing()) == ALERTS_MAX
    assert alerts.take([Told(alert("0"), True)]) == []
    assert len(alerts.take([Told(alert("0"), False)])) == 1


async def passes(alerts, clock, seconds):
    """Time, with a look every five seconds, as ops takes them."""
    for _ in range(int(seconds / 5)):
        await clock.advance(5)
        alerts.tell_unexplained()


async def test_a_page_that_no_failing_edge_explains_calls_somebody_once(alerts, console, clock):
    """After a minute, however often Alertmanager says it; its end is told too. Firing anew it is another call."""
    lost = alert("b2", "BreakwaterJourneyBudgetBurning", "")
    for _ in range(3):
        alerts.take([Told(lost, firing=True)])
        await passes(alerts, clock, 50)
    assert console.called == [("b2", True)]
    alerts.take([Told(lost, firing=False)])
    alerts.take([Told(lost, firing=False)])
    assert console.called == [("b2", True), ("b2", False)]
    alerts.take([Told(lost, firing=True)])
    await passes(alerts, clock, 60)
    assert console.called[2:] == [("b2", True)]


async def test_what_an_incident_explains_a_ticket_and_what_others_page_for_call_nobody(alerts, console, clock):
    """The incident calls for the first; a warning is no page; `page: direct` goes past us to the same people."""
    explained = alert("a1", dependency="files")
    ticket = replace(alert("a2", dependency="leads"), severity="warning")
    direct = replace(alert("a3", dependency=""), labels={"page": "direct"})
    brief = alert("a4", dependency="leads")
    alerts.take(Told(each, firing=True) for each in (explained, ticket, direct, brief))
    await passes(alerts, clock, 30)
    alerts.take([Told(brief, firing=False)])
    await passes(alerts, clock, 300)
    assert console.called == []
