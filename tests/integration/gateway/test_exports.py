"""Exports end to end on real NATS and PostgreSQL: files up, stopped, hanging, refusing us, and back again."""

import asyncio
import csv
import hashlib
import io
import time
from pathlib import Path

import openpyxl
import pytest

from breakwater.files.v1 import files_pb2
from breakwater.gateway.v1.events_pb2 import ExportCancelled, ExportDegraded, ExportDelivered, ExportRequested

pytestmark = pytest.mark.capability(36, 37, 39)
FALLBACK_S_MAX = 2.0


async def test_files_makes_the_full_file(peers, start_gateway, finished, eventually):
    """Announced in the transaction of the request, claimed, watched, delivered, downloaded with its checksum."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export(fields=["name"], filter={"stage": "new"})
    await eventually(lambda: peers.files.claims)
    job = peers.files.finish(export_id, b"a full file" * 20_000)
    export = await finished(gateway, export_id)
    assert (export["engine"], export["rows"], export["sha256"]) == ("files", 3, job.sha256)
    assert "degraded" not in export
    content = await gateway.client.get(f"/v1/exports/{export_id}/content")
    assert hashlib.sha256(content.content).hexdigest() == export["sha256"]
    part = await gateway.client.get(f"/v1/exports/{export_id}/content", headers={"range": "bytes=100000-100003"})
    assert (part.status_code, part.content) == (206, (b"a full file" * 20_000)[100_000:100_004])
    (requested,) = [ExportRequested.FromString(each) for each in await gateway.events("ExportRequested")]
    assert (requested.export_id, requested.spec.dataset, list(requested.spec.fields)) == (export_id, "leads", ["name"])
    (delivered,) = [ExportDelivered.FromString(each) for each in await gateway.events("ExportDelivered")]
    assert (delivered.export_id, delivered.requester_id, delivered.supersedes) == (export_id, "1001", "")


async def test_a_finished_file_that_files_cannot_hand_out_is_stood_in_for(
    peers, start_gateway, finished, eventually, say_ended
):
    """files made it and went out: who downloads gets the base fields at once, and the full file when it is back."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export(format="csv")
    await eventually(lambda: peers.files.claims)
    peers.files.finish(export_id, b"a full file")
    assert (await finished(gateway, export_id))["engine"] == "files"
    await peers.stop("files")
    answers = await asyncio.gather(*(gateway.client.get(f"/v1/exports/{export_id}/content") for _ in range(5)))
    assert {(each.status_code, each.headers.get("degraded")) for each in answers} == {(200, "files")}
    export = await gateway.read(export_id)
    assert (export["engine"], export["degraded"]["missing"]) == ("local", ["need"])
    assert {hashlib.sha256(each.content).hexdigest() for each in answers} == {export["sha256"]}
    assert len(await gateway.events("ExportDegraded")) == 1
    await peers.start("files")
    full = await finished(gateway, export["degraded"]["follow_up"], timeout_s=30)
    assert (full["engine"], full["supersedes"]) == ("files", export_id)
    assert (await gateway.client.get(f"/v1/exports/{full['id']}/content")).content == b"a full file"


