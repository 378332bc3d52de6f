"""The local export engine as the process it is: bounded in rows, memory, size and time, and never an orphan."""

import asyncio
import hashlib
import io
import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from msoffcrypto.exceptions import InvalidKeyError

from breakwater.chassis.errors import ConflictError, DeadlineExceededError, PayloadTooLargeError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.sealing import Seals
from services.gateway.exports.domain import Column, ColumnKind, Export, ExportState, Spec
from services.gateway.exports.engine import ChildEngine, EngineLimits, Head, _start
from services.gateway.exports.scratch import Scratch
from tests.support.encrypted import decrypted

pytestmark = pytest.mark.capability(37, 39)
NOW = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
MIB = 1024 * 1024
COLUMNS = (
    Column("id", "编号", ColumnKind.TEXT),
    Column("name", "姓名", ColumnKind.TEXT),
    Column("budget", "预算（元）", ColumnKind.DECIMAL),
    Column("created_at", "创建时间", ColumnKind.DATETIME),
)
SEALS = Seals(bytes(range(32)))
PASSWORD = "密码 correct horse"
ROW = ["007", "=1+1", "800000.50", "2026-01-05T01:00:00Z"]


class FakeRows:
    """Chunks of rows as leads would stream them; `hold` stops before the last one, `fail` breaks off there."""

    def __init__(self, rows, *, hold=False, fail=None):
        self.rows, self.hold, self.fail = rows, hold, fail

    async def columns(self, export):
        return (*COLUMNS, Column("need", "需求", ColumnKind.TEXT))

    async def base_rows(self, export):
        yield Head(COLUMNS)
        for start in range(0, len(self.rows), 500):
            yield self.rows[start : start + 500]
        if self.hold:
            await asyncio.Event().wait()
        if self.fail:
            raise self.fail


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path / "exports", timedelta(days=1), 10**9)


def engine_of(rows, scratch, **changes):
    limits = {
        "processes_max": 2,
        "timeout_s": 20.0,
        "memory_bytes_max": 512 * MIB,
        "rows_max": 100_000,
        "file_size_bytes_max": 100 * MIB,
    }
    return ChildEngine(rows, scratch, SEALS, EngineLimits(**(limits | changes)))


def export_of(export_id="e1", file_format="xlsx"):
    me = Actor("1001", Role.SALES, Scope.OWN)
    return Export(export_id, export_id, me, Spec("leads", file_format, (), {}), ExportState.QUEUED, NOW)


def children():
    """Processes of the local engine that are alive."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"services.gateway.exports.local_engine" in status.read_bytes():
                found.append(int(status.parent.name))
    return [pid for pid in found if parent_of(pid) == os.getpid()]


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


async def test_cells_keep_their_types_and_formulas_stay_text(scratch):
    """The same look and the same safety as the full file's, plus the note sheet."""
    made = await engine_of(FakeRows([ROW]), scratch).make(export_of(), "files is out", NOW)
    file, missing = made.file, made.missing
    path = scratch.path("e1", "xlsx")
    assert (file.rows, file.size_bytes, missing) == (1, path.stat().st_size, ("need",))
    book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()))
    cells = book["线索"][2]
    assert [cell.value for cell in cells[:3]] == ["007", "=1+1", 800000.5]
    assert [cell.data_type for cell in cells[:3]] == ["s", "s", "n"]
    assert cells[3].value == datetime(2026, 1, 5, 9, 0)  # noqa: DTZ001 - as a person in Shanghai reads it
    note = [[cell.value for cell in row] for row in book["说明"].iter_rows()]
    assert ["原因", "文件服务（files）不可用：files is out"] in note
    assert ["缺少的内容", "need"] in note


async def test_the_largest_number_of_rows_passes_and_one_more_is_refused(scratch):
    """And nothing is left of the refused file."""
    engine = engine_of(FakeRows([ROW] * 600), scratch, rows_max=600)
    assert (await engine.make(export_of(), "out", NOW)).file.rows == 600
    engine = engine_of(FakeRows([ROW] * 601), scratch, rows_max=600)
    with pytest.raises(PayloadTooLargeError, match="600 rows"):
        await engine.make(export_of("e2"), "out", NOW)
    assert [path.name for path in scratch.directory.iterdir()] == ["e1.xlsx"]
    assert children() == []


