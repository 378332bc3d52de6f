"""Signals and scores on a real PostgreSQL."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import (
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.inbox import Received
from breakwater.leads.v1.events_pb2 import ActivityRecorded, InvoiceRecorded, LeadCaptured, OpportunityChanged
from services.health.consumer import LeadEvents
from services.health.scoring import model as scoring_model
from services.health.scoring.store import ScoreStore
from services.health.scoring.usecases import ReadHealth, Scoring, next_nightly
from services.health.signals.store import SignalStore, Told, learn_person, take_in
from services.health.signals.usecases import RecordSignals, Request

MODEL = scoring_model.load(Path(scoring_model.__file__).with_name("model.yaml"))
NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
ROOT = Actor("root", Role.ADMIN, Scope.ALL)
ANNA = Actor("anna", Role.SALES, Scope.OWN)
BO = Actor("bo", Role.SALES, Scope.OWN)


@pytest.fixture
async def database(fresh_database):
    """A fresh health database."""
    place = await fresh_database("health")
    database = await Database.open(place.dsn, service="health")
    yield database
    await database.close()


@pytest.fixture
def clock():
    """Noon in Shanghai, standing still."""
    return VirtualClock(NOW)


@pytest.fixture
def scoring(database, clock):
    """The verbs that keep scores fresh."""
    return Scoring(ScoreStore(database), MODEL, clock, time(2, 0), SHANGHAI, 100)


@pytest.fixture
def record(database, clock):
    """The writing verb."""
    kinds = frozenset(kind for metric in MODEL.metrics for kind in metric.kinds)
    return RecordSignals(SignalStore(database), MODEL, kinds, clock)


@pytest.fixture
def read(database):
    """The reading verbs."""
    return ReadHealth(ScoreStore(database))


def request(customer="c1", kind="nps", value="50", key="", hmac=b"h", signal_id="s1"):
    """A caller's signal."""
    return Request(signal_id, customer, kind, value, None, key, hmac)


async def known(database, customer="c1", owner="anna"):
    """A customer that leads told of."""
    async with database.transaction() as tx:
        await take_in(tx, [Told(customer, owner, NOW)])


def received(event, event_id="e1", sequence=1):
    """An event as it arrives."""
    data = event.SerializeToString()
    return Received(event_id, event.DESCRIPTOR.full_name, "s", sequence, NOW, data, None)


@pytest.mark.capability(17, 18)
async def test_a_signal_is_scored_in_its_own_transaction(database, record, read):
    """The answer to a signal is the score after it, and reading gives the same."""
    await known(database)
    recorded = await record.record(ANNA, request())
    assert recorded.health.signals == 1
    nps = next(r for layer in recorded.health.layers for r in layer.reasons if r.metric == "nps")
    assert (nps.points, nps.actual) == (nps.points_max, "50")
    assert await read.get(ANNA, "c1") == recorded.health


async def test_a_replayed_signal_counts_once(database, record):
    """The same key answers the first result; another body is refused."""
    await known(database)
    first = await record.record(ANNA, request(key="k"))
    again = await record.record(ANNA, request(key="k", signal_id="s2"))
    assert (again.replayed, again.health) == (True, first.health)
    with pytest.raises(IdempotencyMismatchError):
        await record.record(ANNA, request(key="k", hmac=b"other", signal_id="s3"))
    async with database.read() as reader:
        assert await reader.fetchval("SELECT count(*) FROM signals") == 1


async def test_what_cannot_be_is_refused_by_name(database, record, clock):
    """Unknown kinds, words for numbers and operators' signals."""
    await known(database)
    with pytest.raises(InvalidRequestError) as refused:
        await record.record(ANNA, request(kind="mood", value="fine"))
    assert {error.field for error in refused.value.errors} == {"kind", "value"}
    late = Request("s1", "c1", "nps", "5", clock.now() + timedelta(hours=1), "", b"")
    with pytest.raises(InvalidRequestError, match="as it is"):
        await record.record(ANNA, late)
    with pytest.raises(PermissionDeniedError):
        await record.record(Actor("x", Role.SRE, Scope.ALL), request())


