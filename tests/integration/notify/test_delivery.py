"""Notifications on a real PostgreSQL: once, seen by those who may, read once."""

from datetime import UTC, datetime

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1.events_pb2 import LeadAssigned, PersonChanged
from services.notify.consumer import LeadEvents
from services.notify.delivery.domain import AttemptState, Message
from services.notify.delivery.store import InboxStore, Posting, TransactionInboxes
from services.notify.delivery.usecases import Delivery, Query, Recipient
from tests.support.notifying import SHANGHAI, default_words, received

ANNA = Actor("anna", Role.SALES, Scope.OWN)
BO = Actor("bo", Role.SALES, Scope.OWN)
CHEF = Actor("chef", Role.MANAGER, Scope.TEAM)
ROOT = Actor("root", Role.ADMIN, Scope.ALL)
NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
POSTING = Posting(default_words())


@pytest.fixture
def delivery(database):
    """The use cases on it."""
    return Delivery(InboxStore(database, POSTING), VirtualClock(NOW))


def message(key="k1", recipient="anna", **changes):
    """A message."""
    given = {"kind": "lead_assigned", "title": "新线索", "body": "请跟进", "subject": "lead:1"}
    return Message(recipient_id=recipient, dedup_key=key, **(given | changes))


async def test_a_message_is_stored_once_whoever_asks(delivery, database):
    """The same key answers the first notification, marked, with one row and one event."""
    first, replayed = await delivery.send(ROOT, message())
    again, replayed_again = await delivery.send(ROOT, message(title="anders"))
    assert (replayed, replayed_again) == (False, True)
    assert again == first
    assert first.attempts[0].state is AttemptState.DELIVERED
    async with database.read() as reader:
        assert await reader.fetchval("SELECT count(*) FROM notifications") == 1
        assert await reader.fetchval("SELECT count(*) FROM outbox") == 1


async def test_one_batch_may_repeat_itself(database):
    """Two messages with one key in one batch are one notification."""
    async with database.transaction() as tx:
        stored = await TransactionInboxes(tx, POSTING).add([message("a"), message("a"), message("b")], NOW)
    assert [replayed for _, replayed in stored] == [False, False, False]
    assert len({notification.id for notification, _ in stored}) == 2


async def test_people_see_their_own_managers_their_teams_and_admins_all(delivery, database):
    """Scopes are applied in SQL: own, team with whom one supervises, and all, as for leads."""
    async with database.transaction() as tx:
        inboxes = TransactionInboxes(tx, POSTING)
        for person, team, supervisor in (
            ("anna", "t1", "chef"),
            ("chef", "t1", ""),
            ("bo", "t2", "boss"),
            ("boss", "", ""),
        ):
            await inboxes.learn(Recipient(person, person, team, supervisor, active=True), 1)
        await inboxes.add([message("1", "anna"), message("2", "bo"), message("3", "chef")], NOW)

    async def seen(actor):
        return {item.recipient_id for item in (await delivery.list(actor, Query(), 0, "")).items}

    assert await seen(ANNA) == {"anna"}
    assert await seen(CHEF) == {"anna", "chef"}
    assert await seen(Actor("boss", Role.MANAGER, Scope.TEAM)) == {"bo"}, "whom one supervises belongs to the team"
    assert await seen(ROOT) == {"anna", "bo", "chef"}


async def test_another_persons_notification_does_not_exist(delivery):
    """Reading somebody else's is not found, and who may look into it gives no receipt for it; the first reading counts."""
    stored, _ = await delivery.send(ROOT, message())
    with pytest.raises(NotFoundError):
        await delivery.mark_read(BO, stored.id)
    with pytest.raises(PermissionDeniedError):
        await delivery.mark_read(ROOT, stored.id)
    [unread] = (await delivery.list(ANNA, Query(unread_only=True), 0, "")).items
    assert unread.id == stored.id
    first = await delivery.mark_read(ANNA, stored.id)
    assert first.read_at == NOW
    with pytest.raises(NotFoundError):
        await delivery.mark_read(ANNA, "not-an-id")


async def test_a_list_is_paged_without_gap_or_double(delivery):
    """Every notification once over the pages, newest first."""
    for number in range(7):
        await delivery.send(ROOT, message(str(number)))
    seen, cursor = [], ""
    while True:
        page = await delivery.list(ANNA, Query(), 3, cursor)
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7
    with pytest.raises(InvalidRequestError):
        await delivery.list(ANNA, Query(), 3, "not-ours")


async def test_a_message_that_cannot_be_sent_names_its_fields(delivery):
    """Missing key and overlong title are both named; sales people send nothing."""
    with pytest.raises(InvalidRequestError) as refused:
        await delivery.send(ROOT, message("", title="x" * 201))
    assert {error.field for error in refused.value.errors} == {"dedup_key", "title"}
    with pytest.raises(PermissionDeniedError):
        await delivery.send(ANNA, message())


@pytest.mark.capability(5, 125)
async def test_an_assignment_notifies_its_owner_once_even_under_another_event_id(database, delivery):
    """The key follows the assignment: a republished event notifies nobody twice; without an owner nobody is told."""
    events = LeadEvents(VirtualClock(NOW), SHANGHAI, POSTING)
    event = LeadAssigned(lead_id="l1", assignment_id="a1", owner_id="anna", lead_name="王芳", source="展会")
    ownerless = LeadAssigned(lead_id="l2", assignment_id="a2")
    for each in (received(event), received(event, event_id="e2"), received(ownerless, event_id="e3")):
        async with database.transaction() as tx:
            await events.leads_assigned(tx, [each])
    [only] = (await delivery.list(ROOT, Query(), 0, "")).items
    assert (only.recipient_id, only.subject) == ("anna", "lead:l1")


async def test_an_older_word_on_a_person_does_not_replace_a_newer_one(database, delivery):
    """Events may overtake each other: the sequence decides."""
    events = LeadEvents(VirtualClock(NOW), SHANGHAI, POSTING)
    newer = received(PersonChanged(person_id="anna", team_id="t2", active=True), sequence=2)
    older = received(PersonChanged(person_id="anna", team_id="t1", active=True), sequence=1)
    for each in (newer, older):
        async with database.transaction() as tx:
            await events.person_changed(tx, each)
    async with database.read() as reader:
        assert await reader.fetchval("SELECT team_id FROM recipients") == "t2"