async def test_a_file_past_its_size_is_refused(scratch):
    """The kernel stops the child's writing, not our counting."""
    rows = [[f"{number}", os.urandom(400).hex(), "1", ""] for number in range(4000)]
    engine = engine_of(FakeRows(rows), scratch, file_size_bytes_max=256 * 1024)
    with pytest.raises(UnavailableError):
        await engine.make(export_of(), "out", NOW)
    assert list(scratch.directory.iterdir()) == []


async def test_memory_is_bounded_by_the_kernel(scratch):
    """A chunk made to be huge ends the child, not the gateway."""
    rows = [["1", "x" * (40 * MIB), "1", ""]]
    engine = engine_of(FakeRows(rows), scratch, memory_bytes_max=96 * MIB)
    with pytest.raises((PayloadTooLargeError, UnavailableError)):
        await engine.make(export_of(), "out", NOW)
    assert children() == []


async def test_a_child_that_gets_no_more_rows_ends_at_the_deadline(scratch):
    """leads hangs: the export is tried again later, and no process stays behind."""
    engine = engine_of(FakeRows([ROW], hold=True), scratch, timeout_s=1.0)
    with pytest.raises(DeadlineExceededError):
        await engine.make(export_of(), "out", NOW)
    assert children() == []
    assert list(scratch.directory.glob("*.xlsx")) == []


async def test_rows_that_break_off_leave_no_half_a_file(scratch):
    """The failure of leads is told, with its name."""
    out = UnavailableError("leads is out", dependency="leads")
    with pytest.raises(UnavailableError) as caught:
        await engine_of(FakeRows([ROW], fail=out), scratch).make(export_of(), "out", NOW)
    assert caught.value.dependency == "leads"
    assert children() == []
    assert list(scratch.directory.glob("*.xlsx")) == []


async def test_cancelling_kills_the_child(scratch, eventually):
    """A drain leaves no orphan."""
    task = asyncio.create_task(engine_of(FakeRows([ROW], hold=True), scratch).make(export_of(), "out", NOW))
    await eventually(children)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert children() == []


async def test_a_child_whose_gateway_is_gone_ends_by_itself_and_leaves_nothing(scratch, tmp_path):
    """kill -9 of the gateway ends the child's input; without its end mark there is no file."""
    scratch.make_room(NOW)
    order = engine_of(FakeRows([]), scratch)._order(export_of(), COLUMNS, (), "out", NOW)
    process, ours = _start()
    _, child = await asyncio.open_unix_connection(sock=ours)
    child.write(json.dumps(order).encode() + b"\n" + json.dumps([ROW]).encode() + b"\n")
    child.write_eof()
    async with asyncio.timeout(10):
        said, _ = await asyncio.to_thread(process.communicate)
    child.close()
    assert (process.returncode, b"broke off" in said) == (3, True)
    assert list(scratch.directory.iterdir()) == []


async def test_only_so_many_children_run_at_a_time(scratch, eventually):
    """Others wait for their turn; two cores are not spent on fallbacks alone."""
    engine = engine_of(FakeRows([ROW], hold=True), scratch, timeout_s=5.0)
    tasks = [asyncio.create_task(engine.make(export_of(f"e{number}"), "out", NOW)) for number in range(4)]
    await eventually(lambda: len(children()) == 2)
    assert len(children()) == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert children() == []


async def test_old_files_and_surplus_ones_make_room(tmp_path):
    """Retention in days, and a bound for all together; the oldest go first."""
    scratch = Scratch(tmp_path / "exports", timedelta(days=1), 250)
    scratch.make_room(NOW)
    for name, age_h in [("old.csv", 25), ("older.csv", 20), ("newer.csv", 2), ("newest.csv", 1), ("half.partial", 2)]:
        path = scratch.directory / name
        path.write_bytes(b"x" * 100)
        os.utime(path, (NOW.timestamp() - age_h * 3600,) * 2)
    scratch.make_room(NOW)
    assert sorted(path.name for path in scratch.directory.iterdir()) == ["newer.csv", "newest.csv"]


