"""Documents: what stands in the data stands on the page, whatever it is; nothing of it is ever executed (41)."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pypdf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import InvalidRequestError, PayloadTooLargeError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.leads.v1 import leads_pb2
from services.files.documents import templates
from services.files.documents.domain import DocumentFullError, DocumentLimits
from services.files.documents.renderer import Renderer
from services.files.documents.text import printable
from services.files.exports.domain import Job, JobState, Letter, Progress, Spec
from services.files.exports.encoding import ProcessEncoder
from tests.integration.files.conftest import COLUMNS, chunks_of
from tests.integration.files.test_encoding import children

pytestmark = [pytest.mark.capability(41), pytest.mark.timeout(240)]

NOW = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
LETTER = Letter(("本年度登录 128 次", "完成 3 次联合演练"), "续签三年享八折。", "2026-12-31")
RENEWALS = Spec("renewals", "pdf", letter=LETTER)
REPORT = Spec("leads", "pdf", filter={"stage": "new"})
TO_EVERYBODY = {
    "highlights": ["可用率 99.98 %"],
    "offer": "八折。",
    "offer_until": "",
    "date": "2026-01-05",
    "number": "7",
}
CUSTOMER_COLUMNS = [leads_pb2.Column(name=name, title=name) for name in ("id", "name", "company", "owner_name")]


def text_of(pdf):
    """All text of a document, without what only lays it out."""
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]
    return "".join("".join(pages).split())


def pages_of(pdf):
    return len(pypdf.PdfReader(io.BytesIO(pdf)).pages)


def packed(rows, columns):
    """A dataset as leads sends it."""
    yield leads_pb2.StreamDatasetResponse(columns=columns, rows_total=len(rows))
    for start in range(0, len(rows), 500):
        text = "".join("\x1f".join(row) + "\x1e" for row in rows[start : start + 500])
        yield leads_pb2.StreamDatasetResponse(packed_rows=text.encode())


async def made(spec, messages, *, limits=None, clock=None, requested_at=NOW):
    """The file of an encoder process, and what was told of it."""

    async def source():
        for message in messages:
            yield message.SerializeToString()

    job = Job("id", Actor("1001", Role.SALES, Scope.OWN), spec, JobState.RUNNING, requested_at=requested_at)
    encoder = ProcessEncoder(
        zone="Asia/Shanghai", memory_bytes_max=512 * 1024**2, clock=clock or VirtualClock(), documents=limits
    )
    progress = Progress()
    async with aclosing(encoder.encode(job, source(), progress)) as pieces:
        content = b"".join([piece async for piece in pieces])
    return SimpleNamespace(content=content, progress=progress)


@pytest.fixture(scope="module")
def letter():
    """`pdf = letter(contact="...")`: a reminder by the shipped template, in this process."""
    renderer = Renderer(templates.load("renewal", ""), created_at=NOW, pages_max=20)
    basics = {"customer": "华东注塑", "contact": "", "owner": "王芳"} | TO_EVERYBODY
    return lambda **data: renderer.pdf(basics | data)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("𠮷野家", "𠮷野家"),
        ("龚䶮", "龚䶮"),
        ("𬎆㛃", "𬎆㛃"),
        ("李雷😀✅", "李雷😀✅"),
        ("한국 あい Ünïcødé Привет", "한국あいÜnïcødéПривет"),
        ("𪚥", "〔U+2A6A5〕"),
        ("\ue000\U0010ffff", "〔U+E000〕〔U+10FFFF〕"),
        ("张\x00三\x07\ud800", "张三\ufffd"),
        ("三\u202e四\u2066", "三四"),
        ("辻\U000e0100\ufe0f", "辻"),
        ("东·阿不都热依木·买买提明" * 8, "东·阿不都热依木·买买提明" * 8),
    ],
)
def test_names_stand_on_the_page_as_they_are(letter, name, shown):
    """Rare characters, emoji and long names; what no font has is named by its number, never dropped unseen."""
    assert shown in text_of(letter(contact=name, highlights=[name[:200]]))


@pytest.mark.parametrize(
    "text",
    [
        '#read("/etc/passwd")',
        '#panic("x")',
        "]#pagebreak()[",
        "*a* _b_ $x^2$ `c` <d> @e = f",
        '#import "@preview/cetz:0.3.0"',
        "\\u{41} // /* \\",
        '"}, "data": {"customer": "another"',
    ],
)
def test_markup_in_the_data_is_text(letter, text):
    """Data are no part of a source: what would be an instruction there is read by people."""
    pdf = letter(contact=text, customer=text, owner=text, offer=text, highlights=[text])
    assert text_of(pdf).count("".join(text.split())) == 5
    assert pages_of(pdf) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=120))
@example("\u202e\u2067" * 60)
@example("ก" + "\u0e49" * 119)
@example("\ud83d" * 100)
@example("\n" * 119)
@example("\u200d\ufe0f\U000e0020" * 40)
@example("A" * 120)
def test_no_text_breaks_a_document(letter, text):
    """Whatever the text, there is a document, and what stands around the text stands there unchanged."""
    pdf = letter(contact=text, customer=text, highlights=[text])
    around = text_of(pdf)
    assert "续费优惠八折。" in around
    assert "编号7，模板renewal1" in around
    assert pages_of(pdf) <= 20


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.sampled_from("张𠮷䶮龘𬎆王 a-Z9#*_$`<>@\\\"'/=+.,;:（）《》·…€①℃😀あаñ\u2a00𪚥"), min_size=1, max_size=60
    )
)
def test_text_comes_back_from_the_page(letter, text):
    """What is read from the finished document is what was put in."""
    assert "".join(printable(text).split()) in text_of(letter(offer=text))


def test_the_same_data_and_version_are_the_same_bytes(letter):
    """Also by another renderer; another time of creation is another document."""
    first = letter(contact="张三")
    again = Renderer(templates.load("renewal", "1"), created_at=NOW, pages_max=20)
    basics = {"customer": "华东注塑", "contact": "张三", "owner": "王芳"} | TO_EVERYBODY
    assert again.pdf(basics) == first
    later = Renderer(templates.load("renewal", "1"), created_at=NOW + timedelta(seconds=1), pages_max=20)
    assert later.pdf(basics) != first


def test_a_document_past_its_pages_is_refused():
    """The template holds the limit it is told."""
    renderer = Renderer(templates.load("renewal", ""), created_at=NOW, pages_max=1)
    data = {"customer": "a", "contact": "", "owner": ""} | TO_EVERYBODY
    assert pages_of(renderer.pdf(data)) == 1
    with pytest.raises(DocumentFullError, match="1 pages"):
        renderer.pdf(data | {"highlights": ["长" * 200] * 8, "offer": "长\n" * 60})


async def test_rows_become_a_report():
    """Every row on pages with a header each, when and of what, times as people in the team's zone read them."""
    report = await made(REPORT, chunks_of(300))
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(report.content)).pages]
    text = text_of(report.content)
    assert "数据截至2026-01-0509:00（Asia/Shanghai）" in text
    assert "筛选阶段=new" in text
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        assert f"第{number}页，共{len(pages)}页" in "".join(page.split())
        assert "姓名" in page
    assert [text.count(f"王{number}0138{number:08}{number}.502026-01-0509:30") for number in range(300)] == [1] * 300
    assert (report.progress.rows_done, report.progress.rows_total) == (300, 300)
    assert report.progress.document == templates.load("report", "").stamp
    assert children() == []


