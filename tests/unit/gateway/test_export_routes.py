"""Exports over HTTP: requests, replays, degraded answers, content in ranges."""

import hashlib
from dataclasses import replace

import pytest

from breakwater.chassis.errors import UnavailableError
from services.gateway.exports.domain import Degradation, Document, Engine, ExportState, File, Letter
from tests.unit.gateway.test_problems import assert_problem

pytestmark = pytest.mark.capability(36, 37, 39)
BODY = b"0123456789"
SHA = hashlib.sha256(BODY).hexdigest()
WANTED = {"dataset": "leads", "format": "csv"}
LETTER = {"highlights": ["全年可用率 99.98 %"], "offer": "续签三年享八折。", "offer_until": "2026-12-31"}
STAMP = Document("renewal", "1", "ab" * 32)


@pytest.fixture
async def full(gateway):
    """A finished export of files; its content is BODY."""
    export_id = (await gateway.ask("POST", "/v1/exports", json=WANTED)).json()["id"]
    gateway.exports.rows[export_id] = replace(
        gateway.exports.rows[export_id], state=ExportState.COMPLETED, engine=Engine.FILES, file=File(3, len(BODY), SHA)
    )
    gateway.exports.bodies[export_id] = BODY
    return f"/v1/exports/{export_id}"


async def test_a_request_is_accepted_and_can_be_followed(gateway):
    """202 with id, state and Location."""
    reply = await gateway.ask("POST", "/v1/exports", json=WANTED | {"fields": ["name"], "filter": {"stage": "new"}})
    assert (reply.status_code, reply.json()["state"]) == (202, "queued")
    followed = await gateway.ask("GET", reply.headers["location"])
    assert followed.json()["state"] == "queued"
    spec = gateway.exports.rows[reply.json()["id"]].spec
    assert (spec.fields, spec.filter) == (("name",), {"stage": "new"})


async def test_a_replay_answers_the_first_result_and_another_body_is_refused(gateway):
    """The gateway owns exports, so it keeps their keys itself."""
    headers = {"idempotency-key": "k1"}
    first = await gateway.ask("POST", "/v1/exports", json=WANTED, headers=headers)
    replay = await gateway.ask("POST", "/v1/exports", json=WANTED, headers=headers)
    assert replay.json() == first.json()
    assert replay.headers["idempotent-replayed"] == "true"
    other = await gateway.ask("POST", "/v1/exports", json=WANTED | {"dataset": "customers"}, headers=headers)
    assert_problem(other, 422, "idempotency_key_reused")
    assert len(gateway.exports.rows) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": "correct horse"}, "password"),
        ({"format": "pdf", "password": "correct horse"}, "password"),
        ({"format": "pdf", "fields": [f"f{number}" for number in range(13)]}, "fields"),
        ({"format": "pdf", "template_version": "latest"}, "template_version"),
        ({"template_version": "1"}, "template_version"),
        ({"letter": LETTER}, "letter"),
        ({"dataset": "renewals", "format": "pdf"}, "letter"),
        ({"dataset": "renewals", "format": "xlsx", "letter": LETTER}, "format"),
        ({"dataset": "renewals", "format": "pdf", "letter": LETTER, "fields": ["name"]}, "fields"),
        ({"dataset": "renewals", "format": "pdf", "letter": LETTER | {"offer": ""}}, "letter.offer"),
        ({"dataset": "renewals", "format": "pdf", "letter": LETTER | {"highlights": ["x"] * 9}}, "letter.highlights"),
        ({"dataset": "renewals", "format": "pdf", "letter": LETTER | {"offer_until": "soon"}}, "letter.offer_until"),
        ({"format": "xlsx", "password": "correct"}, "password"),
        ({"format": "xlsx", "password": "correct horse" * 10}, "password"),
        ({"format": "xlsx", "password": "correct horse\x00"}, "password"),
        ({"format": "xlsx", "password": 12345678}, "password"),
        ({"format": "docx"}, "format"),
        ({"format": "xlsx", "encoding": "gbk"}, "encoding"),
        ({"encoding": "big5"}, "encoding"),
        ({"dataset": "passwords"}, "dataset"),
        ({"fields": ["name; DROP TABLE"]}, "fields.0"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
    ],
)
async def test_what_cannot_be_made_is_refused_by_name(gateway, change, field):
    """No file that only seems protected, no unknown dataset, no SQL in a column's name."""
    body = assert_problem(await gateway.ask("POST", "/v1/exports", json=WANTED | change), 422, "invalid_request")
    assert [entry["field"] for entry in body["errors"]] == [field]
    assert "correct horse" not in str(body)


