"""Customers that look alike are found after they came, listed with the reasons, and decided once."""

from dataclasses import replace
from functools import partial

import pytest

from breakwater.chassis.errors import NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.idempotence import Keyed
from services.leads.intake.domain import LeadDraft
from services.leads.intake.duplicates.domain import Thresholds
from services.leads.intake.duplicates.store import PostgresCheckStore, PostgresDismissStore, PostgresDuplicateReader
from services.leads.intake.duplicates.usecases import Asked, dismiss_duplicate, find_duplicates, list_duplicates
from services.leads.intake.duplicates.worker import DuplicatesWorker
from services.leads.intake.merges.store import PostgresMergeStore
from services.leads.intake.merges.usecases import undo_merge
from tests.support.likeness_overlay import held_against_the_key, likeness_overlay

pytestmark = pytest.mark.capability(53, 70, 124)

MANAGER = Actor("manager", Role.MANAGER, Scope.ALL)
FANG = LeadDraft("王芳", "官网", company="宁波恒力精密机械有限公司", phone="13812345678", email="wangfang@qq.com")
SLIPPED = LeadDraft("王芳", "展会", phone="13812345687")


def worker(leads):
    return DuplicatesWorker(
        partial(PostgresCheckStore.begin, leads.database),
        leads.begin(PostgresMergeStore),
        Thresholds(),
        leads.clock,
        poll_s=1,
        batch_size_max=50,
        work_share=0.2,
    )


async def checked(leads):
    """Compares until nothing is left to compare."""
    checking = worker(leads)
    for _ in range(1_000):
        if not await checking.step():
            return
    raise AssertionError("there is always more to compare")


async def listed(leads, customer_id, actor=MANAGER):
    return await list_duplicates(leads.begin(PostgresDuplicateReader), actor, customer_id)


async def test_a_slip_of_the_hand_is_listed_for_both_with_its_reasons(leads) -> None:
    """Same name, two digits swapped: a person is asked, and told why."""
    [first], [second] = await leads.capture(FANG), await leads.capture(SLIPPED)
    assert first.customer_id != second.customer_id
    await checked(leads)
    for one, other in ((first, second), (second, first)):
        [found] = await listed(leads, one.customer_id)
        assert (found.other.id, found.state) == (other.customer_id, "suspected")
        assert [(reason.field, reason.text) for reason in found.judgement.reasons] == [
            ("name", "姓名相同"),
            ("phone", "电话差一位"),
        ]


async def test_two_that_come_in_one_batch_are_compared_with_each_other(leads) -> None:
    """Neither was there before the other."""
    first, second = await leads.capture(FANG, SLIPPED)
    await checked(leads)
    assert [each.other.id for each in await listed(leads, first.customer_id)] == [second.customer_id]


async def test_a_dismissed_pair_is_not_found_again(leads) -> None:
    """Somebody has looked; a later change asks nobody a second time."""
    [first], [second] = await leads.capture(FANG), await leads.capture(SLIPPED)
    await checked(leads)
    begin = leads.begin(PostgresDismissStore)
    await dismiss_duplicate(begin, MANAGER, first.customer_id, second.customer_id, now=leads.clock.now())
    await leads.capture(replace(SLIPPED, company="恒力精密机械"))
    await checked(leads)
    assert await listed(leads, first.customer_id) == []


async def test_what_is_suspected_no_more_is_listed_no_more(leads) -> None:
    """A record that learns its company speaks for itself: another company's 王芳 is another one."""
    [first], [second] = await leads.capture(FANG), await leads.capture(SLIPPED)
    await checked(leads)
    await leads.capture(replace(SLIPPED, company="青岛远创软件"))
    await checked(leads)
    assert await listed(leads, first.customer_id) == await listed(leads, second.customer_id) == []


async def test_what_is_the_same_is_merged_without_asking_and_an_undone_merge_is_not_done_again(leads) -> None:
    """The record that was there first is kept; the reason is told; who undoes it has decided."""
    [first] = await leads.capture(FANG)
    [second] = await leads.capture(replace(SLIPPED, company="恒力精密机械"))
    await checked(leads)
    row = (await leads.rows("SELECT id::text, kept_id::text, merged_by, reason FROM merges"))[0]
    assert (row["kept_id"], row["merged_by"]) == (first.customer_id, "duplicates")
    assert row["reason"] == "判定为同一客户（95 分）：姓名相同，公司名相同，一方未写地区，电话差一位"
    request = Keyed("manager", "UndoMerge", "", b"")
    begin = leads.begin(PostgresMergeStore)
    await undo_merge(
        begin, request, MANAGER, second.customer_id, row["id"], now=leads.clock.now(), encode=lambda _: b""
    )
    await checked(leads)
    assert await leads.value("SELECT count(*) FROM merges") == 1
    assert await listed(leads, first.customer_id) == []


async def test_who_may_not_see_a_customer_is_told_nothing_of_its_likes(leads) -> None:
    """Another's customer is not found, and who is nobody's is nobody's to dismiss."""
    [first], [second] = await leads.capture(FANG), await leads.capture(SLIPPED)
    await checked(leads)
    stranger = Actor("stranger", Role.SALES, Scope.OWN)
    with pytest.raises(NotFoundError):
        await listed(leads, first.customer_id, stranger)
    begin = leads.begin(PostgresDismissStore)
    with pytest.raises(NotFoundError):
        await dismiss_duplicate(begin, stranger, first.customer_id, second.customer_id, now=leads.clock.now())
    assert len(await listed(leads, first.customer_id)) == 1


async def test_asked_before_entry_it_names_exact_and_alike_ones(leads) -> None:
    """By phone in any form, or by what is nearly the same; nothing is written."""
    [first] = await leads.capture(FANG)
    await checked(leads)
    begin = leads.begin(PostgresDuplicateReader)
    for asked, verdict in (
        (Asked("王芳", company="恒力精密机械", phone="+86 138-1234-5678"), "same"),
        (Asked("王总", company="宁波市恒力精密机械", phone="13812345679"), "suspected"),
    ):
        [found] = await find_duplicates(begin, MANAGER, asked, Thresholds())
        assert (found.other.id, found.verdict) == (first.customer_id, verdict)
    assert await find_duplicates(begin, MANAGER, Asked("李强", phone="13812345679"), Thresholds()) == []
    assert await leads.value("SELECT count(*) FROM customers") == 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_precision_and_recall_on_a_seeded_overlay(leads, seed) -> None:
    """Of people who come again in disguise among namesakes, colleagues and sister companies: 99.5 % and 98 %."""
    records = likeness_overlay(seed, 400)
    captured = []
    for record in records:
        draft = LeadDraft(record.name, "-", company=record.company, phone=record.phone, email=record.email)
        captured += await leads.capture(draft)
    await checked(leads)
    pairs = await leads.rows(
        "SELECT low_id::text, high_id::text, CASE state WHEN 'merged' THEN 'same' ELSE state END FROM duplicates"
    )
    quality = held_against_the_key(records, [each.customer_id for each in captured], [tuple(row) for row in pairs])
    assert quality.again > 200
    assert quality.precision >= 0.995, f"{quality}: {quality.wrong[:5]}"
    assert quality.precision_of_one >= 0.995, f"{quality}: {quality.wrongly_one[:5]}"
    assert quality.recall >= 0.98, f"{quality}: {quality.missed[:5]}"
