"""Two customers made one with all that is theirs, and taken apart again as if nothing had been (53, 88, 116)."""

import asyncio
import random
from dataclasses import replace

import orjson
import pytest

from breakwater.chassis.errors import (
    BreakwaterError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from services.leads.followups.usecases import change_stage, claim_lead
from services.leads.idempotence import Keyed
from services.leads.intake.changes.store import PostgresChangeReader
from services.leads.intake.changes.usecases import list_changes
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.intake.merges.store import MOVED_TABLES, PostgresMergeStore
from services.leads.intake.merges.usecases import MergeOrder, list_merges, merge_customers, undo_merge
from services.leads.organisation.domain import Person
from services.leads.routing.rerouting import reroute_waiting_leads

pytestmark = pytest.mark.capability(53, 88, 116)

MANAGER = Actor("manager", Role.MANAGER, Scope.ALL)
FANG = LeadDraft("王芳", "官网", company="宁波恒力精密机械有限公司", phone="13812345678")
AGAIN = LeadDraft("王芳", "展会", phone="13812345687", email="fang@hengli.cn")


def keyed(route: str) -> Keyed:
    return Keyed("manager", route, "", b"")


async def merged(leads, kept_id, merged_id, actor=MANAGER, **options):
    """Merges; returns the id of the merge."""
    done = []
    order = MergeOrder(kept_id, merged_id, "同一联系人", **options)
    begin = leads.begin(PostgresMergeStore)
    await merge_customers(
        begin,
        keyed("MergeCustomers"),
        actor,
        order,
        now=leads.clock.now(),
        encode=lambda merge: done.append(merge) or b"",
    )
    return done[0].id


async def undone(leads, customer_id, merge_id, actor=MANAGER):
    begin = leads.begin(PostgresMergeStore)
    request = keyed("UndoMerge")
    await undo_merge(begin, request, actor, customer_id, merge_id, now=leads.clock.now(), encode=lambda _: b"")


async def two(leads):
    """Two customers of one person, each with a lead and an owner of its own."""
    await leads.people(Person("1", "甲"), Person("2", "乙"))
    [first], [second] = await leads.capture(FANG), await leads.capture(AGAIN)
    assert first.owner_id != second.owner_id
    return first, second


async def state(leads):
    """Everything a merge may touch, but what only ever grows: events, decisions, changes, merges."""
    queries = {
        "customers": "SELECT to_jsonb(t) - 'updated_at' FROM customers t ORDER BY id",
        "keys": "SELECT to_jsonb(t) FROM customer_keys t ORDER BY key",
        "leads": "SELECT to_jsonb(t) - 'sequence' FROM leads t ORDER BY id",
        "timers": "SELECT to_jsonb(t) FROM first_touch_timers t ORDER BY lead_id",
        "loads": "SELECT to_jsonb(t) FROM (SELECT person_id, open_leads FROM workloads) t ORDER BY person_id",
        **{table: f"SELECT to_jsonb(t) FROM {table} t ORDER BY id" for table in MOVED_TABLES if table != "leads"},
    }
    return {name: [orjson.loads(row[0]) for row in await leads.rows(sql)] for name, sql in queries.items()}


async def test_a_merge_moves_everything_and_leaves_one_owner(leads) -> None:
    """Leads, keys and open work go to the customer that is kept; its owner gets them, and the decision says why."""
    first, second = await two(leads)
    await merged(leads, first.customer_id, second.customer_id)
    customer = (await leads.rows("SELECT * FROM customers WHERE id = $1", first.customer_id))[0]
    assert (customer["phone"], customer["email"]) == ("+8613812345678", "fang@hengli.cn")
    rows = await leads.rows("SELECT customer_id::text, owner_id FROM leads")
    assert {tuple(row) for row in rows} == {(first.customer_id, first.owner_id)}
    assert await leads.value("SELECT count(DISTINCT customer_id) FROM customer_keys") == 1
    assert await leads.value("SELECT sum(open_leads) FROM workloads WHERE person_id = $1", first.owner_id) == 2
    assert await leads.value("SELECT sum(open_leads) FROM workloads WHERE person_id = $1", second.owner_id) == 0
    events = await leads.events(second.lead_id)
    assert events[-1] == ("LeadAssigned", 3)
    [again] = await leads.capture(replace(AGAIN, name="王女士"))
    assert (again.customer_id, again.owner_id) == (first.customer_id, first.owner_id)


async def test_the_merged_ones_id_leads_to_the_one_that_is_kept(leads) -> None:
    """Whoever has noted it still finds the customer, also after a second merge."""
    first, second = await two(leads)
    [third] = await leads.capture(LeadDraft("王芳", "电话", phone="13900000000"))
    await merged(leads, second.customer_id, third.customer_id)
    await merged(leads, first.customer_id, second.customer_id)
    async with leads.begin_reading() as reader:
        for each in (first, second, third):
            assert (await reader.customer(each.customer_id, None)).id == first.customer_id


async def test_what_the_merged_one_knows_better_is_taken_by_name(leads) -> None:
    """Nothing else is overwritten, and a field nobody has is refused."""
    first, second = await two(leads)
    with pytest.raises(InvalidRequestError, match="cannot be taken") as refused:
        await merged(leads, first.customer_id, second.customer_id, take=("company", "owner"))
    assert [error.field for error in refused.value.errors] == ["take.owner", "take.company"]
    await merged(leads, first.customer_id, second.customer_id, take=("phone",))
    assert await leads.value("SELECT phone FROM customers WHERE id = $1", first.customer_id) == "+8613812345687"


@pytest.mark.parametrize("seed", range(3))
async def test_undoing_restores_exactly_what_was(leads, seed) -> None:
    """Seeded customers with leads in all states, claims, activities and shared owners: before and after are equal."""
    rng = random.Random(seed)
    await leads.people(*(Person(str(number), f"某{number}") for number in range(4)))
    for turn in range(5):
        ids = []
        for side in range(2):
            customer = {"phone": f"138{seed:02d}{turn:03d}{side:03d}"}
            for _ in range(rng.randrange(1, 4)):
                blank = rng.choice(({}, {"email": f"a{seed}{turn}{side}@b.cn"}, {"company": f"恒力{turn}{side}公司"}))
                [captured] = await leads.capture(LeadDraft(f"王{rng.choice('芳强')}", "官网", **customer, **blank))
                await leads.clock.advance(rng.randrange(60))
                await work_on(leads, rng, captured)
            ids.append(captured.customer_id)
            for table, columns in OTHERS.items():
                if rng.random() < 0.7:
                    await add_row(leads, table, columns, captured.customer_id)
        rng.shuffle(ids)
        if rng.random() < 0.3:
            await leads.admin.execute("UPDATE customers SET owner_id = NULL WHERE id = $1", ids[0])
        before = await state(leads)
        merge_id = await merged(leads, *ids)
        assert await state(leads) != before
        await leads.clock.advance(rng.randrange(60))
        await undone(leads, rng.choice(ids), merge_id)
        assert await state(leads) == before, f"turn {turn} of seed {seed}"
        if turn % 2:
            await merged(leads, *ids)


OTHERS = {
    "activities": "kind, subject, direction, purpose, owner_id, occurred_at, duration_s, import_id, refs",
    "opportunities": "name, stage, kind, owner_id, occurred_at, import_id, refs",
    "invoices": "number, subject, status, owner_id, occurred_at, import_id, refs",
}


async def add_row(leads, table, columns, customer_id) -> None:
    values = {"occurred_at": "now()", "duration_s": "1", "refs": "'{}'"}
    listed = ", ".join(values.get(name, "''") for name in columns.split(", "))
    await leads.admin.execute(
        f"INSERT INTO {table} (id, customer_id, {columns}) VALUES (gen_random_uuid(), $1, {listed})", customer_id
    )


async def work_on(leads, rng, captured) -> None:
    """Leaves a lead as it is, claims it, or ends it."""
    how = rng.randrange(3)
    owner = Actor(captured.owner_id, Role.SALES, Scope.OWN)
    now = leads.clock.now()
    if how == 1:
        await claim_lead(leads.begin_work, keyed("ClaimLead"), owner, captured.lead_id, now=now, encode=lambda _: b"")
    if how == 2:
        await change_stage(
            leads.begin_work,
            keyed("ChangeStage"),
            owner,
            captured.lead_id,
            "lost",
            "无预算",
            now=now,
            encode=lambda _: b"",
        )


async def test_whoever_left_gets_no_lead_by_a_merge(leads) -> None:
    """The kept customer's owner may own none any more: the other one's keeps the leads, and gets the customer."""
    first, second = await two(leads)
    await leads.admin.execute("UPDATE leads SET stage = 'lost' WHERE id = $1", first.lead_id)
    gone = {"1": "甲", "2": "乙"}[first.owner_id]
    await leads.people(Person(first.owner_id, gone, active=False))
    before = await state(leads)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    owners = "SELECT owner_id FROM leads WHERE id = $1 UNION ALL SELECT owner_id FROM customers WHERE id = $2"
    rows = await leads.rows(owners, second.lead_id, first.customer_id)
    assert [row["owner_id"] for row in rows] == [second.owner_id] * 2
    await undone(leads, first.customer_id, merge_id)
    assert await state(leads) == before


async def follow_up(leads, lead) -> None:
    """As `create_follow_up` leaves it in the table that a merge moves."""
    await leads.clock.advance(1)
    await leads.admin.execute(
        """
        INSERT INTO follow_ups (id, lead_id, customer_id, author_id, goal, customer_words, next_action, next_action_due,
                                objection, first_touch_at, created_at)
        SELECT $2, id, customer_id, owner_id, '', '', '', $3, '无', $3, $3 FROM leads WHERE id = $1
        """,
        *(lead.lead_id, uuid7(), leads.clock.now()),
    )


async def test_what_was_written_of_a_lead_since_goes_back_with_it(leads) -> None:
    """A follow-up of a lead that the merge did not give to anybody else stays the lead's, and so its customer's."""
    await leads.people(Person("1", "甲"))
    [first], [second] = await leads.capture(FANG), await leads.capture(AGAIN)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    await follow_up(leads, second)
    await undone(leads, first.customer_id, merge_id)
    assert await leads.value("SELECT customer_id::text FROM follow_ups") == second.customer_id


async def test_an_undone_customer_belongs_to_who_has_its_leads_by_now(leads) -> None:
    """Their owner left in between and somebody else has the leads: each of the two customers has one owner."""
    await leads.people(Person("1", "甲"))
    [first], [second] = await leads.capture(FANG), await leads.capture(AGAIN)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    await leads.clock.advance(60)
    await leads.people(Person("1", "甲", active=False), Person("2", "乙"))
    await reroute_waiting_leads(leads.begin_rerouting, now=leads.clock.now(), limit=100)
    await undone(leads, first.customer_id, merge_id)
    rows = await leads.rows(
        "SELECT c.id::text, l.owner_id, c.owner_id AS has FROM leads l JOIN customers c ON c.id = customer_id ORDER BY l.id"
    )
    assert [tuple(row) for row in rows] == [(each.customer_id, "2", "2") for each in (first, second)]


@pytest.mark.parametrize("how", ["claimed", "followed up"])
async def test_a_lead_that_its_new_owner_works_on_is_not_taken_away(leads, how) -> None:
    """Claimed or followed up since: undoing names it and changes nothing."""
    first, second = await two(leads)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    if how == "claimed":
        owner = Actor(first.owner_id, Role.SALES, Scope.OWN)
        now = leads.clock.now()
        await claim_lead(leads.begin_work, keyed("ClaimLead"), owner, second.lead_id, now=now, encode=lambda _: b"")
    else:
        await follow_up(leads, second)
    before = await state(leads)
    with pytest.raises(ConflictError) as refused:
        await undone(leads, first.customer_id, merge_id)
    assert [error.field for error in refused.value.errors] == [f"leads.{second.lead_id}"]
    assert await state(leads) == before


async def test_undoing_is_refused_with_the_name_of_what_changed_since(leads) -> None:
    """A changed field, a lead that was worked on, a lead that came by a key that would go back, a later merge."""
    first, second = await two(leads)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    await leads.capture(replace(AGAIN, name="王女士"))
    await leads.admin.execute("UPDATE customers SET email = 'new@hengli.cn' WHERE id = $1", first.customer_id)
    [third] = await leads.capture(LeadDraft("王芳", "电话", phone="13900000000"))
    later = await merged(leads, first.customer_id, third.customer_id)
    owner = Actor(first.owner_id, Role.SALES, Scope.OWN)
    await change_stage(
        leads.begin_work,
        *(keyed("ChangeStage"), owner, second.lead_id, "lost", "无预算"),
        now=leads.clock.now(),
        encode=lambda _: b"",
    )
    before = await state(leads)
    with pytest.raises(ConflictError) as refused:
        await undone(leads, first.customer_id, merge_id)
    newest = await leads.value("SELECT id::text FROM leads WHERE name = '王女士'")
    assert {error.field for error in refused.value.errors} == {
        "merges",
        "customer.email",
        f"leads.{second.lead_id}",
        f"leads.{newest}",
    }
    assert any(later in error.reason for error in refused.value.errors)
    assert await state(leads) == before


async def test_every_table_of_customers_is_moved_or_named_here(leads) -> None:
    """A table that is added and forgotten would leave its rows with a customer that is none any more."""
    rows = await leads.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'leads' AND column_name = 'customer_id'"
    )
    derived = {"customer_keys", "duplicate_checks", "likenesses"}
    assert {row["table_name"] for row in rows} - derived == set(MOVED_TABLES)