@pytest.mark.capability(41)
@pytest.mark.parametrize(
    ("wanted", "media_type", "name"),
    [
        ({"dataset": "leads", "format": "pdf", "template_version": "1"}, "application/pdf", ".pdf"),
        ({"dataset": "renewals", "format": "pdf", "letter": LETTER}, "application/zip", ".zip"),
    ],
)
async def test_a_document_says_what_it_is_and_what_made_it(gateway, wanted, media_type, name):
    """A report is a PDF, letters come in a ZIP; the record names template, version and hash."""
    export_id = (await gateway.ask("POST", "/v1/exports", json=wanted)).json()["id"]
    asked = gateway.exports.rows[export_id]
    assert asked.spec.template_version == wanted.get("template_version", "")
    assert asked.spec.letter == (
        Letter(("全年可用率 99.98 %",), "续签三年享八折。", "2026-12-31") if "letter" in wanted else None
    )
    gateway.exports.rows[export_id] = replace(
        asked, state=ExportState.COMPLETED, engine=Engine.FILES, file=File(3, len(BODY), SHA, STAMP)
    )
    gateway.exports.bodies[export_id] = BODY
    record = (await gateway.ask("GET", f"/v1/exports/{export_id}")).json()
    assert record["document"] == {"template": "renewal", "version": "1", "template_sha256": "ab" * 32}
    content = await gateway.ask("GET", f"/v1/exports/{export_id}/content")
    assert content.headers["content-type"] == media_type
    assert content.headers["content-disposition"].endswith(f'{name}"')


async def test_a_password_is_sealed_at_the_door(gateway):
    """The record says that the file is behind a password; what is kept is of use to nobody without the key."""
    reply = await gateway.ask("POST", "/v1/exports", json=WANTED | {"format": "xlsx", "password": "correct horse 密码"})
    assert reply.status_code == 202
    export = gateway.exports.rows[reply.json()["id"]]
    assert export.spec.encrypted
    assert b"correct horse" not in export.sealed_password
    assert gateway.exports.seals.open(export.sealed_password, export.job_id) == "correct horse 密码"
    view = (await gateway.ask("GET", reply.headers["location"])).json()
    assert view["encrypted"] is True
    for text in (str(view), reply.text, repr(export)):
        assert "correct horse" not in text


async def test_the_same_key_with_another_password_is_another_request(gateway):
    """Who asks again with a typing error must not believe that this is the password now."""
    headers, wanted = {"idempotency-key": "k1"}, WANTED | {"format": "xlsx"}
    first = await gateway.ask("POST", "/v1/exports", json=wanted | {"password": "correct horse"}, headers=headers)
    again = await gateway.ask("POST", "/v1/exports", json=wanted | {"password": "correct horse"}, headers=headers)
    other = await gateway.ask("POST", "/v1/exports", json=wanted | {"password": "correct house"}, headers=headers)
    assert again.json() == first.json()
    body = assert_problem(other, 422, "idempotency_key_reused")
    assert "correct" not in str(body)


