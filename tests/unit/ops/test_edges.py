"""The book of edges: what is known, and how old it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge, EdgeBook, Report

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)

pytestmark = pytest.mark.capability(38)


def edge(caller="gateway", dependency="files", instance="g-1", state=Circuit.CLOSED, **changes):
    """An edge without traffic."""
    given = Edge(
        caller=caller,
        dependency=dependency,
        instance=instance,
        state=state,
        override=None,
        availability=None,
        error_rate=None,
        errors={},
        rate_per_s=0.0,
        p50_ms=None,
        p90_ms=None,
        p99_ms=None,
        retries=0,
        retry_budget_tokens=10.0,
        bulkhead=Bulkhead(0, 10, 0),
        next_probe_s=None,
        fallbacks=0,
        injected=0,
        as_of=NOW,
    )
    return replace(given, **changes)


def report(*edges, process="gateway", instance="g-1", at=NOW):
    """What a process tells."""
    return Report(process, instance, at, tuple(replace(each, instance=instance, as_of=at) for each in edges))


def test_a_change_of_state_is_told_once():
    """A report that opens a circuit moves it; the same report again moves nothing."""
    book = EdgeBook()
    book.take(report(edge()), 0)
    opened = report(edge(state=Circuit.OPEN), at=NOW + timedelta(seconds=1))
    [moved] = book.take(opened, 1).moved
    assert (moved.old, moved.new) == (Circuit.CLOSED, Circuit.OPEN)
    assert not book.take(replace(opened, as_of=NOW + timedelta(seconds=2)), 2).moved


def test_an_older_report_changes_nothing():
    """Reports come by two ways and may overtake each other."""
    book = EdgeBook()
    book.take(report(edge(state=Circuit.OPEN), at=NOW + timedelta(seconds=5)), 5)
    assert not book.take(report(edge(), at=NOW), 6)
    assert book.edges()[0].state is Circuit.OPEN


def test_a_silent_process_is_unknown_not_healthy():
    """Before 5 s without a word are over its edges are stale; a word makes them fresh again."""
    book = EdgeBook()
    book.take(report(edge()), 0)
    assert not book.settle(4.4)
    assert [each.stale for each in book.settle(4.6).edges] == [True]
    assert not book.settle(6)
    book.take(report(edge(), at=NOW + timedelta(seconds=7)), 7)
    assert [each.stale for each in book.edges()] == [False]


def test_a_restarted_process_replaces_its_predecessor():
    """The old instance goes once it is silent and the new one speaks."""
    book = EdgeBook()
    book.take(report(edge(), instance="g-1"), 0)
    changes = book.take(report(edge(), instance="g-2"), 10)
    assert changes.gone == (("gateway", "files", "g-1"),)
    assert [each.instance for each in book.edges()] == ["g-2"]


def test_two_replicas_stand_side_by_side():
    """Instances of one service that both speak are both shown."""
    book = EdgeBook()
    book.take(report(edge(), instance="g-1"), 0)
    book.take(report(edge(), instance="g-2"), 1)
    assert len(book.edges()) == 2


def test_the_worst_comes_first():
    """Open, half-open, unknown, then closed by error rate."""
    book = EdgeBook()
    book.take(
        report(
            edge(dependency="a"),
            edge(dependency="b", error_rate=0.4),
            edge(dependency="c", state=Circuit.HALF_OPEN),
            edge(dependency="d", state=Circuit.OPEN),
        ),
        0,
    )
    assert [each.dependency for each in book.edges()] == ["d", "c", "b", "a"]


def test_instances_are_bounded():
    """A flood of instances does not fill the memory."""
    book = EdgeBook(instances_max=3)
    for number in range(10):
        book.take(report(edge(), instance=f"g-{number}"), 0)
    assert len(book.edges()) == 3