async def test_a_merge_and_leads_that_come_at_once_leave_one_customer(leads) -> None:
    """Whatever comes first: no key is lost, nothing is left behind, one owner."""
    await leads.people(*(Person(str(number), "某人") for number in range(3)))
    other = await leads.another()
    for turn in range(8):
        one = replace(FANG, phone=f"1381111{turn:04d}", company="")
        again = replace(AGAIN, phone=f"1382222{turn:04d}", email="", company="")
        [first], [second] = await leads.capture(one), await leads.capture(again)
        coming = [
            replica.capture(replace(again, email=f"e{number}-{turn}@b.cn"))
            for number, replica in enumerate((leads, other, leads, other))
        ]
        done = await asyncio.gather(
            merged(leads, first.customer_id, second.customer_id), *coming, return_exceptions=True
        )
        if isinstance(done[0], BreakwaterError):
            # It was told to come again.
            assert done[0].code == "transaction_conflict", done[0]
            await merged(leads, first.customer_id, second.customer_id)
        assert [each for each in done[1:] if isinstance(each, BaseException)] == []
        await leads.capture(again)
        left = await leads.value("SELECT count(*) FROM leads WHERE customer_id = $1", second.customer_id)
        keys = await leads.value("SELECT count(*) FROM customer_keys WHERE customer_id = $1", second.customer_id)
        owners = await leads.value(
            "SELECT count(DISTINCT owner_id) FROM leads WHERE customer_id = $1", first.customer_id
        )
        assert (left, keys, owners) == (0, 0, 1), f"turn {turn}"


