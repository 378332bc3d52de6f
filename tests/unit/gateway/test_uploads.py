"""Files to import: any order of parts, bounded, spooled to disk, recognised under their key."""

import pytest

from breakwater.leads.v1 import leads_pb2
from tests.unit.gateway.conftest import UPLOAD_MAX
from tests.unit.gateway.test_problems import assert_problem

pytestmark = pytest.mark.capability(53, 70, 124)
CSV = "姓名,电话\r\n王芳,13812345678\r\n".encode()


def form(*parts, boundary="b0undary", end=True):
    """A multipart body of (name, filename or None, content)."""
    lines = []
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        lines += [f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode(), content, b"\r\n"]
    if end:
        lines.append(f"--{boundary}--\r\n".encode())
    return {
        "content": b"".join(lines),
        "headers": {"content-type": f"multipart/form-data; boundary={boundary}"},
    }


FILE, MAPPING = ("file", "线索.csv", CSV), ("mapping", None, b"zoho")


@pytest.fixture
def importing(gateway):
    """leads accepts every import."""
    answer = leads_pb2.StartImportResponse()
    getattr(answer, "import").id = "0198"
    getattr(answer, "import").state = "queued"
    gateway.leads.answers["StartImport"] = answer
    return gateway


@pytest.mark.parametrize("parts", [(FILE, MAPPING), (MAPPING, FILE)], ids=["file-first", "mapping-first"])
async def test_the_file_reaches_leads_whole_after_its_head(importing, parts):
    """curl sends parts in the order they were written; leads always gets the head first."""
    reply = await importing.ask("POST", "/v1/imports", **form(*parts))
    assert reply.status_code == 202, reply.text
    assert reply.json()["errors_url"] == "/v1/imports/0198/rejections"
    assert reply.headers["location"] == "/v1/imports/0198"
    (sent,) = importing.leads.requests("StartImport")
    assert (sent[0].head.mapping, sent[0].head.filename, sent[0].head.actor.sub) == ("zoho", "线索.csv", "1001")
    assert b"".join(message.content for message in sent[1:]) == CSV


async def test_the_same_file_under_one_key_is_the_same_request_whatever_the_boundary(importing):
    """A retry makes up a new boundary; another file or mapping is another request."""
    for change in [
        form(FILE, MAPPING),
        form(MAPPING, FILE, boundary="another"),
        form(("file", "线索.csv", CSV + b" "), MAPPING),
        form(FILE, ("mapping", None, b"other")),
    ]:
        change["headers"]["idempotency-key"] = "k1"
        assert (await importing.ask("POST", "/v1/imports", **change)).status_code == 202
    first, retry, other_file, other_mapping = (
        sent[0].head.idempotency.body_hmac for sent in importing.leads.requests("StartImport")
    )
    assert first == retry
    assert len({first, other_file, other_mapping}) == 3


async def test_the_largest_upload_passes_and_one_byte_more_is_413(importing):
    """The limit is that of the whole body; nothing too large reaches leads."""
    empty = len(form(("file", "f", b""), MAPPING)["content"])
    fitting = form(("file", "f", b"x" * (UPLOAD_MAX - empty)), MAPPING)
    assert len(fitting["content"]) == UPLOAD_MAX
    assert (await importing.ask("POST", "/v1/imports", **fitting)).status_code == 202
    reply = await importing.ask("POST", "/v1/imports", **form(("file", "f", b"x" * (UPLOAD_MAX - empty + 1)), MAPPING))
    assert_problem(reply, 413, "payload_too_large")
    assert len(importing.leads.requests("StartImport")) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (form(MAPPING), 422, "file"),
        (form(FILE, MAPPING, ("mapping_document", None, b"dataset: leads")), 422, "mapping"),
        (form(FILE, MAPPING, MAPPING), 422, "mapping"),
        (form(FILE, FILE, MAPPING), 422, "file"),
        (form(FILE, MAPPING, ("colour", None, b"red")), 422, "colour"),
        (form(FILE, ("mapping", None, b"\xff\xfe")), 422, "mapping"),
        (form(FILE, MAPPING, ("reassign", None, b"maybe")), 422, "reassign"),
    ],
)
async def test_a_wrong_part_is_named(importing, body, status, field):
    """Missing, doubled, unknown or unreadable parts."""
    problem = assert_problem(await importing.ask("POST", "/v1/imports", **body), status, "invalid_request")
    assert field in [entry["field"] for entry in problem["errors"]]
    assert not [sent for sent in importing.leads.requests("StartImport") if sent]


@pytest.mark.parametrize(
    "body",
    [
        form(FILE, MAPPING, end=False),
        {"content": b"no boundary at all", "headers": form()["headers"]},
        {"content": b"", "headers": form()["headers"]},
        {"content": b"--b0undary\r\n" + b"X: y\r\n" * 50 + b"\r\n", "headers": form()["headers"]},
        {"content": b"--b0undary\r\nX: " + b"y" * 5000, "headers": form()["headers"]},
    ],
    ids=["cut", "no-boundary", "empty", "many-headers", "long-header"],
)
async def test_a_body_that_is_no_multipart_is_malformed(importing, body):
    """Cut off, or not what its content type says: 422, and nothing is imported."""
    assert_problem(await importing.ask("POST", "/v1/imports", **body), 422, "malformed_body")
    assert importing.leads.asked == []


async def test_a_text_part_is_bounded(importing):
    """A mapping is no way to fill memory."""
    body = form(FILE, ("mapping_document", None, b"x" * 66_000))
    reply = await importing.ask("POST", "/v1/imports", **body)
    assert reply.status_code == 413


async def test_more_uploads_than_allowed_are_503(make_gateway):
    """Each takes disk: the one too many is told when to come back."""
    gateway = await make_gateway(uploads_max=0)
    assert_problem(await gateway.ask("POST", "/v1/imports", **form(FILE, MAPPING)), 503, "overloaded")