async def test_a_finished_encrypted_file_that_files_cannot_hand_out_is_waited_for(gateway, full):
    """Its password was erased with its end: no lesser file can be made, and a plain one is none."""
    export_id = full.rsplit("/", 1)[1]
    row = gateway.exports.rows[export_id]
    gateway.exports.rows[export_id] = replace(row, spec=replace(row.spec, format="xlsx", encrypted=True))
    gateway.exports.out = UnavailableError("files is out", dependency="files")
    assert_problem(await gateway.ask("GET", f"{full}/content"), 503, "unavailable")
    gateway.exports.out = None
    assert (await gateway.ask("GET", f"{full}/content")).content == BODY


async def test_a_degraded_export_says_so_everywhere(gateway, full):
    """Header and body, of the record and of the content; the file itself carries a note (see the local engine)."""
    export_id = full.rsplit("/", 1)[1]
    gateway.exports.rows[export_id] = replace(
        gateway.exports.rows[export_id],
        engine=Engine.FILES,
        degradation=Degradation("files", "files is out", ("need", "utm")),
        follow_up="later",
        superseded_by="later",
    )
    reply = await gateway.ask("GET", full)
    assert reply.headers["degraded"] == "files"
    assert reply.json()["degraded"] == {
        "dependency": "files",
        "fallback": "local",
        "missing": ["need", "utm"],
        "reason": "files is out",
        "follow_up": "later",
    }
    assert reply.json()["superseded_by"] == "later"
    content = await gateway.ask("GET", f"{full}/content")
    assert content.headers["degraded"] == "files"
    assert "-degraded.csv" in content.headers["content-disposition"]


async def test_content_is_streamed_with_its_checksum(gateway, full):
    """The ETag is the SHA-256 of the whole."""
    reply = await gateway.ask("GET", f"{full}/content")
    assert (reply.status_code, reply.content) == (200, BODY)
    assert (reply.headers["etag"], reply.headers["content-length"]) == (f'"{SHA}"', "10")


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 206, BODY, "bytes 0-9/10"),
        ("bytes=0-1,3-4", 200, BODY, None),
        ("bytes=5-2", 200, BODY, None),
        ("rows=1-2", 200, BODY, None),
        ("bytes=-", 200, BODY, None),
    ],
)
async def test_one_range_is_answered_and_others_are_passed_over(gateway, full, asked, status, content, told):
    """RFC 9110: a download goes on where it broke off."""
    reply = await gateway.ask("GET", f"{full}/content", headers={"range": asked})
    assert (reply.status_code, reply.content, reply.headers.get("content-range")) == (status, content, told)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
async def test_a_range_outside_of_the_file_is_416(gateway, full, asked):
    """The size is told."""
    reply = await gateway.ask("GET", f"{full}/content", headers={"range": asked})
    assert_problem(reply, 416, "range_not_satisfiable")
    assert reply.headers["content-range"] == "bytes */10"


async def test_a_range_of_another_version_gets_the_whole(gateway, full):
    """If-Range: a client does not glue halves of two files together."""
    headers = {"range": "bytes=4-", "if-range": '"another"'}
    assert (await gateway.ask("GET", f"{full}/content", headers=headers)).status_code == 200
    headers["if-range"] = f'"{SHA}"'
    assert (await gateway.ask("GET", f"{full}/content", headers=headers)).status_code == 206


async def test_a_file_the_caller_has_is_not_sent_again(gateway, full):
    """304 for the same checksum."""
    reply = await gateway.ask("GET", f"{full}/content", headers={"if-none-match": f'"{SHA}"'})
    assert (reply.status_code, reply.content) == (304, b"")


async def test_a_local_file_whose_time_is_over_is_not_found(gateway, full):
    """It was removed by its retention; the code says so."""
    export_id = full.rsplit("/", 1)[1]
    gateway.exports.rows[export_id] = replace(gateway.exports.rows[export_id], engine=Engine.LOCAL)
    assert_problem(await gateway.ask("GET", f"{full}/content"), 404, "export_expired")