async def test_requests_of_one_moment_are_handed_over_a_few_at_a_time(peers, start_gateway, eventually):
    """All at once they made files seem slow, and the local engine made in the gateway what had only to wait."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    peers.files.held = asyncio.Event()
    exports = set(await asyncio.gather(*(gateway.export() for _ in range(16))))
    await eventually(lambda: peers.files.asked_now == 8)
    peers.files.held.set()
    await eventually(lambda: {each.export_id for each in peers.files.claims} == exports)
    assert peers.files.asked_at_once == 8
    assert await gateway.events("ExportDegraded") == []


async def out_stopped(peers):
    """Nobody listens."""


async def out_hanging(peers):
    await peers.start("files")
    peers.files.hang = True


async def out_refusing(peers):
    await peers.start("files", trusts_us=False)


@pytest.mark.parametrize("make_out", [out_stopped, out_hanging, out_refusing])
async def test_a_degraded_file_is_there_in_two_seconds_and_the_full_one_follows(
    peers, start_gateway, finished, eventually, say_ended, make_out
):
    """Stopped, hanging, or rejecting our credential as in the founding outage: a marked file now, the full one later."""
    await peers.start("leads")
    await make_out(peers)
    gateway = await start_gateway()
    began_s = time.monotonic()
    export_id = await gateway.export()
    export = await finished(gateway, export_id)
    took_s = time.monotonic() - began_s
    assert (export["state"], export["engine"], export["rows"]) == ("completed", "local", 1000)
    assert (export["degraded"]["dependency"], export["degraded"]["missing"]) == ("files", ["need"])
    assert took_s < FALLBACK_S_MAX, f"{took_s:.2f} s"

    content = await gateway.client.get(f"/v1/exports/{export_id}/content")
    assert content.headers["degraded"] == "files"
    assert hashlib.sha256(content.content).hexdigest() == export["sha256"]
    book = openpyxl.load_workbook(io.BytesIO(content.content))
    data, note = book["线索"], book["说明"]
    assert [cell.value for cell in data[1]] == ["字段 id", "字段 name", "字段 phone"]
    assert [cell.value for cell in data[1001]] == ["999", "王芳999", "+8613800000999"]
    told = "\n".join(str(cell.value) for row in note.iter_rows() for cell in row if cell.value)
    assert "降级导出" in told
    assert "need" in told
    (degraded,) = [ExportDegraded.FromString(each) for each in await gateway.events("ExportDegraded")]
    assert (degraded.export_id, degraded.requester_id) == (export_id, "1001")

    full_id = export["degraded"]["follow_up"]
    assert (await gateway.read(full_id))["state"] == "queued"
    await say_ended(peers.files.finish(export_id, b"everything"))
    full = await finished(gateway, full_id)
    assert (full["engine"], full["supersedes"]) == ("files", export_id)
    assert (await gateway.read(export_id))["superseded_by"] == full_id
    (delivered,) = [ExportDelivered.FromString(each) for each in await gateway.events("ExportDelivered")]
    assert (delivered.export_id, delivered.supersedes) == (full_id, export_id)


async def test_the_full_file_follows_when_files_is_back_even_if_no_event_says_so(
    peers, start_gateway, finished, eventually
):
    """JetStream may lose what it likes: the follow-up asks by itself, and files claims the same job."""
    await peers.start("leads")
    gateway = await start_gateway()
    export = await finished(gateway, await gateway.export())
    await peers.start("files")
    peers.files.finish(export["id"], b"everything")
    full = await finished(gateway, export["degraded"]["follow_up"], timeout_s=30)
    assert full["engine"] == "files"
    content = await gateway.client.get(f"/v1/exports/{full['id']}/content")
    assert content.content == b"everything"


async def test_the_circuit_to_files_opens_and_closes(peers, start_gateway, finished, eventually):
    """What /ops shows: open after a few failures, closed once files answers, each fallback counted."""
    await peers.start("leads")
    gateway = await start_gateway()
    policy = gateway.service.policy("files")
    asked = 0
    while policy.snapshot().state.value == "closed" and asked < 6:
        await finished(gateway, await gateway.export())
        asked += 1
    assert policy.snapshot().state.value == "open"
    assert policy.snapshot().fallbacks == asked
    await peers.start("files")
    await eventually(lambda: policy.snapshot().state.value == "closed", timeout_s=30)


async def test_a_forced_fallback_does_not_ask_files_at_all(peers, start_gateway, finished):
    """On-call may take files out of the way before it breaks."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    from breakwater.resilience import Override, OverrideMode  # noqa: PLC0415

    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    until = datetime.now(UTC) + timedelta(minutes=1)
    gateway.service.policy("files").apply(
        Override(mode=OverrideMode.FALLBACK, actor="oncall", reason="upgrade", expires_at=until)
    )
    export = await finished(gateway, await gateway.export(format="csv"))
    assert export["engine"] == "local"
    assert peers.files.claims == []
    content = await gateway.client.get(f"/v1/exports/{export['id']}/content")
    rows = list(csv.reader(io.StringIO(content.content.decode("utf-8-sig"))))
    assert rows[0] == ["字段 id", "字段 name", "字段 phone"]
    assert len(rows) == 1001


