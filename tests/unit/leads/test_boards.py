"""Boards: which days they are of, percentiles, and what can be said of a lead."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.boards.domain import (
    DWELLS,
    LeadTimes,
    Measures,
    Share,
    Spread,
    days_of,
    dwell_between,
    dwell_of,
    judge,
)
from services.leads.boards.personal.domain import ACTIONS_MAX, OpenLead, Pile

pytestmark = pytest.mark.capability(6)

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 5, 20, tzinfo=UTC)
"""Friday 6 March, 4 o'clock in Shanghai."""


@pytest.mark.parametrize(
    ("first", "last", "meant"),
    [
        ("", "", ("2026-02-28", "2026-03-06")),
        ("2026-03-01", "", ("2026-03-01", "2026-03-06")),
        ("", "2026-03-01", ("2026-02-23", "2026-03-01")),
        ("2025-06-01", "", ("2025-06-01", "2025-08-31")),
        ("2026-03-06", "2026-03-06", ("2026-03-06", "2026-03-06")),
    ],
)
def test_days_left_out_are_the_last_ones(first: str, last: str, meant: tuple[str, str]) -> None:
    """Today is the day of the board's zone, not of UTC."""
    days = days_of(first, last, SHANGHAI, NOW)
    assert (days.first.isoformat(), days.last.isoformat()) == meant
    assert days.begin == datetime.combine(days.first, time(), SHANGHAI)
    assert days.end == datetime.combine(days.last, time(), SHANGHAI) + timedelta(days=1)


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [
        ("2026-13-01", "", "from"),
        ("9999-12-31", "", "from"),
        ("", "0001-01-01", "to"),
        ("2026-03-04", "2026-03-03", "from"),
        ("2025-11-01", "2026-03-01", "from"),
        ("2024-11-01", "2024-11-02", "from"),
        ("2026-03-01", "2026-03-07", "to"),
    ],
)
def test_days_no_board_can_be_made_of_are_named(first: str, last: str, field: str) -> None:
    """Days that do not exist, stand the wrong way round, are too many, too long ago or still to come."""
    with pytest.raises(InvalidRequestError) as refused:
        days_of(first, last, SHANGHAI, NOW)
    assert [each.field for each in refused.value.errors] == [field]


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank: of ten, the fifth and the ninth; of none, nothing."""
    assert Spread.of(float(n) for n in range(10, 0, -1)) == Spread(5.5, 5.0, 9.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    assert Spread.of([]) is None
    assert (str(Share(1, 3)), str(Share(0, 0))) == ("33.3%", "—")


@pytest.mark.capability(7, 43, 63)
def test_a_limit_that_still_runs_says_nothing() -> None:
    """Done in time is met, done late or past its time is missed, and what may still be done in time is neither."""
    minute = timedelta(minutes=1)

    def verdict(captured: datetime, assigned: datetime | None, responded: datetime | None) -> tuple[object, ...]:
        times = LeadTimes("1", "a", captured, assigned, captured + 20 * minute, responded, responded)
        judged = judge(times, NOW, Measures())
        return judged.on_time, judged.assigned, judged.contacted

    fresh, old = NOW - 10 * minute, NOW - 50 * minute
    assert verdict(fresh, None, None) == (None, None, None)
    assert verdict(fresh, fresh, fresh + minute) == (True, True, True)
    assert verdict(old, None, None) == (False, False, None)
    assert verdict(old, old + 15 * minute, old + 21 * minute) == (False, True, True)
    assert judge(LeadTimes("1", "", old, None, None, None, None), NOW, Measures()).on_time is None


@pytest.mark.capability(7)
def test_answering_in_time_brings_its_weight_in_points() -> None:
    """Three of four at 20 of 100 points are 15; of whom nothing can be said yet has none, and not nothing."""
    assert (Share(3, 4).points(0.2), Share(0, 4).points(0.2), Share(0, 0).points(0.2)) == (15, 0, None)


def test_every_dwell_is_found_again_by_its_name() -> None:
    """A lead lost after some time is in the one kind whose bounds hold it."""
    for hours in (0, 0.99, 1, 23, 24, 71, 100, 500, 720, 10_000):
        dwell = timedelta(hours=hours)
        holding = []
        for name, _ in DWELLS:
            lower, upper = dwell_between(name)
            if (lower is None or lower <= dwell) and (upper is None or dwell < upper):
                holding.append(name)
        assert holding == [dwell_of(dwell)]
    assert dwell_between("昨天") is None


@pytest.mark.capability(101)
def test_the_most_overdue_are_kept_however_many_are_due() -> None:
    """More than are shown: the count is of all, the list begins with the oldest."""
    pile = Pile(NOW, NOW + timedelta(hours=4))
    count = 3 * ACTIONS_MAX
    for number in range(count):
        due = NOW - timedelta(minutes=number * 7 % count)
        pile.add(OpenLead(f"{number:04d}", "甲", "", "", None, "new", NOW, None, "回电", due))
    assert (pile.leads, pile.overdue) == (count, count - 1)
    kept = [each.due_at for each in pile.first_actions()]
    assert kept == sorted(NOW - timedelta(minutes=number) for number in range(count - ACTIONS_MAX, count))
