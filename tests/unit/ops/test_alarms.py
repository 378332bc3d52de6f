"""Alarms reach somebody: by notify, by the robot where notify does not take them, and never twice by one way."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import UnavailableError
from services.gateway.ops.alarms.domain import TITLE_CHARS_MAX, Occasion, alarm_of, alarm_of_alert, note_of
from services.gateway.ops.alarms.usecases import AlarmLimits, Alarms
from services.gateway.ops.alerts.domain import Alert
from services.gateway.ops.incidents.domain import Cause, Fault, Incident, Locus

NOW = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
CAUSE = Cause("files", "files", "gateway", "files", Fault.DOWN, Locus.REMOTE, (("gateway", "files"),))
INCIDENT = Incident("files-20260105T0300", CAUSE, NOW, journeys=("export",), failed=12, owner="team-files")


class FakeWay:
    """A way that takes alarms, each key once, unless it is out."""

    def __init__(self, name):
        self.name = name
        self.out = False
        self.asked = 0
        self.told = []

    async def tell(self, alarm):
        self.asked += 1
        if self.out:
            raise UnavailableError("out")
        if alarm.key not in self.told:
            self.told.append(alarm.key)


class FakeRecord:
    def __init__(self):
        self.lines = []

    def alarm_told(self, alarm, way, because):
        self.lines.append(("told", way, because))

    def alarm_untold(self, alarm, problem, *, final):
        self.lines.append(("given up" if final else "untold", problem))


class OnCall:
    """Alarms over fakes of both ways, under a clock that is moved by hand."""

    def __init__(self, *, robot=True, **limits):
        self.clock = VirtualClock()
        self.inboxes, self.robot, self.record = FakeWay("notify"), FakeWay("wecom"), FakeRecord()
        self.alarms = Alarms(
            self.inboxes, self.robot if robot else None, self.record, self.clock, AlarmLimits(**limits)
        )

    def announce(self, incident=INCIDENT, occasion=Occasion.OPENED):
        alarm = alarm_of(incident, occasion, NOW, "")
        self.alarms.announce(alarm)
        return alarm.key

    async def passes(self, duration_s, step_s=1.0):
        for _ in range(int(duration_s / step_s)):
            await self.alarms.settle()
            await self.clock.advance(step_s)


@pytest.fixture
def oncall():
    return OnCall()


def about(dependency):
    return replace(INCIDENT, cause=replace(CAUSE, dependency=dependency, roots=(("gateway", dependency),)))


async def test_an_alarm_is_told_by_notify_alone_while_it_takes_it(oncall):
    """Once, though the incident is announced again."""
    key = oncall.announce()
    oncall.announce()
    await oncall.passes(10)
    assert (oncall.inboxes.told, oncall.robot.asked) == ([key], 0)
    assert oncall.record.lines == [("told", "notify", "")]


async def test_while_notify_is_out_the_robot_tells_it_at_once_and_the_inbox_has_it_later(oncall):
    """One message in the group however long notify is out."""
    oncall.inboxes.out = True
    key = oncall.announce()
    await oncall.alarms.settle()
    assert oncall.robot.told == [key]
    await oncall.passes(300)
    oncall.inboxes.out = False
    await oncall.passes(61)
    assert (oncall.inboxes.told, oncall.robot.asked) == ([key], 1)
    assert oncall.record.lines == [("told", "wecom", "notify: unavailable")]


@pytest.mark.parametrize("dependency", ["notify", "nats", "postgres", "gateway"])
async def test_what_concerns_the_inboxes_themselves_goes_both_ways(oncall, dependency):
    """An inbox that nobody can read is no alarm."""
    key = oncall.announce(about(dependency))
    await oncall.passes(10)
    assert (oncall.inboxes.told, oncall.robot.told) == ([key], [key])
    assert oncall.record.lines == [("told", "wecom", f"inboxes stand on {dependency}")]


async def test_when_nobody_takes_it_that_is_on_the_record_and_it_is_tried_on(oncall):
    """First at once, then ever more seldom; whoever comes back first gets it."""
    oncall.inboxes.out = oncall.robot.out = True
    oncall.announce()
    await oncall.passes(300)
    assert oncall.record.lines == [("untold", "notify: unavailable; wecom: unavailable")]
    assert 5 < oncall.inboxes.asked < 12
    oncall.robot.out = False
    await oncall.passes(61)
    assert oncall.record.lines[1:] == [("told", "wecom", "notify: unavailable")]


async def test_it_is_given_up_in_the_end_and_never_silently():
    """After the hour nobody needs it any more."""
    oncall = OnCall(robot=False, give_up_s=600.0)
    oncall.inboxes.out = True
    oncall.announce()
    await oncall.passes(700)
    assert oncall.record.lines == [("untold", "notify: unavailable"), ("given up", "notify: unavailable")]
    asked = oncall.inboxes.asked
    await oncall.passes(120)
    assert oncall.inboxes.asked == asked


async def test_too_many_give_up_the_oldest():
    """The newest is what burns."""
    oncall = OnCall(pending_max=2)
    oncall.inboxes.out = oncall.robot.out = True
    for number in range(4):
        oncall.announce(replace(INCIDENT, id=f"files-{number}"))
    assert oncall.record.lines == [("given up", "too many alarms wait")] * 2


async def test_the_end_of_an_incident_is_told_too_and_calls_nobody(oncall):
    """Its own message, not urgent; the same incident opened again is another one."""
    keys = [
        oncall.announce(),
        oncall.announce(occasion=Occasion.RESOLVED),
        oncall.announce(replace(INCIDENT, pages=2)),
    ]
    await oncall.passes(5)
    assert oncall.inboxes.told == keys
    assert [alarm_of(INCIDENT, occasion, NOW, "").urgent for occasion in (Occasion.OPENED, Occasion.RESOLVED)] == [
        True,
        False,
    ]


def test_an_alarm_says_what_broke_whom_it_hurts_and_what_to_do():
    """In both languages, within the limits of an inbox."""
    incident = replace(INCIDENT, changes=("files 3.0.0 deployed to prod by ma",))
    alarm = alarm_of(incident, Occasion.OPENED, NOW, "https://ops.example/ops")
    assert alarm.title == "【告警 Alarm】files is failing"
    for said in ("export", "12 failed", "team-files", "files 3.0.0", "docs/runbooks/BreakwaterDependencyDown.md"):
        assert said in alarm.text
    assert alarm.text.endswith("https://ops.example/ops")
    long = replace(CAUSE, dependency="x" * 500)
    assert len(alarm_of(replace(INCIDENT, cause=long), Occasion.OPENED, NOW, "").title) == TITLE_CHARS_MAX


async def test_what_a_playbook_notes_goes_the_way_of_alarms_each_note_once(oncall):
    """Two notes of a run are two messages, of the same incident as its alarm, and wake nobody."""
    key = oncall.announce()
    notes = [note_of("files-down", "run-1", INCIDENT.id, number, "the pin is deployed", NOW) for number in (1, 2, 2)]
    for note in notes:
        oncall.alarms.announce(note)
    await oncall.alarms.settle()
    assert oncall.inboxes.told == [key, *(each.key for each in notes[:2])]
    assert (notes[0].urgent, "the pin is deployed" in notes[0].text, INCIDENT.id in notes[0].text) == (
        False,
        True,
        True,
    )


async def test_an_alert_that_no_incident_explains_goes_the_way_of_alarms_once(oncall):
    """It says what it is about and what to do; every process that is told of it names it alike; its end wakes nobody."""
    labels = {"journey": "intake", "severity": "critical"}
    summary, runbook = "The journey intake spends its error budget", "docs/runbooks/BreakwaterJourneyBudgetBurning.md"
    alert = Alert("c0ffee1234", "BreakwaterJourneyBudgetBurning", "critical", labels, summary, runbook, NOW)
    begun, again = (alarm_of_alert(alert, NOW + timedelta(seconds=s), "", firing=True) for s in (0, 9))
    over = alarm_of_alert(alert, NOW, "", firing=False)
    for each in (begun, again, over):
        oncall.alarms.announce(each)
    await oncall.alarms.settle()
    assert oncall.inboxes.told == [begun.key, over.key]
    assert (begun.urgent, over.urgent, begun.subject.startswith("alert:")) == (True, False, True)
    for said in ("No incident", "journey intake", runbook):
        assert said in begun.text
