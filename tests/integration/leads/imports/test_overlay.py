"""A dirty file with a known answer, imported for real."""

from collections import defaultdict

import pytest

from tests.integration.leads.imports.conftest import ADMIN
from tests.support.dirty_overlay import dirty_overlay


@pytest.mark.capability(53, 70, 124)
@pytest.mark.parametrize(("seed", "encoding"), [(1, "gbk"), (2, "utf-8-sig"), (3, "utf-16"), (4, "gb18030")])
async def test_the_dirty_overlay_comes_out_as_its_key_says(platform, seed, encoding):
    """Every row is taken or refused for the field the key names; people in disguise become one customer each."""
    overlay = dirty_overlay(seed)
    done = await platform.run(overlay.text.encode(encoding))
    assert (done.state, done.failure) == ("completed", "")
    assert (done.rows, done.rows_done) == (600, 600)
    assert {each.row: each.field for each in await platform.rejections(done.id)} == overlay.refused
    assert (done.created, done.rejected) == (len(overlay.taken), len(overlay.refused))

    report, cursor = [], ""
    while page := await platform.imports.report(ADMIN, done.id, cursor):
        report += page[0]
        if not (cursor := page[1]):
            break
    assert [row.row for row in report] == [answer.row for answer in overlay.answers]
    assert {row.row: row.field for row in report if row.outcome == "rejected"} == overlay.refused
    assert all(row.reason for row in report if row.outcome == "rejected")
    lead_ids = {str(row["id"]) for row in await platform.leads.rows("SELECT id FROM leads")}
    assert {row.id for row in report if row.outcome == "created"} == lead_ids

    leads = await platform.leads.rows("SELECT customer_id, budget FROM leads ORDER BY id")
    assert [lead["budget"] for lead in leads] == [answer.budget for answer in overlay.taken]
    customers = defaultdict(set)
    for lead, answer in zip(leads, overlay.taken, strict=True):
        customers[answer.person].add(lead["customer_id"])
    assert {len(ids) for ids in customers.values()} == {1}, "one person became several customers"
    assert len(set.union(*customers.values())) == len(customers), "several people became one customer"
    assert await platform.leads.value("SELECT count(*) FROM customers") == len(customers)
