"""What the page is told of edges, pair by pair."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.gateway.ops.edges.domain import Bulkhead, Circuit, Edge
from services.gateway.ops.edges.pairs import PairBook

pytestmark = pytest.mark.capability(38)


def edge(dependency, instance="i-0", **figures):
    """An edge of the gateway that is well."""
    return replace(
        Edge(
            caller="gateway",
            dependency=dependency,
            instance=instance,
            state=Circuit.CLOSED,
            override=None,
            availability=1.0,
            error_rate=0.0,
            errors={},
            rate_per_s=10.0,
            p50_ms=1.0,
            p90_ms=2.0,
            p99_ms=3.0,
            retries=0,
            retry_budget_tokens=10.0,
            bulkhead=Bulkhead(0, 64, 0),
            next_probe_s=None,
            fallbacks=0,
            injected=0,
            as_of=datetime(2026, 11, 27, tzinfo=UTC),
        ),
        **figures,
    )


@pytest.fixture
def book():
    """Two pairs of two instances, told already."""
    pairs = PairBook()
    pairs.take(edge(dependency, instance) for dependency in ("leads", "files") for instance in ("i-0", "i-1"))
    pairs.drain()
    return pairs


def names(drained):
    """The dependencies that are told."""
    rows, gone = drained
    return {row.dependency for row in rows}, {dependency for _, dependency in gone}


def test_figures_alone_are_not_urgent(book):
    """They wait for the second, and are told once."""
    book.take([edge("leads", rate_per_s=11.0)])
    assert not book.urgent
    assert names(book.drain()) == ({"leads"}, set())
    assert names(book.drain()) == (set(), set())


@pytest.mark.parametrize("change", [{"state": Circuit.OPEN}, {"stale": True}])
def test_what_is_urgent_comes_alone_and_the_rest_is_not_forgotten(book, change):
    """A circuit or a silence is told without the figures of other pairs, which come with the second."""
    book.take([edge("leads", rate_per_s=11.0), edge("files", **change)])
    assert book.urgent
    assert names(book.drain(0)) == ({"files"}, set())
    assert not book.urgent
    assert names(book.drain()) == ({"leads"}, set())


def test_many_come_in_parts_longest_waiting_first(book):
    """A pair that goes on moving does not keep another from its turn; what is urgent counts beside the part."""
    book.take([edge("leads", rate_per_s=11.0), edge("files", rate_per_s=11.0)])
    assert names(book.drain(1)) == ({"leads"}, set())
    book.take([edge("leads", rate_per_s=12.0), edge("nats")])
    assert names(book.drain(1)) == ({"files", "nats"}, set())
    assert names(book.drain(1)) == ({"leads"}, set())


def test_a_pair_without_an_instance_is_gone_at_once(book):
    """While one instance is left it is a row, without any it is gone."""
    book.take([], [("gateway", "files", "i-0")])
    assert names(book.drain(0)) == ({"files"}, set())
    book.take([], [("gateway", "files", "i-1")])
    assert names(book.drain(0)) == (set(), {"files"})
    assert names(book.drain()) == (set(), set())
