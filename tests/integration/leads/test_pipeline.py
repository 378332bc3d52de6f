"""Records of other systems: kept once, told when they change, linked when their customer is known."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from breakwater.leads.v1.events_pb2 import InvoiceRecorded, OpportunityChanged
from services.leads.intake.domain import LeadDraft
from services.leads.pipeline.domain import Activity, Invoice, Opportunity, Recorded
from services.leads.pipeline.store import PipelineSql
from services.leads.pipeline.usecases import LINK_ROWS_MAX, LinkPlace, link_waiting, record

AT = datetime(2021, 4, 20, tzinfo=UTC)


@pytest.fixture
def keep(leads):
    """Keeps records in a transaction of their own."""

    async def keep_in_one_transaction(*records):
        async with leads.database.transaction() as tx:
            return await record(PipelineSql(tx), records, "an-import")

    return keep_in_one_transaction


@pytest.fixture
def link(leads):
    """Links what waits, portion by portion; how many portions it took."""

    async def link_everything():
        place, portions = LinkPlace(), 0
        while place is not None:
            async with leads.database.transaction() as tx:
                place = await link_waiting(PipelineSql(tx), place)
            portions += 1
        return portions

    return link_everything


@pytest.fixture
async def customer_id(leads):
    """A customer known as zoho:lead:1."""
    [captured] = await leads.capture(LeadDraft(name="张伟", source="展会", external_id="zoho:lead:1"))
    return captured.customer_id


def invoice(**changes):
    values = {"external_id": "zoho:invoice:1", "refs": ("zoho:contact:9", "zoho:lead:1"), "status": "Created"}
    values |= {"occurred_at": AT, "amount": Decimal("21042.50")}
    return Invoice(**values | changes)


async def events(leads, message_type):
    rows = await leads.rows(
        "SELECT subject_id, sequence, payload FROM outbox WHERE type = $1 ORDER BY position",
        message_type.DESCRIPTOR.full_name,
    )
    return [(row["subject_id"], row["sequence"], message_type.FromString(row["payload"])) for row in rows]


@pytest.mark.capability(15, 17)
async def test_a_record_belongs_to_the_first_customer_its_ids_name(leads, keep, customer_id):
    """An id nobody knows is passed over; the event carries customer, exact amount and status."""
    assert await keep(invoice()) == Recorded(created=1, merged=0, unlinked=0)
    [(subject_id, sequence, event)] = await events(leads, InvoiceRecorded)
    assert (subject_id, sequence) == (event.invoice_id, 1)
    assert (event.customer_id, event.amount, event.status) == (customer_id, "21042.50", "Created")
    assert event.occurred_at.ToDatetime(UTC) == AT


@pytest.mark.capability(15)
async def test_a_record_that_comes_again_is_told_only_when_it_changed(leads, keep, customer_id):
    """The same twice is nothing new; another status is one more event of the same record, later in sequence."""
    await keep(invoice())
    assert await keep(invoice()) == Recorded(created=0, merged=1, unlinked=0)
    await keep(invoice(status="Approved"))
    told = [(sequence, event.status) for _, sequence, event in await events(leads, InvoiceRecorded)]
    assert told == [(1, "Created"), (2, "Approved")]
    assert await leads.value("SELECT count(*) FROM invoices") == 1


async def test_of_a_record_twice_in_one_chunk_the_later_counts(leads, keep, customer_id):
    """One row, one event, the newest values; the earlier row counts as merged."""
    assert await keep(invoice(), invoice(status="Approved")) == Recorded(created=1, merged=1, unlinked=0)
    assert [event.status for _, _, event in await events(leads, InvoiceRecorded)] == ["Approved"]


async def test_records_without_an_id_are_kept_each(leads, keep, customer_id):
    """Nothing says that two of them are the same."""
    assert (await keep(invoice(external_id=""), invoice(external_id=""))).created == 2


async def test_what_a_source_does_not_know_stays_unknown(leads, keep, customer_id):
    """No amount is no zero; a probability of nothing is 0 on the wire and NULL in the table."""
    await keep(invoice(amount=None))
    opportunity = Opportunity("zoho:potential:1", ("zoho:lead:1",), "Qualification", AT)
    await keep(opportunity)
    [(_, _, event)] = await events(leads, InvoiceRecorded)
    assert event.amount == ""
    [(_, _, event)] = await events(leads, OpportunityChanged)
    assert (event.amount, event.probability, event.stage) == ("", 0, "Qualification")
    assert await leads.value("SELECT probability IS NULL FROM opportunities")


@pytest.mark.capability(15)
async def test_what_waits_is_linked_once_its_customer_is_known(leads, keep, link):
    """Unlinked records are kept and told to nobody; when the customer comes, each is linked and told, once."""
    waiting = [Activity(f"zoho:call:{n}", ("zoho:lead:1",), "call", AT) for n in range(LINK_ROWS_MAX + 30)]
    strangers = [Activity(f"zoho:call:x{n}", ("zoho:lead:2",), "call", AT) for n in range(20)]
    assert await keep(*waiting, *strangers) == Recorded(created=len(waiting) + 20, merged=0, unlinked=len(waiting) + 20)
    await link()
    told = "SELECT count(*) FROM outbox WHERE type LIKE '%ActivityRecorded'"
    assert await leads.value(told) == 0

    await leads.capture(LeadDraft(name="张伟", source="展会", external_id="zoho:lead:1"))
    assert await link() == 4, "two portions of activities, one of each other kind"
    assert await leads.value("SELECT count(*) FROM activities WHERE customer_id IS NOT NULL") == len(waiting)
    assert await leads.value(told) == len(waiting)
    await link()
    assert await leads.value(told) == len(waiting)


async def test_a_link_is_not_lost_when_the_record_comes_again_without_it(leads, keep, customer_id):
    """A later export that names another system's id only does not unlink what is linked."""
    await keep(invoice())
    await keep(invoice(refs=("zoho:contact:9",), status="Approved"))
    assert str(await leads.value("SELECT customer_id FROM invoices")) == customer_id
