"""Imports that are killed, taken over, stolen and poisoned: every row once, every refusal listed."""

import asyncio
import io
from dataclasses import replace

import openpyxl
import orjson
import pytest
from structlog.testing import capture_logs

from breakwater.chassis.errors import NotFoundError
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.fields import Dataset
from services.leads.intake.imports.runner import LEASES_IN_VAIN_MAX, ImportRunner, LeaseLostError
from services.leads.intake.imports.targets import TARGETS, LeadTarget
from services.leads.organisation.domain import Person
from tests.integration.leads.imports.conftest import ADMIN, KilledError

ROWS = 220
GOOD = [(f"客户{n}", f"1380000{n:04d}", "展会" if n % 3 else "官网") for n in range(ROWS)]
BAD_ROWS = {30, 77, 150}
"""By row number; they have no source."""
TABLE = [("姓名", "手机", "来源"), *((n, p, "" if i + 2 in BAD_ROWS else s) for i, (n, p, s) in enumerate(GOOD))]
CSV = "".join(",".join(row) + "\r\n" for row in TABLE).encode("gb18030")
CREATED = ROWS - len(BAD_ROWS)


def xlsx() -> bytes:
    book = openpyxl.Workbook()
    for row in TABLE:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def killed_at(point: str, occurrence: int = 1):
    """A checkpoint that kills when `point` is reached for the so-many-th time."""
    seen = []

    def checkpoint(name: str) -> None:
        seen.append(name)
        if name == point and seen.count(name) == occurrence:
            raise KilledError(name)

    return checkpoint


async def expect_everything_once(platform, import_id: str) -> None:
    """Each good row is one lead with one owner, one timer and one of each event; each bad row is listed; no file is left."""
    done = await platform.imports.get(ADMIN, import_id)
    assert (done.state, done.failure) == ("completed", "")
    assert (done.rows, done.rows_done, done.created, done.merged, done.rejected) == (
        ROWS,
        ROWS,
        CREATED,
        0,
        len(BAD_ROWS),
    )
    assert {each.row for each in await platform.rejections(import_id)} == BAD_ROWS
    count = platform.leads.value
    assert await count("SELECT count(*) FROM leads") == CREATED
    assert await count("SELECT count(DISTINCT phone) FROM leads") == CREATED
    assert await count("SELECT count(*) FROM customers") == CREATED
    assert await count("SELECT count(*) FROM assignments") == CREATED
    assert await count("SELECT count(*) FROM first_touch_timers") == CREATED
    assert await count("SELECT sum(open_leads) FROM workloads") == CREATED
    for event, wanted in (("LeadCaptured", CREATED), ("LeadAssigned", CREATED), ("ImportCompleted", 1)):
        assert await count("SELECT count(*) FROM outbox WHERE type = 'breakwater.leads.v1.' || $1", event) == wanted
    assert await count("SELECT count(*) FROM import_pieces") == 0


@pytest.mark.capability(53, 70)
@pytest.mark.parametrize("file", ["csv", "xlsx"])
@pytest.mark.parametrize(
    ("point", "occurrence"),
    [
        ("taken", 1),
        ("converted", 1),
        ("counted", 1),
        ("chunk_written", 1),
        ("chunk_committed", 1),
        ("chunk_written", 3),
        ("chunk_committed", 3),
        ("chunk_written", 5),
        ("chunk_committed", 5),
        ("linked", 1),
        ("finished", 1),
    ],
)
async def test_a_killed_import_goes_on_where_it_was(platform, file, point, occurrence):
    """Killed at any named point, taken over when the lease has expired: every row once, every refusal listed."""
    content = CSV if file == "csv" else xlsx()
    started, _ = await platform.start(content, filename=f"leads.{file}")
    if file == "csv" and point == "converted":
        assert await platform.runner(killed_at(point)).run_one(), "a CSV file is not converted"
    else:
        with pytest.raises(KilledError):
            await platform.runner(killed_at(point, occurrence)).run_one()
        if point != "finished":
            assert not await platform.runner().run_one(), "the dead process still has its lease"
            await platform.leads.clock.advance(platform.limits.lease_s)
            assert await platform.runner().run_one()
    await expect_everything_once(platform, started.id)


@pytest.mark.capability(53)
async def test_an_import_killed_again_and_again_ends(platform):
    """Each process gets one chunk further; no row is lost or doubled on the way."""
    started, _ = await platform.start(CSV)
    for _ in range(4):
        with pytest.raises(KilledError):
            await platform.runner(killed_at("chunk_committed")).run_one()
        with pytest.raises(KilledError):
            await platform.leads.clock.advance(platform.limits.lease_s)
            await platform.runner(killed_at("chunk_written")).run_one()
        await platform.leads.clock.advance(platform.limits.lease_s)
    assert await platform.runner().run_one()
    await expect_everything_once(platform, started.id)