async def test_wide_tables_lie_on_their_side():
    """Few columns stand upright, many lie, very many take a larger sheet; long cells wrap and are whole."""

    def columns(count):
        return [leads_pb2.Column(name=f"c{place}", title=f"这是第{place}列的标题") for place in range(count)]

    sizes = []
    for count in (3, 9, 12):
        rows = [[f"单元格{row}-{place}" for place in range(count)] for row in range(20)]
        rows[3][1] = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
        pdf = (await made(REPORT, packed(rows, columns(count)))).content
        box = pypdf.PdfReader(io.BytesIO(pdf)).pages[0].mediabox
        sizes.append((round(box.width), round(box.height)))
        assert rows[3][1] in text_of(pdf)
    assert sizes == [(595, 842), (842, 595), (1191, 842)]


async def test_a_report_has_at_most_so_many_rows():
    """The largest number passes; one more is refused, and told what to do instead."""
    limits = DocumentLimits(rows_max=20)
    assert (await made(REPORT, chunks_of(20), limits=limits)).progress.rows_done == 20
    with pytest.raises(PayloadTooLargeError, match=r"at most 20 rows.*xlsx") as refused:
        await made(REPORT, chunks_of(21), limits=limits)
    assert refused.value.code == "file_full"


async def test_a_report_has_at_most_so_many_characters():
    """What counts is what is shown: a cell that is cut counts as far as it is shown, and the report says so."""
    rows = [["1", "长" * 1_000, "", ""]]
    shown = await made(REPORT, packed(rows, CUSTOMER_COLUMNS), limits=DocumentLimits(characters_max=301))
    text = text_of(shown.content)
    assert "长" * 299 + "…" in text
    assert "长" * 300 not in text
    assert "1处文字过长，以“…”截断" in text
    with pytest.raises(PayloadTooLargeError, match=r"at most 300 characters.*xlsx"):
        await made(REPORT, packed(rows, CUSTOMER_COLUMNS), limits=DocumentLimits(characters_max=300))


async def test_an_empty_report_says_so():
    """No rows is an answer too."""
    report = await made(REPORT, [leads_pb2.StreamDatasetResponse(columns=COLUMNS)])
    assert "没有符合条件的记录" in text_of(report.content)


CUSTOMERS = [
    ["id-1", "张三", "华东/注塑:机械", "王芳"],
    ["id-2", "李四", "华东/注塑:机械", ""],
    ["id-3", "../../etc/passwd", "", "王芳"],
    ["id-4", "CON", "..", "王芳"],
    ["id-5", "\U0001f600", "", "王芳"],
    ["id-6", "𠮷" * 300, "", "王芳"],
]


