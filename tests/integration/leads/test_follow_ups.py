"""Follow-ups: complete or refused, read back, made by code, one customer with one owner, measured."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.documents.usecases import get_document, put_document
from services.leads.followups.domain import FollowUp, LiveState
from services.leads.followups.playbook import read_playbook
from services.leads.followups.reading import get_lead_now, get_quality, list_follow_ups
from services.leads.followups.usecases import add_follow_up, add_quick_follow_up, change_stage
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.organisation.domain import Person
from services.leads.pipeline.domain import Activity
from services.leads.pipeline.store import PipelineSql
from services.leads.pipeline.usecases import record as record_pipeline
from services.leads.sla.calendar import Holidays
from services.leads.sla.policies.store import PostgresPolicyStore
from services.leads.sla.policies.usecases import put_policies

OWNER = Actor("1", Role.SALES, Scope.OWN)
COLLEAGUE = Actor("2", Role.SALES, Scope.TEAM)
STRANGER = Actor("3", Role.SALES, Scope.OWN)
BOSS = Actor("boss", Role.MANAGER, Scope.TEAM)
NO_KEY = Keyed("1", "Test", "", b"")


@pytest.fixture
async def owned(leads):
    """A lead that person 1 has; person 2 is in the same team, person 3 in another."""
    await leads.people(
        Person("1", "甲"),
        Person("2", "乙", weight=0),
        Person("3", "丙", team_id="华南", weight=0),
        Person("boss", "主管", team_id="管理", weight=0),
    )
    await leads.admin.execute("UPDATE teams SET supervisor_id = 'boss' WHERE id = 'sales'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    [captured] = await leads.capture(LeadDraft("王芳", "展会", phone="+8613900000001"))
    return captured


def encode(kept) -> bytes:
    return kept.id.encode()


async def record(leads, actor: Actor, lead_id: str, **fields: Any):
    now = leads.clock.now()
    due = now + timedelta(days=1)
    given = FollowUp(**{**dict(zip(("goal", "customer_words", "next_action"), "甲乙丙", strict=True)),
                        "next_action_due": due, "objection": "无", "pain_tags": ("无",), **fields})  # fmt: skip
    return await add_follow_up(leads.begin_work, NO_KEY, actor, lead_id, given, now=now, encode=encode)


async def quick(leads, actor: Actor, lead_id: str, code: str, keyword: str = "", key: Keyed = NO_KEY):
    now = leads.clock.now()
    return await add_quick_follow_up(leads.begin_work, key, actor, lead_id, code, keyword, now=now, encode=encode)


async def listed(leads, actor: Actor, lead_id: str = "", customer_id: str = "", limit: int = 0):
    found, place = [], None
    while True:
        page, place = await list_follow_ups(leads.begin_follow_ups, actor, lead_id, customer_id, place, limit)
        found.extend(page)
        if place is None:
            return found


@pytest.mark.capability(9, 12, 99, 100)
async def test_a_record_is_read_back_complete(leads, owned) -> None:
    """Five columns, objection, tags and process fields; the second keeps the first one's touch and moves the lead."""
    await record(leads, OWNER, owned.lead_id, pain_tags=("ERP替换", "合规审计压力大"))
    first_at = leads.clock.now()
    await leads.clock.advance(60)
    await record(leads, OWNER, owned.lead_id, stage="qualified", goal="报价")
    newest, first = await listed(leads, OWNER, owned.lead_id, limit=1)
    assert (first.record.pain_tags, first.record.source, first.author_name) == (
        ("ERP替换", "合规审计压力大"),
        "展会",
        "甲",
    )
    assert (first.record.first_touch_at, first.record.stage) == (first_at, "new")
    assert (newest.record.first_touch_at, newest.record.stage, newest.record.goal) == (first_at, "qualified", "报价")
    assert await leads.value("SELECT stage FROM leads") == "qualified"
    steps = await leads.rows("SELECT kind, actor_id, to_stage FROM lead_steps ORDER BY id")
    assert [tuple(step) for step in steps] == [("claimed", "1", ""), ("stage_changed", "1", "qualified")]


