"""The past of every edge: minutes by the second, a day by ten seconds, in bounded memory."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.edges.domain import Backlog, Circuit, Totals
from services.gateway.ops.history.domain import POINTS_MAX, History, Span
from tests.unit.ops.test_edges import NOW, edge, report

T0 = 1_772_420_400
PAIR = ("gateway", "files")

pytestmark = pytest.mark.capability(38)


def told(at_s, *, calls, failed=0, latency=(), instance="g-1", **changes):
    """A report of one edge that has had so many calls since its process started."""
    totals = Totals({"success": calls - failed, "failed": failed}, 0, 0, tuple(latency))
    at = NOW + timedelta(seconds=at_s)
    given = report(edge(totals=totals, **changes), instance=instance, at=at)
    return replace(given, latency_bounds_s=(0.001, 1.0, float("inf")))


def points(history, seconds=10, now_s=T0 + 10):
    """The last steps of the edge."""
    return history.stretch(PAIR, now_s=now_s, seconds=seconds).points


def test_a_second_holds_what_was_added_in_it():
    """Totals that grow are told; the past shows by how much, each second by itself, the latencies too."""
    history = History()
    history.take(told(0, calls=100, failed=7, latency=(90, 3, 0)), T0)
    history.take(told(1, calls=104, failed=8, latency=(93, 3, 0)), T0 + 1)
    history.take(told(2, calls=110, failed=8, latency=(95, 6, 1)), T0 + 2)
    first, second, third = points(history)[:3]
    assert first.outcomes["success"] == first.outcomes["failed"] == 0
    assert (second.outcomes["success"], second.outcomes["failed"]) == (3, 1)
    assert (third.outcomes["success"], third.outcomes["failed"]) == (6, 0)
    assert third.latency_counts[:3] == [2, 3, 1]


def test_a_second_that_nobody_told_of_is_unknown():
    """No report is not the same as no calls."""
    history = History()
    history.take(told(0, calls=5), T0)
    history.take(told(2, calls=5), T0 + 2)
    assert [point is None for point in points(history)[:4]] == [False, True, False, True]


def test_a_report_that_comes_twice_or_late_counts_once():
    """Reports come by NATS and by gRPC; neither order nor number may change the sums."""
    history = History()
    reports = [told(0, calls=10), told(1, calls=12), told(2, calls=17)]
    for each in (reports[0], reports[2], reports[1], reports[2]):
        history.take(each, T0 + 2)
    assert sum(point.outcomes["success"] for point in points(history) if point) == 7


def test_instances_are_summed_and_a_restart_counts_no_call_twice():
    """Each instance has totals of its own; one that starts anew begins at nothing."""
    history = History()
    for instance in ("g-1", "g-2"):
        history.take(told(0, calls=50, instance=instance), T0)
        history.take(told(1, calls=53, instance=instance), T0 + 1)
    history.take(told(2, calls=2, instance="g-3"), T0 + 2)
    history.take(told(3, calls=4, instance="g-3"), T0 + 3)
    assert [point.outcomes["success"] for point in points(history)[:4]] == [0, 6, 0, 2]


def test_the_circuits_of_the_instances_are_kept():
    """How many were open in a second; a stale one is in no state."""
    history = History()
    first = told(0, calls=1, state=Circuit.OPEN)
    second = told(0, calls=1, instance="g-2")
    history.take(first, T0)
    history.note([*first.edges, *second.edges, edge(instance="g-3", stale=True)], T0)
    assert points(history)[0].instances == {Circuit.OPEN: 1, Circuit.HALF_OPEN: 0, Circuit.CLOSED: 1}


def test_a_day_is_kept_by_ten_seconds_and_no_more():
    """A call a second for 25 hours: the last day is there whole, in bounded steps, and the hour before it is gone."""
    history = History(Span(fine_s=60, coarse_s=86_400))
    for second in range(0, 90_000, 10):
        history.take(told(second, calls=second), T0 + second)
    stretch = history.stretch(PAIR, now_s=T0 + 90_000, seconds=86_400)
    assert (len(stretch.points), stretch.step_s) == (POINTS_MAX, 120)
    assert {point.outcomes["success"] for point in stretch.points} == {120}
    assert history.stretch(PAIR, now_s=T0 + 5_000, seconds=60).points == (None,) * 60


def test_there_is_room_for_so_many_edges_and_no_more():
    """One more is refused, counted, and has no past; the others keep theirs."""
    history = History(Span(edges_max=1))
    history.take(told(0, calls=1), T0)
    history.take(told(0, calls=1, dependency="leads"), T0)
    assert history.callers_of("files") == ("gateway",)
    assert history.stretch(("gateway", "leads"), now_s=T0, seconds=10) is None
    assert history.refused == 1


def test_what_waits_grows_older_while_its_process_is_silent():
    """A figure says how long ago it was found, the silence of its process included."""
    book = BacklogBook()
    waits = Backlog("outbox_pending", "", 12, 2.0)
    book.take(replace(report(edge()), backlogs=(waits,)), 100)
    [shown] = book.all(103)
    assert (shown.process, shown.value, shown.age_s) == ("gateway", 12, 5.0)
    book.take(replace(report(edge(), instance="g-2"), backlogs=(replace(waits, value=1),)), 110)
    assert [each.value for each in book.all(110)] == [1]