async def test_each_customer_gets_a_letter_of_their_own():
    """One ZIP: safe, unique names, and a manifest of whose each letter is and by what it was made."""
    batch = await made(RENEWALS, packed(CUSTOMERS, CUSTOMER_COLUMNS))
    archive = zipfile.ZipFile(io.BytesIO(batch.content))
    assert archive.testzip() is None
    manifest = json.loads(archive.read("manifest.json"))
    names = [each["file"] for each in manifest["letters"]]
    assert archive.namelist() == [*names, "manifest.json"]
    assert names[:5] == [
        "00001-华东 注塑 机械.pdf",
        "00002-华东 注塑 机械.pdf",
        "00003-etc passwd.pdf",
        "00004-customer.pdf",
        "00005-customer.pdf",
    ]
    assert max(len(name.encode()) for name in names) < 255
    for letter, row in zip(manifest["letters"], CUSTOMERS, strict=True):
        pdf = archive.read(letter["file"])
        assert (letter["customer_id"], letter["sha256"]) == (row[0], hashlib.sha256(pdf).hexdigest())
        assert "".join(row[1].split())[:100] in text_of(pdf)
        for said in (*LETTER.highlights, LETTER.offer, LETTER.offer_until, row[3]):
            assert "".join(said.split()) in text_of(pdf)
    stamp = templates.load("renewal", "").stamp
    assert manifest["document"] == {"template": "renewal", "version": "1", "sha256": stamp.sha256}
    assert batch.progress.document == stamp


async def test_a_batch_made_again_is_the_same_to_the_byte():
    """Whoever takes over from a lost worker, hours later, makes the same file of the same data."""
    first = await made(RENEWALS, packed(CUSTOMERS, CUSTOMER_COLUMNS))
    later = VirtualClock(NOW + timedelta(hours=5))
    assert (await made(RENEWALS, packed(CUSTOMERS, CUSTOMER_COLUMNS), clock=later)).content == first.content


async def test_a_batch_has_at_most_so_many_letters():
    """The largest number passes; one more is refused."""
    limits = DocumentLimits(letters_max=6)
    assert (await made(RENEWALS, packed(CUSTOMERS, CUSTOMER_COLUMNS), limits=limits)).progress.rows_done == 6
    with pytest.raises(PayloadTooLargeError, match="at most 6 letters"):
        await made(RENEWALS, packed([*CUSTOMERS, CUSTOMERS[0]], CUSTOMER_COLUMNS), limits=limits)


async def test_a_version_that_is_not_there_is_refused_by_name():
    """The answer says which there are."""
    with pytest.raises(InvalidRequestError, match="no version '7'; there are 1"):
        await made(replace(RENEWALS, template_version="7"), packed(CUSTOMERS, CUSTOMER_COLUMNS))


async def test_computing_without_end_is_ended_by_the_kernel():
    """Past its seconds the renderer is killed, and the requester is told what to do instead."""
    rows = [[f"{number:05}", "长" * 300, "长" * 300, "王芳"] for number in range(2_000)]
    with pytest.raises(PayloadTooLargeError, match=r"at most 1 s of computing.*xlsx"):
        await made(REPORT, packed(rows, CUSTOMER_COLUMNS), limits=DocumentLimits(characters_max=10**7, cpu_s_max=1))
    assert children() == []


async def test_memory_is_bounded_by_the_kernel():
    """A document that would fill the machine ends its renderer, not the service."""
    rows = [[f"{number:05}", "长" * 300, "长" * 300, "王芳"] for number in range(2_000)]
    limits = DocumentLimits(characters_max=10**7, memory_bytes_max=160 * 1024**2)
    with pytest.raises(PayloadTooLargeError, match=r"160 MiB of memory.*xlsx"):
        await made(REPORT, packed(rows, CUSTOMER_COLUMNS), limits=limits)
    assert children() == []


CONFINED = """
import json, os, socket, subprocess, sys, tempfile
from services.files.documents.confinement import confine
from services.files.documents.domain import DocumentLimits
folder = tempfile.mkdtemp()
confine(DocumentLimits())
def tried(act):
    try:
        act()
    except BaseException as error:
        return type(error).__name__
    return "done"
print(json.dumps({
    "socket": tried(lambda: socket.socket()),
    "pair": tried(lambda: socket.socketpair()),
    "program": tried(lambda: os.execv("/bin/true", ["true"])),
    "file": tried(lambda: open(os.path.join(folder, "x"), "wb", buffering=0).write(b"x")),
    "compute": tried(lambda: sum(range(1000))),
}))
"""


def test_a_renderer_can_only_compute():
    """No socket, no program, no byte in a file: held by the kernel whatever a template or a library does."""
    done = subprocess.run(
        [sys.executable, "-c", CONFINED],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "socket": "PermissionError",
        "pair": "PermissionError",
        "program": "PermissionError",
        "file": "OSError",
        "compute": "done",
    }