@pytest.mark.capability(53)
async def test_a_process_believed_dead_writes_nothing_any_more(platform, eventually):
    """It wakes in the middle of a chunk while another has finished the import: its chunk is rolled back."""
    started, _ = await platform.start(CSV)
    asleep, woken = asyncio.Event(), asyncio.Event()

    class Sleepy(LeadTarget):
        async def write(self, stores, chunk):
            if not asleep.is_set():
                asleep.set()
                await woken.wait()
            return await super().write(stores, chunk)

    targets = {**TARGETS, Dataset.LEADS: Sleepy()}
    old = ImportRunner(platform.store, mapping_of, platform.leads.clock, platform.limits, targets=targets)
    # Its lease is not renewed while it sleeps: the clock jumps past it at once.
    first = asyncio.create_task(old.run_one())
    await asleep.wait()
    await platform.leads.admin.execute("UPDATE imports SET lease_expires_at = 'epoch'")
    assert await platform.runner().run_one()
    woken.set()
    with pytest.raises(LeaseLostError):
        await first
    await expect_everything_once(platform, started.id)


async def test_a_lease_is_kept_while_work_goes_on(platform, eventually):
    """A chunk that takes longer than the lease does not lose the import: the lease is renewed beside it."""
    started, _ = await platform.start(CSV)
    writing, go_on = asyncio.Event(), asyncio.Event()

    class Slow(LeadTarget):
        async def write(self, stores, chunk):
            writing.set()
            await go_on.wait()
            return await super().write(stores, chunk)

    targets = {**TARGETS, Dataset.LEADS: Slow()}
    slow = ImportRunner(platform.store, mapping_of, platform.leads.clock, platform.limits, targets=targets)
    working = asyncio.create_task(slow.run_one())
    await writing.wait()
    expires = "SELECT lease_expires_at FROM imports"
    for _ in range(5):
        before = await platform.leads.value(expires)
        await platform.leads.clock.advance(platform.limits.lease_s / 3)

        async def renewed(before=before):
            return await platform.leads.value(expires) > before

        await eventually(renewed)
    assert not await platform.runner().run_one()
    go_on.set()
    assert await working
    await expect_everything_once(platform, started.id)


async def test_several_processes_share_several_imports(platform):
    """Each import is taken by one of them; none waits for another's."""
    files = ["姓名,来源\n".encode() + f"客户{n},展会\n".encode() for n in range(6)]
    for file in files:
        await platform.start(file)
    runners = [platform.runner() for _ in range(3)]
    while any(await asyncio.gather(*(runner.run_one() for runner in runners))):
        pass
    assert await platform.leads.value("SELECT count(*) FROM leads") == 6
    assert await platform.leads.value("SELECT count(*) FROM imports WHERE state = 'completed'") == 6


async def test_a_row_that_breaks_us_costs_itself_only(platform):
    """A defect shown by two rows of a chunk refuses these two, by number and reason, and takes all others."""
    names = {"客户57", "客户120"}

    class Fragile(LeadTarget):
        async def write(self, stores, chunk):
            recorded = await super().write(stores, chunk)
            if any(draft.name in names for draft in chunk.items):
                raise ZeroDivisionError
            return recorded

    started, _ = await platform.start(CSV)
    targets = {**TARGETS, Dataset.LEADS: Fragile()}
    runner = ImportRunner(platform.store, mapping_of, platform.leads.clock, platform.limits, targets=targets)
    with capture_logs() as logs:
        await runner.run_one()
    assert [line["row"] for line in logs if line["event"] == "import_row_failed"] == [59, 122]
    done = await platform.imports.get(ADMIN, started.id)
    assert (done.state, done.created, done.rejected) == ("completed", CREATED - 2, len(BAD_ROWS) + 2)
    broken = [each for each in await platform.rejections(done.id) if each.row not in BAD_ROWS]
    assert [(each.row, each.reason) for each in broken] == [
        (59, "could not be stored (ZeroDivisionError)"),
        (122, "could not be stored (ZeroDivisionError)"),
    ]
    assert broken[0].raw == "客户57,13800000057,官网"
    assert await platform.leads.value("SELECT count(*) FROM leads") == CREATED - 2


async def test_an_import_that_kills_whoever_takes_it_ends(platform):
    """After so many leases without a row done it fails and says so, instead of killing one process after the other."""
    started, _ = await platform.start(CSV)
    for _ in range(LEASES_IN_VAIN_MAX):
        with pytest.raises(KilledError):
            await platform.runner(killed_at("counted")).run_one()
        await platform.leads.admin.execute("UPDATE imports SET rows = NULL")
        await platform.leads.clock.advance(platform.limits.lease_s)
    assert await platform.runner().run_one()
    done = await platform.imports.get(ADMIN, started.id)
    assert (done.state, done.failure) == ("failed", "It was given up after 10 attempts that got nowhere.")
    assert await platform.leads.value("SELECT count(*) FROM leads") == 0