async def test_when_leads_is_out_too_nothing_is_lost(peers, start_gateway, finished, eventually):
    """The export waits and is made as soon as there are rows again."""
    await peers.start("leads")
    peers.leads.out = True
    gateway = await start_gateway()
    export_id = await gateway.export()
    await eventually(lambda: gateway.admin.fetchval("SELECT turn > 2 FROM gateway.exports WHERE id = $1", export_id))
    assert (await gateway.read(export_id))["state"] == "queued"
    peers.leads.out = False
    assert (await finished(gateway, export_id, timeout_s=20))["engine"] == "local"


async def test_only_what_was_asked_for_is_in_the_lesser_file(peers, start_gateway, finished):
    """In the order asked for; what is not among the base columns is listed as missing."""
    await peers.start("leads")
    gateway = await start_gateway()
    export = await finished(gateway, await gateway.export(format="csv", fields=["phone", "need", "name"]))
    assert export["degraded"]["missing"] == ["need"]
    content = (await gateway.client.get(f"/v1/exports/{export['id']}/content")).content.decode("utf-8-sig")
    assert content.splitlines()[0] == "字段 phone,字段 name"


async def test_a_gateway_that_ends_in_the_middle_leaves_the_export_to_the_next(
    peers, start_gateway, finished, eventually
):
    """The lease runs out and another takes the step; there is one file and one event."""
    await peers.start("leads")
    peers.leads.hold_rows.clear()
    first = await start_gateway()
    export_id = await first.export()
    await eventually(lambda: peers.leads.streams >= 2)
    await first.stop()
    peers.leads.hold_rows.set()
    second = await start_gateway()
    export = await finished(second, export_id, timeout_s=20)
    assert (export["engine"], export["rows"]) == ("local", 1000)
    assert len(await second.events("ExportDegraded")) == 1
    assert [path.suffix for path in Path(second.service.settings.export_scratch_dir, "exports").iterdir()] == [".xlsx"]


