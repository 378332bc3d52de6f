"""A seeded sample of `make proof-sla`: due times beside a count of every minute, and mistakes that it must find."""

import pytest

from services.leads.sla.calendar import Calendar
from tests.businesstime.bugs import BUGS
from tests.businesstime.cases import compare, rules_of

pytestmark = pytest.mark.capability(5)

CALENDARS = (0, 1, 4, 13, 71)
"""Of several zones; in some of their windows clocks are changed, of the last in the midst of working hours."""
CASES = 250


@pytest.mark.parametrize("seed", CALENDARS)
def test_due_times_are_those_of_a_count_of_every_minute(seed: int) -> None:
    """With holidays, make-up days, lunches, changes of clocks, and clocks that stood up to three times."""
    found = compare(seed, CASES)
    assert found.differences == 0, found.first_difference
    assert found.cases > CASES * 0.9, "too many are due past the window to be compared"
    assert found.with_pauses > 0
    assert found.stepped > 0


def test_the_sample_is_of_several_zones() -> None:
    """A sample of one zone would tell nothing about the others."""
    assert len({rules_of(seed)[0].zone for seed in CALENDARS}) >= 3


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_mistake_is_found(bug: type[Calendar]) -> None:
    """The comparison sees what it is there for."""
    assert any(compare(seed, CASES, bug).differences for seed in CALENDARS)
