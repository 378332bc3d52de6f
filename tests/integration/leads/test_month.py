"""A seeded sample of `make proof-month`: two days of forms, outages, leaves, and owners who do nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.month.world import Month, Plan

FRIDAY = datetime(2026, 5, 7, 16, 0, tzinfo=UTC)
"""The eighth of May in Shanghai; the Saturday after it is worked (调休)."""


@pytest.mark.capability(1, 43, 117, 125)
async def test_every_lead_is_assigned_in_15_minutes_and_every_silent_one_alarms(leads: Any) -> None:
    """Though leads is out now and then, commits break, and nearly one owner of five does nothing."""
    plan = Plan(begins=FRIDAY, days=2, leads_a_day=20, people=5, outages_a_day=3, seed=7)
    outcome = await Month(plan, leads.database, leads.admin).run()
    assert outcome.problems == []
    assert (outcome.leads, outcome.assigned_in_time) == (40, 40)
    assert outcome.unfollowed == outcome.alarmed > 5
    assert outcome.refused_calls + outcome.lost_answers > 0, "no outage was felt: the sample shows nothing"
    assert min(outcome.followed_in_time, outcome.reminders, outcome.overdue, outcome.transfers) > 0


@pytest.mark.capability(117)
async def test_a_month_notices_alarms_that_are_missing(leads: Any) -> None:
    """A judge that sees nothing would judge well of everything."""
    await leads.admin.execute("ALTER TABLE leads DISABLE TRIGGER silences_begin")
    outcome = await Month(
        Plan(begins=FRIDAY, days=1, leads_a_day=6, people=5, seed=7), leads.database, leads.admin
    ).run()
    assert outcome.problems
    assert outcome.alarmed < outcome.unfollowed
