"""The encoder process: right files, bounded, and no orphan."""

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import PayloadTooLargeError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.files.exports.domain import Job, JobState, Progress, Spec
from services.files.exports.encoder import MANY_ROWS_MIN
from services.files.exports.encoding import NICENESS, EncoderLostError, ProcessEncoder
from services.files.exports.frames import Kind, frame
from tests.integration.files.conftest import chunks_of
from tests.support.encrypted import decrypted
from tests.support.waiting import until

pytestmark = pytest.mark.capability(36, 37)

NOW = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)


def job_of(spec):
    """A job under way."""
    return Job("id", Actor("1001", Role.SALES, Scope.OWN), spec, JobState.RUNNING, requested_at=NOW)


MIB = 1024 * 1024
PASSWORD = "密码 correct horse"
XLSX = job_of(Spec("leads", "xlsx"))
ENCRYPTED = job_of(Spec("leads", "encrypted-xlsx"))


def encoder_of(memory_bytes_max=512 * MIB, size_bytes_max=64 * MIB, spool_dir=None):
    return ProcessEncoder(
        zone="Asia/Shanghai",
        memory_bytes_max=memory_bytes_max,
        size_bytes_max=size_bytes_max,
        clock=VirtualClock(),
        spool_dir=spool_dir,
    )


@pytest.fixture
def encoder(tmp_path):
    return encoder_of(spool_dir=tmp_path)


async def messages(count, failure=None, *, packed=True):
    """The chunks as they come from leads."""
    for message in chunks_of(count, packed=packed):
        yield message.SerializeToString()
    if failure is not None:
        raise failure


