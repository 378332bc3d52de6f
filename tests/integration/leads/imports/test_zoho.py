"""The real export, as it is: data that nobody here wrote."""

import pytest

from services.leads.intake.imports.domain import ImportLimits
from tests.integration.leads.test_duplicates import checked


@pytest.fixture
def limits() -> ImportLimits:
    """As in production."""
    return ImportLimits()


@pytest.fixture
async def users(platform, zoho):
    """The people of the export."""
    done = await platform.run(zoho("Users"), "zoho-users")
    assert (done.created, done.rejected) == (11, 0)
    return await platform.leads.rows("SELECT id, name FROM people WHERE id LIKE '10%' ORDER BY id")


@pytest.mark.capability(53, 70, 118, 125)
async def test_every_lead_of_the_export_is_taken(platform, zoho, users):
    """3,900 created, none refused; the 225 that are open are routed, each to its imported owner, and no other."""
    done = await platform.run(zoho("Leads"), "zoho")
    assert (done.state, done.rows, done.created, done.merged, done.rejected) == ("completed", 3900, 3900, 0, 0)
    count = platform.leads.value
    stages = await platform.leads.rows("SELECT stage, count(*) FROM leads GROUP BY stage")
    assert dict(stages) == {
        "converted": 3632,
        "contacted": 150,
        "qualified": 50,
        "new": 25,
        "closed": 22,
        "lost": 21,
    }
    assert await count("SELECT count(*) FROM customers") == 3900
    assert await count("SELECT count(*) FROM assignments") == 225
    assert await count("SELECT count(*) FROM first_touch_timers") == 225
    assert await count("SELECT count(*) FROM outbox WHERE type LIKE '%LeadCaptured'") == 3900
    assert await count("SELECT count(*) FROM outbox WHERE type LIKE '%LeadAssigned'") == 225
    assert await count("SELECT count(*) FROM assignments WHERE rule_id = 'keep-imported-owner'") == 225
    assert await count("SELECT count(*) FROM leads WHERE owner_id IS NULL") == 0
    lead = await platform.leads.admin.fetchrow("SELECT * FROM leads WHERE external_id = 'zoho:lead:4563'")
    assert (lead["name"], lead["company"], lead["phone"]) == ("Denson", "Maurice The Pants Man", "+16604850224")
    assert (lead["stage"], lead["source_status"], lead["owner_id"]) == ("converted", "Contacted", "1007")
    assert lead["created_at"].isoformat() == "2021-04-14T16:03:00+00:00"
    # 3,900 different people: whoever finds two of them alike has found what is not there.
    await checked(platform.leads)
    assert await count("SELECT count(*) FROM duplicates") == 0


@pytest.mark.capability(53, 124)
async def test_importing_the_export_again_doubles_nothing(platform, zoho, users):
    """Every row is found again by its id; no lead, customer, assignment or event is added."""
    await platform.run(zoho("Leads"), "zoho")
    before = await platform.counts()
    again = await platform.run(zoho("Leads"), "zoho")
    assert (again.created, again.merged, again.rejected) == (0, 3900, 0)
    after = await platform.counts()
    changed = {name for name, rows in after.items() if rows != before[name] and not name.startswith("outbox_")}
    assert changed == {"imports", "import_reports", "outbox"}
    assert after["outbox"] == before["outbox"] + 1


@pytest.mark.capability(15, 17)
async def test_the_signals_of_the_export_find_their_customers(platform, zoho, users):
    """Contacts, opportunities, calls and invoices link as far as the data says whose they are, with one event each."""
    await platform.run(zoho("Leads"), "zoho")
    count = platform.leads.value

    contacts = await platform.run(zoho("Contacts"), "zoho-contacts")
    assert (contacts.rows, contacts.created, contacts.merged, contacts.rejected) == (1265, 0, 1265, 0)
    assert await count("SELECT count(*) FROM customer_keys WHERE key LIKE 'ref:zoho:contact:%'") == 1265
    assert await count("SELECT count(*) FROM customer_keys WHERE key LIKE 'ref:zoho:account:%'") == 1265

    potentials = await platform.run(zoho("Potentials"), "zoho-potentials")
    assert (potentials.rows, potentials.created, potentials.unlinked, potentials.rejected) == (3632, 3632, 0, 0)
    assert await count("SELECT count(*) FROM outbox WHERE type LIKE '%OpportunityChanged'") == 3632

    calls = await platform.run(zoho("Calls"), "zoho-calls")
    assert (calls.rows, calls.created, calls.unlinked, calls.rejected) == (4100, 4100, 1800, 0)
    assert await count("SELECT count(*) FROM activities WHERE customer_id IS NOT NULL") == 2300
    assert await count("SELECT count(*) FROM outbox WHERE type LIKE '%ActivityRecorded'") == 2300

    invoices = await platform.run(zoho("Invoices"), "zoho-invoices")
    assert (invoices.rows, invoices.created, invoices.unlinked, invoices.rejected) == (1300, 1300, 0, 0)
    assert await count("SELECT count(*) FROM invoices WHERE amount IS NULL") == 270
    assert await count("SELECT sum(amount) FROM invoices WHERE external_id = 'zoho:invoice:23000411'") == 21042


@pytest.mark.capability(15)
async def test_the_order_of_the_files_does_not_matter(platform, zoho, users):
    """Calls that came before anybody knew their contacts are linked, once, as soon as the contacts are there."""
    calls = await platform.run(zoho("Calls"), "zoho-calls")
    assert calls.unlinked == 4100
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%ActivityRecorded'") == 0
    await platform.run(zoho("Leads"), "zoho")
    assert await platform.leads.value("SELECT count(*) FROM activities WHERE customer_id IS NOT NULL") == 170
    await platform.run(zoho("Contacts"), "zoho-contacts")
    assert await platform.leads.value("SELECT count(*) FROM activities WHERE customer_id IS NOT NULL") == 2300
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%ActivityRecorded'") == 2300