@pytest.mark.capability(42)
async def test_a_customer_s_follow_ups_are_those_of_the_leads_one_sees(leads, owned) -> None:
    """Whoever owns the customer reads all of them, a stranger finds no such customer."""
    await record(leads, OWNER, owned.lead_id)
    for actor in (OWNER, COLLEAGUE, BOSS):
        assert len(await listed(leads, actor, customer_id=owned.customer_id)) == 1
    with pytest.raises(NotFoundError):
        await listed(leads, STRANGER, customer_id=owned.customer_id)
    await leads.admin.execute("UPDATE customers SET owner_id = '3'")
    await leads.admin.execute("INSERT INTO leads SELECT (jsonb_populate_record(l, $1)).* FROM leads l", _OTHER_LEAD)
    await leads.admin.execute("UPDATE follow_ups SET lead_id = '00000000-0000-7000-8000-000000000001'")
    assert len(await listed(leads, STRANGER, customer_id=owned.customer_id)) == 1
    assert await listed(leads, OWNER, customer_id=owned.customer_id) == []


_OTHER_LEAD = '{"id": "00000000-0000-7000-8000-000000000001", "owner_id": "3"}'


@pytest.mark.capability(60)
async def test_one_code_and_one_keyword_are_a_whole_follow_up(leads, owned) -> None:
    """Time in business hours, name, stage and script are filled; a replay answers the first record."""
    key = Keyed("1", "Quick", "k", b"body")
    first = await quick(leads, OWNER, owned.lead_id, "quote-sent", "ERP替换", key)
    again = await quick(leads, OWNER, owned.lead_id, "quote-sent", "ERP替换", key)
    assert (again.content, again.replayed) == (first.content, True)
    [kept] = await listed(leads, OWNER, owned.lead_id)
    assert (kept.author_name, kept.record.action_code, kept.record.pain_tags) == ("甲", "quote-sent", ("ERP替换",))
    assert (kept.record.stage, kept.record.objection) == ("qualified", "价格")
    # Monday 10:00 and 18 hours of 9 a day: Wednesday 10:00.
    assert kept.record.next_action_due == leads.clock.now() + timedelta(days=2)
    with pytest.raises(InvalidRequestError) as caught:
        await quick(leads, OWNER, owned.lead_id, "no-such-code")
    assert [error.field for error in caught.value.errors] == ["code"]


@pytest.mark.capability(60)
async def test_a_code_works_where_hardly_anybody_does(leads, owned) -> None:
    """Where 27 hours of work take longer than any calendar is counted, the next action is due by the clock on the wall."""
    week = {
        "calendars": [{"team": "sales", "week": {"mon": ["09:00-09:01"]}}],
        "policies": [{"claim_min": 1, "work_min": 2}],
    }
    admin = Actor("admin", Role.ADMIN, Scope.ALL)
    await put_policies(
        partial(PostgresPolicyStore.begin, leads.database), admin, week, 0, holidays=Holidays(), now=leads.clock.now()
    )
    await quick(leads, OWNER, owned.lead_id, "visit-booked")
    [kept] = await listed(leads, OWNER, owned.lead_id)
    assert kept.record.next_action_due == leads.clock.now() + timedelta(hours=27)


@pytest.mark.capability(60)
async def test_every_action_that_is_shipped_makes_a_complete_record(leads, owned) -> None:
    """None is refused by the standards of its own playbook."""
    codes = list(read_playbook((await get_document(leads.begin_playbook, OWNER)).document, 1).actions)
    for code in codes:
        await quick(leads, OWNER, owned.lead_id, code)
    await quick(leads, OWNER, owned.lead_id, "first-call")
    assert await leads.value("SELECT stage FROM leads") == "qualified", "a code moved the lead back"
    assert {kept.record.action_code for kept in await listed(leads, OWNER, owned.lead_id)} == set(codes)