async def test_a_replay_is_the_same_export(peers, start_gateway):
    """The key is kept in the transaction of the request."""
    await peers.start("leads")
    gateway = await start_gateway()
    wanted, headers = {"dataset": "leads", "format": "csv"}, {"idempotency-key": "k1"}
    first = await gateway.client.post("/v1/exports", json=wanted, headers=headers)
    replay = await gateway.client.post("/v1/exports", json=wanted, headers=headers)
    assert (replay.status_code, replay.json()["id"]) == (202, first.json()["id"])
    assert replay.headers["idempotent-replayed"] == "true"
    other = await gateway.client.post("/v1/exports", json=wanted | {"format": "xlsx"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await gateway.admin.fetchval("SELECT count(*) FROM gateway.exports WHERE supersedes IS NULL") == 1
    assert len(await gateway.events("ExportRequested")) == 1


async def test_a_cancelled_export_stays_cancelled(peers, start_gateway, eventually, say_ended):
    """files is told under the name it knows; a file that is finished all the same changes nothing; watchers hear the end."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export()
    await eventually(lambda: peers.files.claims)
    watching = asyncio.create_task(gateway.client.get(f"/v1/exports/{export_id}/progress"))
    reply = await gateway.client.post(f"/v1/exports/{export_id}/cancel")
    assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    assert '"state":"cancelled"' in (await watching).text
    (cancelled,) = [ExportCancelled.FromString(each) for each in await gateway.events("ExportCancelled")]
    assert cancelled.export_id == export_id
    await say_ended(peers.files.finish(export_id, b"too late"))
    await eventually(lambda: gateway.admin.fetchval("SELECT count(*) FROM gateway.inbox"))
    assert (await gateway.read(export_id))["state"] == "cancelled"
    assert await gateway.events("ExportDelivered") == []


async def test_one_requester_has_so_many_exports_under_way(peers, start_gateway, callers):
    """One more is refused and says what to do; others are not affected, nor is the same request asked again."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway(exports_open_max=2)
    key = {"idempotency-key": "first"}
    wanted = {"dataset": "leads", "format": "xlsx"}
    first = await gateway.client.post("/v1/exports", json=wanted, headers=key)
    second = await gateway.export()
    refused = await gateway.client.post("/v1/exports", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (429, "exports_open")
    assert "retry-after" in refused.headers
    assert (await gateway.client.post("/v1/exports", json=wanted, headers=key)).json()["id"] == first.json()["id"]
    other = await gateway.client.post("/v1/exports", json=wanted, headers=callers.bearer(sub="1002"))
    assert other.status_code == 202
    await gateway.client.post(f"/v1/exports/{second}/cancel")
    assert await gateway.export()


LETTER = {"highlights": ["可用率 99.98 %"], "offer": "八折", "offer_until": "2026-12-31"}
DOCUMENT = files_pb2.Document(template="renewal", version="1", template_sha256="ab" * 32)


@pytest.mark.capability(41)
@pytest.mark.parametrize("told_by", ["an answer", "an event"])
async def test_letters_come_from_files_with_what_made_them(
    peers, start_gateway, finished, eventually, say_ended, told_by
):
    """What the letters say reaches files by both ways; the record names the template, whoever told of the end."""
    await peers.start("leads")
    await peers.start("files")
    gateway = await start_gateway()
    export_id = await gateway.export(dataset="renewals", format="pdf", letter=LETTER, template_version="1")
    (claim,) = await eventually(lambda: peers.files.claims)
    (requested,) = [ExportRequested.FromString(each) for each in await gateway.events("ExportRequested")]
    for spec in (claim.spec, requested.spec):
        assert (spec.dataset, spec.format, spec.template_version) == ("renewals", "pdf", "1")
        assert (list(spec.letter.highlights), spec.letter.offer) == (["可用率 99.98 %"], "八折")
        assert spec.letter.offer_until == "2026-12-31"
    job = peers.files.finish(export_id, b"a zip", DOCUMENT)
    if told_by == "an event":
        peers.files.jobs[export_id] = files_pb2.ExportJob(export_id=export_id, state="queued")
        await say_ended(job)
    export = await finished(gateway, export_id)
    assert export["document"] == {"template": "renewal", "version": "1", "template_sha256": "ab" * 32}
    content = await gateway.client.get(f"/v1/exports/{export_id}/content")
    assert (content.headers["content-type"], content.content) == ("application/zip", b"a zip")


@pytest.mark.capability(41)
@pytest.mark.parametrize(
    "wanted", [{"format": "pdf"}, {"dataset": "renewals", "format": "pdf", "letter": LETTER}], ids=["report", "letters"]
)
async def test_rows_stand_in_for_a_document_while_files_is_out(peers, start_gateway, finished, wanted):
    """PDF takes what only files has: the rows come at once as XLSX, marked as lacking the PDF, which follows by itself."""
    await peers.start("leads")
    gateway = await start_gateway()
    export = await finished(gateway, await gateway.export(**wanted))
    assert (export["engine"], export["format"], export["degraded"]["missing"]) == ("local", "pdf", ["pdf"])
    content = await gateway.client.get(f"/v1/exports/{export['id']}/content")
    assert content.headers["content-type"].endswith("spreadsheetml.sheet")
    assert content.headers["content-disposition"].endswith('-degraded.xlsx"')
    book = openpyxl.load_workbook(io.BytesIO(content.content))
    told = [[cell.value for cell in row] for row in book["说明"].iter_rows()]
    assert ["缺少的内容", "pdf"] in told
    assert book.worksheets[0].max_row == 1001
    assert set(peers.leads.datasets) == {"customers" if "letter" in wanted else "leads"}
    await peers.start("files")
    peers.files.finish(export["id"], b"the document", DOCUMENT)
    full = await finished(gateway, export["degraded"]["follow_up"], timeout_s=30)
    assert (full["engine"], full["document"]["template"]) == ("files", "renewal")
    content = await gateway.client.get(f"/v1/exports/{full['id']}/content")
    assert content.content == b"the document"
    assert content.headers["content-type"] == ("application/zip" if "letter" in wanted else "application/pdf")
