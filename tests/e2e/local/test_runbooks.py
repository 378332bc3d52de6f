"""Runbooks, as on-call reads them: the fault is made, the alert fires, what they say to press cures it, and they say when.

Those that take longer are executed by `make proof-runbooks`; docs/rehearsals.md says which is executed where.
"""

import pytest

from tests.runbooks.register import REHEARSALS
from tests.runbooks.rehearsing import OnCall
from tests.support.calling import business, calling

pytestmark = [pytest.mark.capability(37, 38), pytest.mark.timeout(900)]

SAMPLE = [each for each in REHEARSALS if each.sampled]


@pytest.fixture
def oncall(breakable, watchers):
    """Leaves the platform as it was, whatever was pressed."""
    found = OnCall(breakable, watchers)
    with calling(*business(breakable)):
        yield found
        found.heal()


@pytest.mark.parametrize("rehearsal", SAMPLE, ids=lambda each: each.name)
def test_what_a_runbook_says_to_press_cures_what_its_alert_found(oncall, rehearsal):
    """Its commands are pasted as they stand in the page: fault, alert, cure, and the page says that it is over."""
    oncall.rehearse(rehearsal)
