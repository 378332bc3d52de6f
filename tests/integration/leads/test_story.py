"""One call for a customer's whole story (15): everything, by time, page by page, for those who may read it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from breakwater.chassis.errors import InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.followups.usecases import add_quick_follow_up, change_stage
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.intake.merges.domain import Merge
from services.leads.intake.merges.store import PostgresMergeStore
from services.leads.intake.merges.usecases import MergeOrder, merge_customers, undo_merge
from services.leads.organisation.domain import Person
from services.leads.pipeline.domain import Activity, Invoice, Opportunity
from services.leads.pipeline.store import PipelineSql
from services.leads.pipeline.usecases import record
from services.leads.sla.usecases import fire_due_timers
from services.leads.story.usecases import get_story
from services.leads.tagging.usecases import NewText, add_transcript

pytestmark = pytest.mark.capability(15)

OWNER = Actor("1", Role.SALES, Scope.OWN)
SUPERVISOR = Actor("sales-supervisor", Role.MANAGER, Scope.TEAM)
STRANGER = Actor("3", Role.SALES, Scope.OWN)
EVERYTHING = Actor("audit", Role.SERVICE, Scope.ALL)
NO_KEY = Keyed("1", "Test", "", b"")


async def work(leads, lead_id: str, *, actor: Actor = OWNER) -> None:
    now = leads.clock.now()
    await add_quick_follow_up(
        leads.begin_work, NO_KEY, actor, lead_id, "first-call", "ERP替换", now=now, encode=lambda kept: kept.id.encode()
    )
    await leads.clock.advance(60)


@pytest.fixture
async def customer(leads):
    """A customer with something of every kind, told in the order it happened."""
    await leads.people(Person("1", "甲"), Person("3", "丙", team_id="华南", weight=0))
    [captured] = await leads.capture(LeadDraft("王芳", "展会", phone="+8613900000001", external_id="zoho:lead:1"))
    await leads.clock.advance(16 * 60)
    await fire_due_timers(leads.begin_timers, now=leads.clock.now(), limit=10)
    await work(leads, captured.lead_id)
    await add_transcript(
        leads.begin_transcripts,
        NO_KEY,
        OWNER,
        captured.lead_id,
        NewText("chat", "先发报价，要等老板批", None),
        now=leads.clock.now(),
        encode=lambda kept, _: kept.id.encode(),
    )
    await leads.clock.advance(60)
    await leads.admin.execute(
        "INSERT INTO sla_pauses VALUES ($1, $2, '1', '客户出差', $3, '1')",
        captured.lead_id,
        leads.clock.now(),
        leads.clock.now() + timedelta(seconds=30),
    )
    await leads.clock.advance(60)
    at, refs = leads.clock.now(), ("zoho:lead:1",)
    async with leads.database.transaction() as tx:
        await record(
            PipelineSql(tx), [Activity("zoho:call:1", refs, "call", at, subject="回访", owner_id="1")], "an-import"
        )
        deal = Opportunity(
            "zoho:deal:1", refs, "Proposal", at + timedelta(seconds=1), name="年框", amount=Decimal("50000.00")
        )
        await record(PipelineSql(tx), [deal], "an-import")
        bill = Invoice("zoho:bill:1", refs, "Paid", at + timedelta(seconds=2), number="INV-1", amount=Decimal("9.50"))
        await record(PipelineSql(tx), [bill], "an-import")
    await leads.clock.advance(60)
    return captured


async def whole(leads, customer_id: str, actor: Actor = OWNER, *, order: str = "", limit: int = 0):
    told, place = [], None
    while True:
        page, place = await get_story(leads.begin_story, actor, customer_id, order, place, limit, now=leads.clock.now())
        told.extend(page)
        if place is None:
            return told


async def test_everything_that_happened_is_told_in_its_order(leads, customer) -> None:
    """Leads, decisions, lateness, work, texts, pauses, calls, deals and bills, each in a sentence people read."""
    story = await whole(leads, customer.customer_id)
    kinds = [each.entry.kind for each in story]
    assert sorted(kinds[:2]) == ["assigned", "lead_captured"], "one moment"
    assert kinds[2] == "overdue"
    assert sorted(kinds[3:6]) == ["claimed", "follow_up", "stage_changed"], "one moment"
    assert sorted(kinds[6:8]) == ["stage_changed", "transcript"], "one moment"
    assert kinds[8:] == ["paused", "resumed", "activity", "opportunity", "invoice"]
    sentences = {each.entry.kind: each.sentence for each in story}
    assert sentences["lead_captured"] == "线索进入：王芳（展会）"
    assert sentences["assigned"].startswith("分配给甲：")
    assert sentences["overdue"] == "甲超时未领取"
    assert sentences["follow_up"] == "甲跟进：了解需求；客户：已接通:ERP替换；下一步：发送资料并约下次沟通"
    assert sentences["transcript"] == "甲记录chat：先发报价，要等老板批（要等老板批、报价）"
    assert sentences["stage_changed"] == "阶段 contacted → qualified：群聊关键词：报价"
    assert sentences["paused"] == "甲暂停计时：客户出差"
    assert sentences["opportunity"] == "商机 年框：Proposal，金额 50000.00"
    assert sentences["invoice"] == "发票 INV-1：Paid，金额 9.50"
    assert [each.entry.at for each in story] == sorted(each.entry.at for each in story)


async def test_pages_are_the_story_whatever_their_size_and_order(leads, customer) -> None:
    """No entry is missed or told twice where many are of one moment; the newest first is the same backwards."""
    for _ in range(3):
        await work(leads, customer.lead_id)
    story = [each.entry for each in await whole(leads, customer.customer_id)]
    assert len({entry.id for entry in story}) == len(story) == 16
    for limit in (1, 2, 3, 7):
        assert [each.entry for each in await whole(leads, customer.customer_id, limit=limit)] == story
        backwards = await whole(leads, customer.customer_id, order="newest", limit=limit)
        assert [each.entry for each in backwards] == story[::-1]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_what_is_recorded_while_one_reads_is_not_of_the_story(leads, customer, order) -> None:
    """Later pages tell what was there when the first was asked for, also of what is said to have happened long ago."""
    before = {each.entry.id for each in await whole(leads, customer.customer_id)}
    first, place = await get_story(
        leads.begin_story, OWNER, customer.customer_id, order, None, 2, now=leads.clock.now()
    )
    await work(leads, customer.lead_id)
    async with leads.database.transaction() as tx:
        for minutes in (-1_000_000, 5, 30, 1_000_000):
            late = Activity("", ("zoho:lead:1",), "call", leads.clock.now() + timedelta(minutes=minutes))
            await record(PipelineSql(tx), [late], "an-import")
    rest, place = await get_story(
        leads.begin_story, OWNER, customer.customer_id, "", place, 1_000, now=leads.clock.now()
    )
    assert place is None
    assert {each.entry.id for each in (*first, *rest)} == before
    assert len(await whole(leads, customer.customer_id)) > len(before)


@pytest.mark.capability(42, 116)
async def test_a_story_is_for_those_who_may_know_the_customer(leads, customer) -> None:
    """Its owner, who leads them, and services read all of it; a stranger finds nothing; with one lead one reads that lead's."""
    story = [each.entry for each in await whole(leads, customer.customer_id)]
    for actor in (SUPERVISOR, EVERYTHING):
        assert [each.entry for each in await whole(leads, customer.customer_id, actor)] == story
    for unknown in (customer.customer_id, "x", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(NotFoundError):
            await whole(leads, unknown, STRANGER)
    await leads.admin.execute("INSERT INTO leads SELECT (jsonb_populate_record(l, $1)).* FROM leads l", _OTHER_LEAD)
    theirs = [each.entry for each in await whole(leads, customer.customer_id, STRANGER)]
    assert [(entry.kind, entry.lead_id) for entry in theirs] == [
        ("lead_captured", "00000000-0000-7000-8000-000000000001")
    ]


_OTHER_LEAD = '{"id": "00000000-0000-7000-8000-000000000001", "owner_id": "3", "external_id": "zoho:lead:2"}'


async def test_after_a_handover_the_new_owner_reads_what_the_old_one_did(leads, customer) -> None:
    """The supervisor takes the customer over; the story goes with it and away from who had it."""
    await leads.admin.execute("UPDATE leads SET owner_id = '3'")
    await leads.admin.execute("UPDATE customers SET owner_id = '3'")
    assert any(each.actor_name == "甲" for each in await whole(leads, customer.customer_id, STRANGER))
    with pytest.raises(NotFoundError):
        await whole(leads, customer.customer_id, OWNER)


@pytest.mark.capability(53, 88)
async def test_changes_and_merges_are_part_of_the_story(leads, customer) -> None:
    """Who changed which field; the merged one's story goes on with whom it was merged into, and parts again with it."""
    await change_stage(
        leads.begin_work,
        NO_KEY,
        OWNER,
        customer.lead_id,
        "lost",
        "选了竞品",
        now=leads.clock.now(),
        encode=lambda _: b"",
    )
    await leads.admin.execute("UPDATE leads SET company = '恒力', owner_id = owner_id WHERE id = $1", customer.lead_id)
    story = await whole(leads, customer.customer_id)
    [changed] = [each for each in story if each.entry.kind == "field_changed"]
    assert (changed.sentence, changed.entry.lead_id) == ("系统修改 company：— → 恒力", customer.lead_id)
    assert await leads.value("SELECT count(*) FROM changes WHERE field = 'stage' AND changed_by = '1'") > 0

    [other] = await leads.capture(LeadDraft("王芳", "官网", phone="+8613900000002"))
    theirs = {each.entry.id for each in await whole(leads, other.customer_id, EVERYTHING)}
    done: list[Merge] = []
    begin, request = leads.begin(PostgresMergeStore), Keyed("audit", "Merge", "", b"")
    order = MergeOrder(customer.customer_id, other.customer_id, "同一联系人")
    await merge_customers(
        begin, request, EVERYTHING, order, now=leads.clock.now(), encode=lambda merge: done.append(merge) or b""
    )
    together = await whole(leads, other.customer_id, EVERYTHING)
    assert theirs < {each.entry.id for each in together}
    assert [each.sentence for each in together if each.entry.kind == "merged"] == ["audit合并重复客户：同一联系人"]
    assert [each.entry for each in await whole(leads, customer.customer_id, EVERYTHING)] == [
        each.entry for each in together
    ]
    for limit in (1, 4):
        paged = await whole(leads, customer.customer_id, EVERYTHING, limit=limit)
        assert [each.entry.id for each in paged] == [each.entry.id for each in together]

    now = leads.clock.now()
    await undo_merge(begin, request, EVERYTHING, customer.customer_id, done[0].id, now=now, encode=lambda _: b"")
    apart = await whole(leads, customer.customer_id, EVERYTHING)
    assert [each.sentence for each in apart if each.entry.kind == "merge_undone"] == ["audit撤销合并"]
    assert theirs <= {each.entry.id for each in await whole(leads, other.customer_id, EVERYTHING)}


async def test_an_import_that_ends_a_lead_is_a_step_of_its_history(leads, customer) -> None:
    """The source says that it is lost: nobody in particular did it, and the reason says where it comes from."""
    await leads.capture(LeadDraft("王芳", "展会", external_id="zoho:lead:1", stage=Stage.LOST))
    [ended] = [each for each in await whole(leads, customer.customer_id) if each.entry.detail.get("to_stage") == "lost"]
    assert ended.sentence == "阶段 qualified → lost：导入的状态"


@pytest.mark.parametrize(("order", "limit"), [("sideways", 0), ("", 1_001), ("", -1)])
async def test_a_page_has_limits(leads, customer, order, limit) -> None:
    """Refused by name."""
    with pytest.raises(InvalidRequestError) as caught:
        await get_story(leads.begin_story, OWNER, customer.customer_id, order, None, limit, now=leads.clock.now())
    assert [error.field for error in caught.value.errors] == ["order" if order else "limit"]
