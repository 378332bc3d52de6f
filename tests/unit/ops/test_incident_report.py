"""The report of an incident: everything that was known and done, as text."""

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.ops.incidents.domain import Action, Cause, Fault, Incident, Locus, Step
from services.gateway.ops.incidents.report import render
from services.gateway.ops.timeline.domain import Entry, Kind

pytestmark = pytest.mark.capability(38)

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
CAUSE = Cause(
    key="postgres",
    name="postgres",
    caller="leads",
    dependency="postgres",
    fault=Fault.DOWN,
    locus=Locus.NETWORK,
    roots=(("leads", "postgres"),),
    symptoms=(("gateway", "leads"),),
    since=NOW,
)


def incident(**changes):
    """PostgreSQL does not answer leads."""
    given = {"id": "postgres-20260302T0300", "cause": CAUSE, "opened_at": NOW + timedelta(seconds=4)}
    return Incident(**given | changes)


def test_a_report_says_what_broke_whom_it_hurt_and_what_was_done():
    """Cause, symptoms, runbook, changes, actions and timeline."""
    acknowledged = Action("a", "postgres-20260302T0300", NOW + timedelta(minutes=1), Step.ACKNOWLEDGED, "anna")
    handed = Action(
        "b", acknowledged.incident_id, NOW + timedelta(minutes=2), Step.HANDED_OVER, "anna", "boris", "the disk"
    )
    given = incident(
        changes=("leads 0.3.0 deployed",),
        journeys=("intake",),
        failed=12.4,
        owner="dba",
        actions=(acknowledged, handed),
    )
    entries = [Entry("e", NOW, Kind.CIRCUIT, "leads → postgres: closed → open", "postgres")]
    text = render(given, entries, NOW + timedelta(minutes=5, seconds=4))
    for line in (
        "# postgres-20260302T0300: postgres is failing",
        "| Cause | leads → postgres |",
        "| Dragged along | gateway → leads |",
        "| Runbook | docs/runbooks/BreakwaterDependencyDown.md |",
        "| Owner | dba |",
        "| Lasted | 5 min 0 s |",
        "| In hand of | boris |",
        "| Requests failed | about 12 |",
        "- leads 0.3.0 deployed",
        "- 03:02:00 anna handed over to boris: the disk",
        "- 03:00:00 leads → postgres: closed → open",
    ):
        assert line in text.splitlines()


def test_what_people_wrote_is_text_and_no_markup():
    """Neither a link nor a heading nor a cell of their own comes of it."""
    note = "see [here](javascript:x) |\n# Resolved <b>"
    handed = Action("b", "x", NOW, Step.HANDED_OVER, "anna", "boris", note)
    (line,) = [each for each in render(incident(actions=(handed,)), [], NOW).splitlines() if "boris: see" in each]
    assert line.endswith(r"boris: see \[here\](javascript:x) \| \# Resolved \<b\>")