async def test_another_persons_customer_does_not_exist(database, record, read, scoring):
    """Scopes are applied in SQL: own, team, all."""
    await known(database)
    await scoring.score_due()
    for call in (record.record(BO, request()), read.get(BO, "c1")):
        with pytest.raises(NotFoundError):
            await call
    assert (await read.list(BO, 0, "", needs_care=False)).items == ()
    async with database.transaction() as tx:
        for person in ("anna", "chef"):
            await learn_person(tx, person_id=person, team_id="t1", sequence=1)
    assert await read.get(Actor("chef", Role.MANAGER, Scope.TEAM), "c1")
    assert await read.get(ROOT, "c1")


@pytest.mark.capability(17, 18)
async def test_the_events_of_leads_become_signals_once(database, scoring, read):
    """Captured, called, invoiced, won: redelivered under other ids, counted once."""
    at = LeadCaptured().captured_at.__class__()
    at.FromDatetime(NOW - timedelta(days=3))
    handlers = LeadEvents().batch_handlers()
    told = [
        LeadCaptured(lead_id="l1", customer_id="c1", owner_id="anna", captured_at=at),
        ActivityRecorded(activity_id="a1", customer_id="c1", kind="call", occurred_at=at),
        InvoiceRecorded(invoice_id="i1", customer_id="c1", amount="60000.00", occurred_at=at),
        OpportunityChanged(
            opportunity_id="o1", customer_id="c1", stage="Closed Won", kind="Existing Business", occurred_at=at
        ),
        ActivityRecorded(activity_id="a2", customer_id="", kind="call", occurred_at=at),
    ]
    assert handlers.keys() >= {event.DESCRIPTOR.full_name for event in told}
    for round_ in range(2):
        events = [received(event, f"{round_}-{number}") for number, event in enumerate(told)]
        async with database.transaction() as tx:
            await handlers[events[0].type](tx, events)
    assert len(await scoring.score_due()) == 1
    health = await read.get(ANNA, "c1")
    actual = {reason.metric: reason.actual for layer in health.layers for reason in layer.reasons}
    assert health.signals == 3
    assert (actual["contract_amount"], actual["conversations"], actual["renewal_rate"]) == ("60000", "1", "1")


async def test_what_lies_outside_of_a_window_does_not_count(database, record, read, clock):
    """A call of half a year ago is known, and counts nothing in a window of 90 days."""
    await known(database)
    old = Request("s1", "c1", "call", "1", NOW - timedelta(days=180), "", b"")
    health = (await record.record(ANNA, old)).health
    reason = next(r for layer in health.layers for r in layer.reasons if r.metric == "conversations")
    assert (reason.actual, reason.points) == ("0", 0.0)


@pytest.mark.capability(18)
async def test_a_fall_below_the_threshold_is_told_once(database, record, scoring):
    """HealthChanged on a change of grade, CareNeeded on the fall, neither again while nothing changes."""
    await known(database)
    await scoring.score_due()
    for number, (kind, value) in enumerate([("nps", "1"), ("invoice", "10"), ("renewal", "0"), ("opportunity", "1")]):
        await record.record(ANNA, request(kind=kind, value=value, signal_id=f"s{number}"))
    async with database.read() as reader:
        told = [row["type"] for row in await reader.fetch("SELECT type FROM outbox ORDER BY id")]
    assert told.count("breakwater.health.v1.CareNeeded") == 1
    assert "breakwater.health.v1.HealthChanged" in told


@pytest.mark.capability(18)
async def test_the_nightly_run_marks_everybody_once(database, scoring, clock):
    """Due at 02:00 in the team's zone; a second replica at the same time does nothing."""
    await known(database, "c1")
    await known(database, "c2")
    await scoring.score_due()
    assert not await scoring.start_nightly()
    await clock.advance(15 * 3600)
    assert await scoring.start_nightly()
    assert not await scoring.start_nightly()
    assert len(await scoring.score_due()) == 2


def test_the_nightly_run_is_due_at_two_in_the_morning():
    """Noon in Shanghai: the next 02:00 is 14 hours away."""
    assert next_nightly(NOW, time(2, 0), SHANGHAI) == NOW + timedelta(hours=14)


async def test_the_worst_come_first_page_by_page(database, record, read):
    """ListHealth is ordered by score, without gap or double."""
    for number in range(5):
        await known(database, f"c{number}")
        await record.record(ROOT, request(f"c{number}", "nps", str(number * 10), signal_id=f"s{number}"))
    seen, cursor = [], ""
    while True:
        page = await read.list(ROOT, 2, cursor, needs_care=False)
        seen += [health.customer_id for health in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == [f"c{number}" for number in range(5)]