async def test_too_many_rows_fail_before_the_first_is_imported(platform):
    """The file is counted first: at the limit it is imported, past it nothing is."""
    platform.limits = replace(platform.limits, rows_max=ROWS)
    done = await platform.run(CSV)
    assert (done.state, done.rows) == ("completed", ROWS)
    platform.limits = replace(platform.limits, rows_max=ROWS - 1)
    before = await platform.leads.value("SELECT count(*) FROM leads")
    done = await platform.run(CSV)
    assert (done.state, done.failure) == ("failed", f"The file has more than {ROWS - 1} rows.")
    assert await platform.leads.value("SELECT count(*) FROM leads") == before
    assert await platform.leads.value("SELECT count(*) FROM import_pieces") == 0
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%ImportCompleted'") == 2


async def test_a_runner_wakes_when_a_file_was_accepted(platform, eventually):
    """No poll is waited for: the commit that accepts a file wakes the runners of its process."""
    runner = platform.runner()
    platform.leads.database.listen("imports", runner.wake)
    running = asyncio.create_task(runner.run())
    started, _ = await platform.start(CSV)

    async def completed():
        return (await platform.imports.get(ADMIN, started.id)).state == "completed"

    await eventually(completed)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await expect_everything_once(platform, started.id)


@pytest.mark.capability(118)
async def test_reassign_routes_open_leads_that_come_with_an_owner_anew(platform):
    """Without it an imported owner is kept; with it the rules decide, and closed leads keep theirs either way."""
    await platform.leads.people(Person("1001", "王芳"), Person("1002", "李娜"))
    text = "姓名,来源,负责人工号,状态\n" + "".join(
        f"客户{n},展会,1001,{'战败' if n % 2 else '跟进中'}\n" for n in range(10)
    )
    await platform.run(text.encode())
    owners = "SELECT owner_id, count(*) FROM leads WHERE stage = $1 GROUP BY owner_id ORDER BY owner_id"
    assert dict(await platform.leads.rows(owners, "contacted")) == {"1001": 5}
    again = "".join(line.replace("客户", "新客户") + "\n" for line in text.splitlines())
    await platform.run(again.encode(), reassign=True)
    rules = await platform.leads.rows("SELECT rule_id, count(*) FROM assignments GROUP BY rule_id")
    assert dict(rules) == {"keep-imported-owner": 5, "round-robin-sales": 5}
    assert dict(await platform.leads.rows(owners, "lost")) == {"1001": 10}


async def test_people_are_added_and_changed_and_the_rest_of_them_stays(platform):
    """A second file that names fewer fields changes those; a wrong one is refused by row."""
    first = "工号,姓名,团队,地区,可跟进\n1001,王芳,sales,华东、华南,是\n1002,李娜,north,华北,否\n"
    document = "dataset: people\noptional: all\ncolumns: {工号: id, 姓名: name, 团队: team, 地区: regions, 可跟进: may_follow_up}"
    done = await platform.run(first.encode(), document=document)
    assert (done.dataset, done.created, done.rejected) == ("people", 2, 0)
    done = await platform.run("工号,姓名\n1001,王芳芳\n1003,\n".encode(), document=document)
    assert (done.created, done.merged, done.rejected) == (0, 1, 1)
    [rejection] = await platform.rejections(done.id)
    assert (rejection.row, rejection.field) == (3, "name")
    person = await platform.leads.admin.fetchrow("SELECT name, team_id, regions FROM people WHERE id = '1001'")
    assert tuple(person) == ("王芳芳", "sales", ["华东", "华南"])
    assert await platform.leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%PersonChanged'") == 3


async def test_an_import_nobody_started_is_not_found(platform):
    """A made-up id names nothing."""
    with pytest.raises(NotFoundError):
        await platform.imports.get(ADMIN, "01a202c6-fd7c-76cc-83e6-176324c11afc")


@pytest.mark.capability(54, 75)
async def test_a_file_brings_details(platform):
    """Budget owner, content preference and product stand with the lead under the headings people write."""
    content = "姓名,手机,来源,预算归属,内容偏好,产品\n王芳,13800000001,官网,生产部,案例,注塑机\n"
    assert (await platform.run(content.encode())).rejected == 0
    details = await platform.leads.value("SELECT details::text FROM leads")
    assert orjson.loads(details) == {"budget_owner": "生产部", "content_preference": "案例", "product": "注塑机"}