@pytest.mark.capability(10, 60)
async def test_a_new_playbook_is_in_force_for_the_next_record_of_every_replica(leads, owned) -> None:
    """Put by a manager, refused to sales and to whoever has not seen the version in force."""
    other = await leads.another()
    await record(other, OWNER, owned.lead_id)
    kept = await get_document(leads.begin_playbook, OWNER)
    document = {**kept.document, "objections": ["账期"], "actions": []}

    async def put(actor: Actor, expected: int):
        return await put_document(leads.begin_playbook, actor, document, expected, read_playbook, now=leads.clock.now())

    with pytest.raises(PermissionDeniedError):
        await put(OWNER, 1)
    assert (await put(BOSS, 1)).version == 2
    with pytest.raises(ConflictError):
        await put(BOSS, 1)
    with pytest.raises(InvalidRequestError):
        await record(other, OWNER, owned.lead_id)
    await record(other, OWNER, owned.lead_id, objection="账期")


@pytest.mark.capability(116)
async def test_another_rep_s_record_is_refused_with_who_owns_the_customer(leads, owned) -> None:
    """A colleague of the team sees the lead and may not work on it; the supervisor may, a stranger finds nothing."""
    for work in (
        lambda: record(leads, COLLEAGUE, owned.lead_id),
        lambda: quick(leads, COLLEAGUE, owned.lead_id, "quote-sent"),
        lambda: change_stage(
            leads.begin_work, NO_KEY, COLLEAGUE, owned.lead_id, "qualified", "", now=leads.clock.now(), encode=repr
        ),
    ):
        with pytest.raises(ConflictError) as caught:
            await work()
        assert (caught.value.code, "甲（1）" in caught.value.detail) == ("owned_by_another", True)
    with pytest.raises(NotFoundError):
        await record(leads, STRANGER, owned.lead_id)
    await record(leads, BOSS, owned.lead_id)
    assert [kept.author_id for kept in await listed(leads, BOSS, owned.lead_id)] == ["boss"]


@pytest.mark.capability(116)
async def test_whoever_has_the_lead_works_on_it_while_the_customer_s_owner_may_own_none(leads, owned) -> None:
    """The desk that took over from a leaver is not refused for the leaver's sake; where both may, the customer's owner does."""
    await leads.admin.execute("UPDATE leads SET owner_id = '2'")
    with pytest.raises(ConflictError):
        await record(leads, COLLEAGUE, owned.lead_id)
    await leads.admin.execute("UPDATE people SET active = false WHERE id = '1'")
    await leads.admin.execute("UPDATE snapshot_version SET version = nextval('snapshot_versions')")
    await record(leads, COLLEAGUE, owned.lead_id)
    assert [kept.author_id for kept in await listed(leads, BOSS, owned.lead_id)] == ["2"]


@pytest.mark.capability(116)
async def test_while_a_customer_changes_hands_only_its_owner_of_the_moment_records(leads, owned) -> None:
    """Two reps at two replicas quote all the time while the customer goes to and fro: each record is by who had it then."""
    other = await leads.another()
    recorded: list[tuple[str, str]] = []
    changing = True

    async def quote(replica, actor: Actor) -> None:
        while changing:
            try:
                answer = await quick(replica, actor, owned.lead_id, "quote-sent")
            except (ConflictError, NotFoundError):
                continue
            recorded.append((answer.content.decode(), actor.sub))

    async def hand_over(owner: str) -> None:
        async with leads.admin.transaction():
            await leads.admin.execute("UPDATE leads SET owner_id = $1, claimed_at = NULL", owner)
            await leads.admin.execute("UPDATE customers SET owner_id = $1", owner)
            # Whatever was recorded before this moment is here to see: the lead's lock is ours.
            await leads.admin.execute(
                "INSERT INTO seen SELECT f.id, $1 FROM follow_ups f ON CONFLICT DO NOTHING", _BEFORE[owner]
            )

    await leads.admin.execute("CREATE TEMP TABLE seen (id uuid PRIMARY KEY, owner_then text)")
    reps = [asyncio.create_task(quote(leads, OWNER))]
    reps.append(asyncio.create_task(quote(other, Actor("2", Role.SALES, Scope.TEAM))))
    reps.append(asyncio.create_task(quote(other, OWNER)))
    for turn in range(30):
        await hand_over("21"[turn % 2])
    changing = False
    await asyncio.gather(*reps)
    await hand_over("2")
    rows = await leads.rows("SELECT f.author_id, s.owner_then FROM follow_ups f JOIN seen s USING (id)")
    assert len(rows) == len(recorded) == await leads.value("SELECT count(*) FROM follow_ups")
    assert recorded, "nobody recorded anything, so nothing was shown"
    assert [tuple(row) for row in rows if row["author_id"] != row["owner_then"]] == []


