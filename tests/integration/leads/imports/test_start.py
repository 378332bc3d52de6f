"""Taking files: what is accepted is durable, what is refused leaves nothing behind."""

import asyncio
import io
import zipfile

import pytest

from breakwater.chassis.errors import (
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.idempotence import Keyed
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.usecases import Order

FILE = "姓名,来源\n张伟,展会\n李娜,官网\n".encode()
SELLER = Actor("1001", Role.SALES, Scope.OWN)


def not_a_workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/other.xml", "<x/>")
    return content.getvalue()


REFUSED = {
    "an empty file": (b"", {}),
    "blank lines": (b"\n \n\t\n", {}),
    "bytes that are no text": (b"\x00\xff\x01" * 999, {}),
    "UTF-16 without its mark": (FILE.decode().encode("utf-16-le"), {}),
    "no known encoding": (bytes(range(128, 256)) * 20, {}),
    "a header that never ends": ('"姓名,来源\n张伟,展会\n'.encode(), {}),
    "missing headers": ("公司\n海天\n".encode(), {}),
    "a doubled header": ("姓名,来源,来源\n张伟,a,b\n".encode(), {}),
    "headers of another system": (FILE, {"mapping": "zoho"}),
    "an unknown mapping": (FILE, {"mapping": "salesforce"}),
    "a path as mapping": (FILE, {"mapping": "../../../etc/passwd"}),
    "a mapping with errors": (FILE, {"document": "dataset: leads\ncolumns: {姓名: nmae}"}),
    "a workbook that is none": (FILE, {"filename": "leads.xlsx"}),
    "a zip with other things in it": (not_a_workbook(), {"filename": "leads.xlsx"}),
    "an old Excel file": (b"\xd0\xcf\x11\xe0" + bytes(600), {}),
    "a name with a NUL": (FILE, {"filename": "a\x00.csv"}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field_and_leaves_nothing(platform, case):
    """The caller learns at once which of file, mapping or filename is wrong; no table has a row more."""
    content, options = REFUSED[case]
    before = await platform.counts()
    with pytest.raises(InvalidRequestError) as caught:
        await platform.start(content, key="k", **options)
    assert caught.value.errors
    assert {error.field.partition(".")[0] for error in caught.value.errors} <= {"file", "mapping", "filename"}
    assert all(error.reason for error in caught.value.errors)
    assert await platform.counts() == before


async def test_an_accepted_file_is_in_the_database(platform):
    """When the answer is there, every byte is, in pieces; a process that dies now loses nothing."""
    content = FILE + "王芳,展会\n".encode() * 2_000
    started, replayed = await platform.start(content)
    assert (started.state, started.dataset, replayed) == ("queued", "leads", False)
    pieces = await platform.leads.rows("SELECT content FROM import_pieces ORDER BY number")
    assert len(pieces) > 1
    assert b"".join(piece["content"] for piece in pieces) == content


async def test_a_replay_gets_the_first_answer(platform):
    """The same key and file again: one import, the first answer, whatever became of it meanwhile."""
    first, _ = await platform.start(FILE, key="k")
    await platform.runner().run_one()
    before = await platform.counts()
    again, replayed = await platform.start(FILE, key="k")
    assert (again, replayed) == (first, True)
    assert await platform.counts() == before


async def test_a_key_used_with_another_file_is_refused(platform):
    """The key belongs to the first body; nothing is stored."""
    await platform.start(FILE, key="k")
    before = await platform.counts()
    with pytest.raises(IdempotencyMismatchError):
        await platform.start("姓名,来源\n王五,展会\n".encode(), key="k")
    assert await platform.counts() == before


async def test_concurrent_twins_make_one_import(platform):
    """Two requests with one key at the same time: one is taken, the other is told to wait or gets the first's answer."""
    answers = await asyncio.gather(*(platform.start(FILE, key="k") for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(answer, tuple) and not answer[1] for answer in answers) == 1
    assert await platform.leads.value("SELECT count(*) FROM imports") == 1


async def test_a_file_past_its_limit_is_refused(platform, limits):
    """The largest is taken, one byte more is 413, and so is a message past its own limit."""
    platform.imports._limits = ImportLimits(file_bytes_max=len(FILE), piece_bytes_max=4_096)
    await platform.start(FILE)
    before = await platform.counts()
    with pytest.raises(PayloadTooLargeError, match=f"larger than {len(FILE)} bytes"):
        await platform.start(FILE + b"\n")
    platform.imports._limits = ImportLimits(piece_bytes_max=10)
    with pytest.raises(PayloadTooLargeError, match="more than 10 bytes"):
        await platform.start(FILE)
    assert await platform.counts() == before


async def test_files_received_at_once_are_bounded(platform):
    """One file too many is told to come back; a slot is free again when a file has come in or broken off."""
    forever = asyncio.Event()

    async def slow():
        yield FILE
        await forever.wait()

    def start(content):
        order = Order("leads.csv", "", "", reassign=False)
        return platform.imports.start(SELLER, order, content, Keyed("1001", "StartImport", "", b""))

    waiting = [asyncio.create_task(start(slow())) for _ in range(platform.limits.files_received_max)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await start(slow())
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after_s
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    started, _ = await platform.start(FILE)
    assert started.state == "queued"


async def test_who_may_import_what(platform):
    """Sellers bring leads; the organisation and other systems' records are for managers; on-call has no business data."""
    for role in (Role.SALES, Role.MANAGER, Role.ADMIN, Role.SERVICE):
        await platform.start(FILE, actor=Actor("a", role, Scope.OWN))
    before = await platform.counts()
    for actor, mapping in (
        (Actor("a", Role.ONCALL, Scope.ALL), ""),
        (Actor("a", Role.SRE, Scope.ALL), ""),
        (SELLER, "zoho-users"),
        (SELLER, "zoho-calls"),
        (Actor("a", Role.MANAGER, Scope.TEAM), "people"),
    ):
        with pytest.raises(PermissionDeniedError):
            await platform.start(FILE, mapping, actor=actor)
    assert await platform.counts() == before


async def test_another_s_import_does_not_exist(platform):
    """Who started it sees it, and who may see everything; nobody else learns that it is there."""
    started, _ = await platform.start(FILE, actor=SELLER)
    assert (await platform.imports.get(SELLER, started.id)).id == started.id
    assert (await platform.imports.get(Actor("boss", Role.MANAGER, Scope.ALL), started.id)).id == started.id
    for actor, import_id in (
        (Actor("1002", Role.SALES, Scope.OWN), started.id),
        (SELLER, "00000000-0000-7000-8000-000000000000"),
        (SELLER, "not-an-id"),
    ):
        with pytest.raises(NotFoundError):
            await platform.imports.get(actor, import_id)
        with pytest.raises(NotFoundError):
            await platform.imports.rejections(actor, import_id, 10, "")


async def test_rejections_come_in_pages_by_row(platform):
    """Every refused row, in order, once; a cursor that is not ours is refused."""
    done = await platform.run("姓名,来源\n".encode() + ",展会\n".encode() * 25)
    rows, cursor = [], ""
    while True:
        page, cursor = await platform.imports.rejections(SELLER_ALL, done.id, 10, cursor)
        rows += [each.row for each in page]
        if not cursor:
            break
    assert rows == list(range(2, 27))
    for limit, wrong in ((-1, ""), (1_001, ""), (10, "x"), (10, "９"), (10, "-1")):
        with pytest.raises(InvalidRequestError):
            await platform.imports.rejections(SELLER_ALL, done.id, limit, wrong)


SELLER_ALL = Actor("1001", Role.SALES, Scope.ALL)
