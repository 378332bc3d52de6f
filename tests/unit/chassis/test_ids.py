"""Identifiers: UUID version 7."""

import time
from uuid import UUID

import pytest

from breakwater.chassis.ids import uuid7


def test_an_id_is_a_uuid_of_version_7_in_its_usual_form() -> None:
    """Any reader of UUIDs accepts it (RFC 9562, 5.7)."""
    made = uuid7()
    parsed = UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")


def test_an_id_tells_the_millisecond_it_was_made() -> None:
    """The first 48 bits are the time."""
    before_ms = time.time_ns() // 1_000_000
    made_ms = UUID(uuid7()).int >> 80
    assert before_ms <= made_ms <= before_ms + 1_000


def test_ids_sort_in_the_order_they_were_made() -> None:
    """More of them than a millisecond has numbers for."""
    made = [uuid7() for _ in range(50_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_never_run_backwards_when_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected clock does not disturb the order."""
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert uuid7() > first