def children():
    """Encoder processes of this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if b"services.files.exports.encoder" in command and int(parent) == os.getpid() and state != "Z":
            found.append(int(path.name))
    return found


async def test_rows_become_a_workbook(encoder):
    """Every row arrives, with its type, in a sheet named for people; progress counts them."""
    progress = Progress()
    content = b"".join([piece async for piece in encoder.encode(XLSX, messages(1_200), progress)])
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_name("线索")
    rows = sheet.to_python()
    assert rows[0] == ["姓名", "电话", "预算", "创建时间（Asia/Shanghai）"]
    assert rows[1200][:3] == ["王1199", "013800001199", 1199.5]
    assert str(rows[1200][3]) == "2026-01-05 09:30:00.250000"
    assert (progress.rows_done, progress.rows_total) == (1_200, 1_200)
    assert children() == []


@pytest.mark.parametrize("count", [700, MANY_ROWS_MIN + 700])
async def test_many_rows_and_few_packed_or_not_make_the_same_sheet(encoder, count):
    """By row or by column, from leads of today or from the one before: the same cells, every row once."""

    async def sheet(*, packed):
        progress = Progress()
        pieces = [piece async for piece in encoder.encode(XLSX, messages(count, packed=packed), progress)]
        assert (progress.rows_done, progress.rows_total) == (count, count)
        with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
            return archive.read("xl/worksheets/sheet1.xml")

    packed = await sheet(packed=True)
    assert packed == await sheet(packed=False)
    assert packed.count(b"<row ") == count + 1


@pytest.mark.parametrize(("count", "policy"), [(1_200, os.SCHED_OTHER), (MANY_ROWS_MIN, os.SCHED_IDLE)])
async def test_few_rows_get_the_core_before_many(encoder, count, policy):
    """The kernel gives an encoder of many rows what all others leave, from when it knows how many they are."""
    over = asyncio.Event()

    async def rows():
        async for message in messages(count):
            yield message
        await over.wait()

    async with aclosing(encoder.encode(XLSX, rows(), progress := Progress())) as encoding:
        await anext(encoding)
        [pid] = children()
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        await until("its place among all processes", lambda: os.sched_getscheduler(pid) == policy)
        over.set()
        assert [piece async for piece in encoding]
    assert progress.rows_done == count


@pytest.mark.parametrize("count", [0, 1_200, MANY_ROWS_MIN + 1])
async def test_an_encrypted_workbook_has_the_cells_of_the_plain_one(encoder, count, tmp_path):
    """Whichever tier made it; while it is made its password is on no command line and in no environment."""
    plain = b"".join([piece async for piece in encoder.encode(XLSX, messages(count), Progress())])
    progress, seen = Progress(), b""

    async def watched():
        # While it waits for rows: its content leaves when it is about to end.
        nonlocal seen
        async for message in messages(count):
            yield message
            for pid in children():
                seen += Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()

    pieces = [piece async for piece in encoder.encode(ENCRYPTED, watched(), progress, PASSWORD)]
    assert b"services.files.exports.encoder" in seen
    assert PASSWORD.encode() not in seen
    assert decrypted(b"".join(pieces), PASSWORD) == plain
    assert (progress.rows_done, progress.rows_total) == (count, count)
    assert list(tmp_path.iterdir()) == []


async def test_an_encrypted_workbook_past_its_size_is_refused(tmp_path):
    """What waits on disk is bounded, and nothing of it stays."""
    small = encoder_of(size_bytes_max=20_000, spool_dir=tmp_path)
    with pytest.raises(PayloadTooLargeError, match="20000 bytes"):
        [piece async for piece in small.encode(ENCRYPTED, messages(5_000), Progress(), PASSWORD)]
    assert list(tmp_path.iterdir()) == []


async def test_rows_become_csv(encoder):
    """The same rows as CSV."""
    content = b"".join([piece async for piece in encoder.encode(job_of(Spec("leads", "csv")), messages(2), Progress())])
    assert content.decode("utf-8-sig").splitlines()[2] == "王1,013800000001,1.50,2026-01-05 09:30:00.25"


async def test_the_failure_of_the_source_is_told(encoder):
    """What went wrong with the rows is what the job hears, and no file seems complete."""
    failure = UnavailableError("out", dependency="leads")
    with pytest.raises(UnavailableError, match="out"):
        async for _ in encoder.encode(XLSX, messages(10, failure), Progress()):
            pass
    assert children() == []


@pytest.mark.parametrize("silent", [False, True], ids=["while rows come", "while none come"])
async def test_a_killed_encoder_is_an_error_and_no_file(encoder, silent):
    """An encoder that dies midway ends the attempt, whatever its source is at."""
    sent, gate = asyncio.Event(), asyncio.Event()

    async def held():
        async for message in messages(5_000):
            if not silent:
                sent.set()
            yield message
        sent.set()
        await gate.wait()

    async def kill():
        await sent.wait()
        for pid in children():
            os.kill(pid, 9)

    killing = asyncio.create_task(kill())
    with pytest.raises(EncoderLostError):
        async with aclosing(encoder.encode(XLSX, held(), Progress())) as pieces:
            async for _ in pieces:
                pass
    await killing


async def test_leaving_early_leaves_no_process(encoder):
    """A job that is cancelled takes its encoder along."""
    async with aclosing(encoder.encode(XLSX, messages(50_000), Progress())) as pieces:
        await anext(pieces)
        assert len(children()) == 1
    await until("the encoder is gone", lambda: not children())


async def test_an_encoder_out_of_memory_ends_alone():
    """Its memory has a limit: past it the encoder dies, not the service."""
    small = encoder_of(memory_bytes_max=4 * MIB)
    with pytest.raises(EncoderLostError):
        async for _ in small.encode(XLSX, messages(5_000), Progress()):
            pass


async def test_the_event_loop_answers_while_files_are_encoded(encoder):
    """Two files under way, and whoever asks meanwhile hardly waits."""

    async def consume():
        async for _ in encoder.encode(XLSX, source(), Progress()):
            pass

    prepared = [message.SerializeToString() for message in chunks_of(20_000)]

    async def source():
        for message in prepared:
            yield message

    work = asyncio.gather(consume(), consume())
    waits_s = []
    while not work.done():
        started_s = time.perf_counter()
        await asyncio.wait({asyncio.ensure_future(asyncio.sleep(0))})
        waits_s.append(time.perf_counter() - started_s)
    await work
    waits_s.sort()
    assert waits_s[int(len(waits_s) * 0.99)] < 0.05


async def test_an_encoder_ends_quietly_when_its_service_is_gone(tmp_path):
    """kill -9 of the service leaves no encoder behind, and no traceback to puzzle over."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "services.files.exports.encoder"]
    with theirs, (tmp_path / "stderr").open("wb") as stderr:
        child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=stderr)
    order = {"format": "xlsx", "title": "线索", "zone": "Asia/Shanghai", "memory_bytes_max": 512 * 1024**2}
    ours.sendall(frame(Kind.ORDER, json.dumps(order).encode()))
    ours.sendall(frame(Kind.CHUNK, chunks_of(500)[0].SerializeToString())[:-1])
    ours.close()
    assert await asyncio.to_thread(child.wait, 30) == 1
    assert (tmp_path / "stderr").read_bytes() == b""


async def test_a_csv_is_in_gbk_where_that_was_asked_for(encoder):
    """Without the byte order mark, which is UTF-8's."""
    job = job_of(Spec("leads", "gbk-csv"))
    content = b"".join([piece async for piece in encoder.encode(job, messages(2), Progress())])
    assert content.decode("gbk").splitlines()[0].startswith("姓名,电话")