def encrypted_export(export_id="e1", sealed_for="e1"):
    spec = Spec("leads", "xlsx", (), {}, encrypted=True)
    sealed = SEALS.seal(PASSWORD, sealed_for)
    return replace(export_of(export_id), spec=spec, sealed_password=sealed)


@pytest.mark.parametrize("count", [0, 1, 3_000])
async def test_a_file_behind_a_password_has_the_cells_of_the_plain_one(scratch, count):
    """The same rows and the same note, opened by another project's reader; its hash and size are the encrypted file's."""
    rows = [ROW] * count
    engine = engine_of(FakeRows(rows), scratch)
    await engine.make(export_of("plain"), "files is out", NOW)
    made = await engine.make(encrypted_export(), "files is out", NOW)
    file, missing = made.file, made.missing
    content = scratch.path("e1", "xlsx").read_bytes()
    assert (file.rows, file.size_bytes, missing) == (count, len(content), ("need",))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    plain = openpyxl.load_workbook(scratch.path("plain", "xlsx"))
    book = openpyxl.load_workbook(io.BytesIO(decrypted(content, PASSWORD)))
    assert [*book["线索"].values] == [*plain["线索"].values]
    assert len([*book["线索"].values]) == count + 1
    assert "降级导出" in str([*book["说明"].values])
    with pytest.raises(InvalidKeyError):
        decrypted(content, PASSWORD.upper())
    assert sorted(path.name for path in scratch.directory.iterdir()) == ["e1.xlsx", "plain.xlsx"]


async def test_a_password_is_in_no_command_line_environment_or_file_while_it_is_used(scratch, eventually):
    """It comes with the order, over the child's input, and what waits beside the target waits encrypted."""
    engine = engine_of(FakeRows([ROW] * 20_000, hold=True), scratch)
    task = asyncio.create_task(engine.make(encrypted_export(), "out", NOW))
    [pid] = await eventually(children)
    await eventually(lambda: list(scratch.directory.glob("*.partial")))
    seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    kept = b"".join(path.read_bytes() for path in scratch.directory.iterdir())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert b"local_engine" in seen
    assert PASSWORD.encode() not in seen + kept
    assert b"PK\3\4" not in kept


async def test_a_password_that_cannot_be_opened_starts_no_child(scratch):
    """Sealed for another export, or with a key that is gone: no file at all, rather than a plain one."""
    with pytest.raises(ConflictError) as refused:
        await engine_of(FakeRows([ROW]), scratch).make(encrypted_export("e1", sealed_for="e2"), "out", NOW)
    assert refused.value.code == "password_lost"
    assert list(scratch.directory.iterdir()) == []


async def test_a_file_behind_a_password_is_bounded_as_well(scratch):
    """The same limits, and what waits counts."""
    rows = [[f"{number}", os.urandom(400).hex(), "1", ""] for number in range(4000)]
    engine = engine_of(FakeRows(rows), scratch, file_size_bytes_max=256 * 1024)
    with pytest.raises((PayloadTooLargeError, UnavailableError)):
        await engine.make(encrypted_export(), "out", NOW)
    assert list(scratch.directory.iterdir()) == []


async def test_a_lesser_csv_is_in_the_encoding_that_was_asked_for(scratch):
    """A program that reads no UTF-8 reads no more of it because files is out."""
    export = replace(export_of(file_format="csv"), spec=Spec("leads", "csv", (), {}, gbk=True))
    await engine_of(FakeRows([["007", "王小明", "1", ""]]), scratch).make(export, "out", NOW)
    assert scratch.path("e1", "csv").read_bytes().decode("gbk").splitlines()[1] == "007,王小明,1,"