async def test_who_may_not_see_both_merges_neither(leads) -> None:
    """Another rep's customer is not found, merging with oneself is refused."""
    first, second = await two(leads)
    owner = Actor(first.owner_id, Role.SALES, Scope.OWN)
    with pytest.raises(NotFoundError):
        await merged(leads, first.customer_id, second.customer_id, actor=owner)
    with pytest.raises(InvalidRequestError):
        await merged(leads, first.customer_id, first.customer_id)
    await merged(leads, first.customer_id, second.customer_id)
    with pytest.raises(ConflictError, match="was merged into"):
        await merged(leads, first.customer_id, second.customer_id)
    assert len(await list_merges(leads.begin(PostgresMergeStore), MANAGER, second.customer_id)) == 1


async def test_nobody_takes_a_colleagues_customer_by_merging_it(leads) -> None:
    """An old lead of one's own shows the customer; to merge it, or to undo a merge, one has to be responsible for it."""
    first, second = await two(leads)
    mine = Actor(first.owner_id, Role.SALES, Scope.OWN)
    [old] = await leads.capture(replace(AGAIN, stage=Stage.LOST))
    await leads.admin.execute("UPDATE leads SET owner_id = $2 WHERE id = $1", old.lead_id, first.owner_id)
    for pair in ((first, second), (second, first)):
        with pytest.raises(PermissionDeniedError):
            await merged(leads, *(each.customer_id for each in pair), actor=mine)
    assert await leads.value("SELECT owner_id FROM leads WHERE id = $1", second.lead_id) == second.owner_id
    merge_id = await merged(leads, second.customer_id, first.customer_id)
    with pytest.raises(PermissionDeniedError):
        await undone(leads, second.customer_id, merge_id, actor=mine)


async def test_each_changed_field_says_who_when_from_to_and_why(leads) -> None:
    """Of the customer by the merge, of the lead by routing with its reason."""
    first, second = await two(leads)
    merge_id = await merged(leads, first.customer_id, second.customer_id)
    begin = leads.begin(PostgresChangeReader)
    changes, _ = await list_changes(begin, MANAGER, lead_id="", customer_id=first.customer_id, cursor="", limit=0)
    [email] = [each for each in changes if each.field == "email"]
    assert (email.before, email.after, email.by) == (None, "fang@hengli.cn", "manager")
    assert email.reason == f"合并 {merge_id}：同一联系人"
    changes, more = await list_changes(begin, MANAGER, lead_id=second.lead_id, customer_id="", cursor="", limit=1)
    rest, end = await list_changes(begin, MANAGER, lead_id=second.lead_id, customer_id="", cursor=more, limit=200)
    by_field = {each.field: each for each in (*changes, *rest)}
    assert (by_field["customer_id"].before, by_field["customer_id"].after) == (second.customer_id, first.customer_id)
    assert (by_field["owner_id"].before, by_field["owner_id"].after) == (second.owner_id, first.owner_id)
    assert end == ""