async def test_a_full_file_that_files_cannot_hand_out_is_replaced_by_a_lesser_one(gateway, full, tmp_path):
    """The answer says so, and so does the record from then on."""
    gateway.exports.out = UnavailableError("files is out", dependency="files")
    export_id = full.rsplit("/", 1)[1]
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / f"{export_id}.csv").write_bytes(b"a,b\r\n1,2\r\n")
    gateway.exports.made = File(1, 10, "ab")
    content = await gateway.ask("GET", f"{full}/content", headers={"range": "bytes=4-", "if-range": f'"{SHA}"'})
    assert (content.status_code, content.content) == (200, b"a,b\r\n1,2\r\n")
    assert (content.headers["degraded"], content.headers["etag"]) == ("files", '"ab"')
    record = (await gateway.ask("GET", full)).json()
    assert (record["engine"], record["degraded"]["follow_up"]) == ("local", f"{export_id}-full")


async def test_a_part_of_a_full_file_is_never_made_up_for_by_part_of_a_lesser_one(gateway, full):
    """A client without If-Range would glue halves of two files together."""
    gateway.exports.out = UnavailableError("files is out", dependency="files")
    reply = await gateway.ask("GET", f"{full}/content", headers={"range": "bytes=4-"})
    assert assert_problem(reply, 503, "unavailable")["dependency"] == "files"
    assert (await gateway.ask("GET", full)).json()["engine"] == "files"


async def test_anothers_export_is_not_found(gateway, full):
    """Neither its record nor its content."""
    headers = gateway.bearer("sales", sub="1002", scope="own")
    for path in (full, f"{full}/content"):
        assert_problem(await gateway.ask("GET", path, headers=headers), 404, "not_found")


async def test_an_export_that_nobody_wants_is_cancelled(gateway):
    """Asked twice it is the same; there is no file, and the content says why."""
    path = (await gateway.ask("POST", "/v1/exports", json=WANTED)).headers["location"]
    for _ in range(2):
        reply = await gateway.ask("POST", f"{path}/cancel")
        assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    assert_problem(await gateway.ask("GET", f"{path}/content"), 409, "export_cancelled")


async def test_what_has_ended_or_is_anothers_is_not_cancelled(gateway, full):
    """The file that is there stays; whose it is not learns nothing."""
    assert_problem(await gateway.ask("POST", f"{full}/cancel"), 409, "export_ended")
    stranger = gateway.bearer("sales", sub="1002", scope="own")
    assert_problem(await gateway.client.post(f"{full}/cancel", headers=stranger), 404, "not_found")
    assert (await gateway.ask("GET", f"{full}/content")).content == BODY


async def test_the_progress_of_an_export_that_has_ended_is_one_event(gateway, full):
    """It says how it ended, and that is all."""
    reply = await gateway.ask("GET", f"{full}/progress")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "content-length" not in reply.headers
    assert reply.text.count("event: progress") == 1
    assert '"state":"completed"' in reply.text
    stranger = gateway.bearer("sales", sub="1002", scope="own")
    assert_problem(await gateway.client.get(f"{full}/progress", headers=stranger), 404, "not_found")


async def test_a_csv_in_gbk_is_asked_for_by_a_kind_of_its_own_and_says_so(gateway):
    """files that does not know it refuses it; whoever downloads it learns the encoding."""
    reply = await gateway.ask("POST", "/v1/exports", json=WANTED | {"encoding": "gbk"})
    export_id = reply.json()["id"]
    row = gateway.exports.rows[export_id]
    assert (row.spec.kind, row.spec.format_of(row.spec.kind)) == ("gbk-csv", "csv")
    gateway.exports.rows[export_id] = replace(
        row, state=ExportState.COMPLETED, engine=Engine.FILES, file=File(3, len(BODY), SHA)
    )
    gateway.exports.bodies[export_id] = BODY
    content = await gateway.ask("GET", f"/v1/exports/{export_id}/content")
    assert content.headers["content-type"] == "text/csv; charset=gbk"
    assert content.headers["content-disposition"].endswith('.csv"')
    assert (await gateway.ask("GET", f"/v1/exports/{export_id}")).json()["format"] == "csv"
