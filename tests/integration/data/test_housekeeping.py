"""What is past its time goes, what is not stays, against real servers."""

from typing import Any, cast

import pytest

from breakwater.chassis import deadletters, housekeeping, metrics, outbox
from breakwater.chassis.bus import Bus
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.outbox import OutboxEvent

TYPE = "breakwater.leads.v1.LeadAssigned"


async def add(db: Database, *numbers: int) -> None:
    async with db.transaction() as tx:
        await outbox.add(tx, [OutboxEvent(TYPE, "lead-1", number, b"") for number in numbers])


async def test_whole_days_of_published_events_go(schema: Any, db: Database, bus: Bus) -> None:
    """A published day past its time is emptied; a recent one stays, and so does an old one with an unpublished event."""
    await add(db, 1, 2, 3, 4)
    await schema.as_admin("UPDATE outbox SET published_at = now() WHERE sequence < 4")
    for days, sequence in ((10, 1), (3, 2), (12, 3), (12, 4)):
        await schema.as_admin(
            "UPDATE outbox SET created_at = now() - make_interval(days => $1), day = (day + 16 - $1) % 16 WHERE sequence = $2",
            days,
            sequence,
        )
    await bus.ensure_stream(deadletters.SPEC)
    await Housekeeping(db, bus).prune()
    left = [row["sequence"] for row in await schema.as_admin("SELECT sequence FROM outbox ORDER BY sequence")]
    assert left == [2, 3, 4]


async def test_old_inbox_rows_and_keys_go_in_portions(schema: Any, db: Database, bus: Bus, monkeypatch: Any) -> None:
    """Only what cannot come back any more is forgotten, a bounded number of rows at a time."""
    monkeypatch.setattr(housekeeping, "PORTION_ROWS", 40)
    await schema.as_admin(
        """INSERT INTO inbox (consumer, event_id, received_at)
           SELECT 'notify', gen_random_uuid(), now() - make_interval(days => n % 2 * 40) FROM generate_series(1, 200) AS n"""
    )
    await schema.as_admin(
        """INSERT INTO idempotency (actor, route, key, body_hmac, response, created_at)
           SELECT 'a', 'r', n::text, '', '', now() - make_interval(hours => n % 2 * 50) FROM generate_series(1, 10) AS n"""
    )
    await Housekeeping(db, bus).prune()
    (left,) = await schema.as_admin(
        "SELECT (SELECT count(*) FROM inbox) AS inbox, (SELECT count(*) FROM idempotency) AS keys"
    )
    assert (left["inbox"], left["keys"]) == (100, 5)


async def test_figures_show_what_is_pending_and_for_how_long(schema: Any, db: Database, bus: Bus) -> None:
    """breakwater_outbox_pending counts the events that are not published yet; the oldest one's age tells a standstill."""
    housekeeper = Housekeeping(db, bus)
    await add(db, 1, 2, 3)
    await schema.as_admin("UPDATE outbox SET created_at = now() - interval '1 hour' WHERE sequence = 1")
    await housekeeper.refresh()
    assert figure("breakwater_outbox_pending") == 3
    assert 3_600 <= figure("breakwater_outbox_oldest_age_seconds") < 3_660
    assert figure("breakwater_dead_letters") == 0
    await schema.as_admin("UPDATE outbox SET published_at = now()")
    await housekeeper.refresh()
    assert figure("breakwater_outbox_pending") == 0
    assert figure("breakwater_outbox_oldest_age_seconds") == 0


async def test_dead_letters_are_counted_while_the_database_is_out(bus: Bus) -> None:
    """That is when events are given up: their number must not wait for it."""
    metrics.DEAD_LETTERS.labels("leads").set(7)
    with pytest.raises(UnavailableError):
        await Housekeeping(cast("Database", OutOfReach()), bus).refresh()
    assert figure("breakwater_dead_letters") == 0


class OutOfReach:
    """A database that nobody reaches."""

    def read(self) -> None:
        raise UnavailableError("The database cannot be reached.", dependency="postgres")


def figure(name: str) -> float:
    value = metrics.REGISTRY.get_sample_value(name, {"service": "leads"})
    assert value is not None
    return value