_BEFORE = {"1": "2", "2": "1"}


@pytest.mark.capability(104)
async def test_a_lead_s_status_follows_what_is_done(leads, owned) -> None:
    """Unclaimed, working with a next action, overdue when its time has passed, ended: nobody types it."""

    async def status():
        lead, status = await get_lead_now(leads.begin_follow_ups, OWNER, owned.lead_id, now=leads.clock.now())
        assert lead.id == owned.lead_id
        return status

    assert (await status()).state is LiveState.UNCLAIMED
    await record(leads, OWNER, owned.lead_id, next_action="寄样品")
    working = await status()
    assert (working.state, working.last.next_action, working.last.author_id) == (LiveState.WORKING, "寄样品", "1")
    await leads.clock.advance(24 * 3600)
    assert (await status()).overdue
    await record(leads, OWNER, owned.lead_id)
    assert (await status()).state is LiveState.WORKING
    await change_stage(
        leads.begin_work, NO_KEY, OWNER, owned.lead_id, "lost", "选了竞品", now=leads.clock.now(), encode=lambda _: b""
    )
    assert (await status()).state is LiveState.ENDED


@pytest.mark.capability(13, 44)
async def test_the_quality_of_a_period_is_counted_by_person_and_team(leads, owned) -> None:
    """Share with next action and due date, what was done in time, vague words; imported calls have no next action."""
    start = leads.clock.now()
    await record(leads, OWNER, owned.lead_id, next_action="尽快再联系")
    await leads.clock.advance(3600)
    await record(leads, OWNER, owned.lead_id, next_action_due=leads.clock.now() + timedelta(hours=1))
    await leads.clock.advance(2 * 3600)
    await record(leads, BOSS, owned.lead_id)
    async with leads.database.transaction() as tx:
        call = Activity("zoho:call:1", (), "call", start + timedelta(minutes=1), owner_id="1")
        await record_pipeline(PipelineSql(tx), [call], "an-import")
    quality = await get_quality(
        leads.begin_follow_ups, BOSS, start, leads.clock.now() + timedelta(1), now=leads.clock.now()
    )
    people = {each.id: each.counts for each in quality.people}
    assert [each.id for each in quality.people] == ["1", "boss"], "the smallest share comes first"
    mine = people["1"]
    assert (mine.records, mine.planned, mine.share) == (3, 2, 2 / 3)
    assert (mine.due, mine.done_in_time) == (1, 0), "the second was due after an hour and answered after two"
    assert (mine.vague, mine.words) == (1, {"尽快": 1, "再联系": 1})
    assert {each.id: each.counts.records for each in quality.teams} == {"sales": 3, "管理": 1}
    assert (quality.all.records, quality.all.planned) == (4, 3)
    own = await get_quality(leads.begin_follow_ups, OWNER, start, None, now=leads.clock.now())
    assert [each.id for each in own.people] == ["1"]


@pytest.mark.capability(44)
async def test_a_period_is_bounded(leads) -> None:
    """A quarter, and not backwards."""
    now = leads.clock.now()
    for since, until in ((now - timedelta(days=93), now), (now, now)):
        with pytest.raises(InvalidRequestError):
            await get_quality(leads.begin_follow_ups, BOSS, since, until, now=now)
