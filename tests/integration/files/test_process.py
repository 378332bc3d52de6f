"""Whole processes of files with real PostgreSQL, NATS, gRPC and a folder of objects: what the gateway sees of them."""

import hashlib
import io
import json
import os
import signal
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from python_calamine import CalamineWorkbook

from breakwater.chassis.bus import BusMessage, StreamSpec
from breakwater.chassis.cloudevents import headers_of
from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from breakwater.chassis.ids import uuid7
from breakwater.chassis.sealing import Seals
from breakwater.files.v1.events_pb2 import ExportCompleted, ExportFailed
from breakwater.files.v1.files_pb2 import ExportSpec
from breakwater.gateway.v1.events_pb2 import ExportCancelled, ExportRequested
from breakwater.identity.v1.identity_pb2 import ROLE_SALES, SCOPE_OWN, Actor
from tests.integration.files.conftest import SEAL_KEY, seal_key_file
from tests.support.encrypted import decrypted
from tests.support.s3 import new_bucket
from tests.support.waiting import until

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[3]
PASSWORD = "密码 correct horse"


async def outcomes(as_admin):
    """What files published, by export."""
    rows = await as_admin("SELECT type, payload FROM outbox ORDER BY position")
    kinds = {"breakwater.files.v1.ExportCompleted": ExportCompleted, "breakwater.files.v1.ExportFailed": ExportFailed}
    return [kinds[row["type"]].FromString(row["payload"]) for row in rows]


def rows_of(content):
    """The cells of the first sheet."""
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def left(tmp_path: Path):
    """Every file of the object store, parts of uploads included."""
    return [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


async def publish(bus, wanted):
    """Publishes an event as the gateway's relay does."""
    await bus.ensure_stream(StreamSpec("GATEWAY", ("breakwater.gateway.v1.>",)))
    kind, event_id = wanted.DESCRIPTOR.full_name, uuid7()
    headers = headers_of(
        event_id=event_id,
        event_type=kind,
        source="gateway",
        subject_id=wanted.export_id,
        sequence=1,
        time=datetime.now(UTC),
        traceparent=None,
    )
    await bus.publish_batch([BusMessage(kind, wanted.SerializeToString(), headers)])


async def test_an_export_is_made_and_read(new_process, leads, as_admin, tmp_path):
    """Started, completed with a hash that is the content's, in the requester's scope, told once."""
    files, export_id = new_process(), uuid7()
    job = await files.begin(export_id, fields=["name", "phone"], filter={"stage": "new"})
    assert job.state in {"queued", "running", "completed"}
    assert (await files.begin(export_id)).export_id == export_id
    job = await files.ended(export_id)
    pieces = await files.content(export_id)
    content = b"".join(pieces)
    assert (job.state, job.rows_done, job.size_bytes) == ("completed", 1_200, len(content))
    assert job.sha256 == hashlib.sha256(content).hexdigest()
    assert len(rows_of(content)) == 1_201
    assert b"".join(await files.content(export_id, 100, 50)) == content[100:150]
    (request,) = leads[0].requests
    assert (request.actor.sub, request.actor.scope, request.dataset) == ("1001", SCOPE_OWN, "leads")
    assert (list(request.fields), request.filter.stage) == (["name", "phone"], "new")
    assert [event.sha256 for event in await outcomes(as_admin)] == [job.sha256]
    assert len(left(tmp_path)) == 1


async def test_a_kill_loses_and_doubles_nothing(new_process, leads, as_admin, tmp_path):
    """kill -9 in the middle of a file: the next process makes it whole, once, and no half of one is ever there."""
    servicer, _ = leads
    servicer.rows, servicer.stop_after = 30_000, 40
    files, export_id = new_process(EXPORTS_QUICK_CONCURRENCY_MAX="0"), uuid7()
    await files.begin(export_id)
    await until("rows are under way", lambda: servicer.requests, 60)
    with pytest.raises(ConflictError):
        await files.content(export_id)
    files.kill()
    assert [path for path in left(tmp_path) if "#" not in path.name] == []
    servicer.gate.set()
    other = new_process(EXPORTS_QUICK_CONCURRENCY_MAX="0")
    job = await other.ended(export_id)
    content = b"".join(await other.content(export_id))
    assert (job.state, job.rows_done) == ("completed", 30_000)
    assert len(rows_of(content)) == 30_001
    assert len(servicer.requests) == 2
    assert [event.export_id for event in await outcomes(as_admin)] == [export_id]
    assert [path.stat().st_size for path in left(tmp_path)] == [job.size_bytes]


async def test_a_bucket_keeps_files_as_a_folder_does(new_process, leads, s3_server, as_admin, tmp_path):
    """Over S3: made, read whole and in part; killed in the middle, made anew by the next, and one object is there."""
    servicer, _ = leads
    servicer.rows, servicer.stop_after = 9_000, 10
    bucket = new_bucket(s3_server, f"b{uuid7()}")
    options = tmp_path / "s3.json"
    options.write_text(json.dumps(bucket.options))
    options.chmod(0o600)
    told = {"OBJECT_STORE_URL": bucket.url, "OBJECT_STORE_OPTIONS_FILE": str(options)}
    files, export_id = new_process(**told), uuid7()
    await files.begin(export_id)
    await until("rows are under way", lambda: servicer.requests, 60)
    files.kill()
    servicer.gate.set()
    other = new_process(**told)
    job = await other.ended(export_id)
    content = b"".join(await other.content(export_id))
    assert (job.state, job.sha256) == ("completed", hashlib.sha256(content).hexdigest())
    assert len(rows_of(content)) == 9_001
    assert b"".join(await other.content(export_id, 100, 50)) == content[100:150]
    assert [key.split("/")[1] for key in bucket.objects()] == [export_id]
    assert [event.export_id for event in await outcomes(as_admin)] == [export_id]


async def test_a_living_sister_takes_over_within_seconds(new_process, leads):
    """With two processes a kill costs the length of a lease, not a restart."""
    servicer, _ = leads
    servicer.stop_after = 1
    first, export_id = new_process(EXPORTS_CONCURRENCY_MAX="1"), uuid7()
    await first.begin(export_id)
    await until("rows are under way", lambda: servicer.requests, 60)
    second = new_process()
    await until("the sister answers", lambda: second.job(export_id), 60)
    first.kill()
    servicer.gate.set()
    assert (await second.ended(export_id, within_s=20)).state == "completed"


async def test_a_drain_hands_the_job_on(new_process, leads, as_admin):
    """SIGTERM ends with 0 and leaves the job due at once."""
    servicer, _ = leads
    servicer.stop_after = 1
    files, export_id = new_process(), uuid7()
    await files.begin(export_id)
    await until("rows are under way", lambda: servicer.requests, 60)
    assert await files.end() == 0
    (row,) = await as_admin("SELECT state, holder, takes, due_at <= now() AS due FROM export_job")
    assert dict(row) == {"state": "queued", "holder": None, "takes": 0, "due": True}


async def test_an_outage_of_leads_is_waited_out(new_process, leads):
    """While leads is out the job waits; when it is back the file comes by itself."""
    servicer, _ = leads
    servicer.failure = UnavailableError("out")
    files, export_id = new_process(), uuid7()
    await files.begin(export_id)
    await until("files tried", lambda: len(servicer.requests) >= 2, 30)
    assert (await files.job(export_id)).state in {"queued", "running"}
    servicer.failure = None
    assert (await files.ended(export_id)).state == "completed"


async def test_what_leads_refuses_fails_the_export(new_process, leads, as_admin):
    """The requester is told the reason, and nobody tries again."""
    servicer, _ = leads
    servicer.failure = InvalidRequestError("no such field: shoe_size")
    files, export_id = new_process(), uuid7()
    await files.begin(export_id, fields=["shoe_size"])
    job = await files.ended(export_id)
    assert (job.state, job.failure) == ("failed", "no such field: shoe_size")
    assert [(event.export_id, event.code) for event in await outcomes(as_admin)] == [(export_id, "invalid_request")]
    with pytest.raises(ConflictError):
        await files.content(export_id)


async def test_an_encrypted_export_is_behind_its_password_and_nothing_else_has_that(
    new_process, leads, as_admin, tmp_path
):
    """The job says so, the row is rid of the seal, and neither row, event, log nor object store ever had it in clear."""
    files, export_id = new_process(), uuid7()
    sealed = Seals(SEAL_KEY).seal(PASSWORD, export_id)
    job = await files.begin(export_id, format="encrypted-xlsx", sealed_password=sealed)
    assert job.encrypted
    job = await files.ended(export_id)
    assert (job.state, job.encrypted) == ("completed", True)
    content = b"".join(await files.content(export_id))
    assert zipfile.is_zipfile(io.BytesIO(decrypted(content, PASSWORD)))
    (row,) = await as_admin("SELECT sealed_password, export_job::text AS whole FROM export_job")
    assert row["sealed_password"] is None
    (outcome,) = await outcomes(as_admin)
    assert outcome.encrypted
    kept = [path.read_bytes() for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert kept == [content]
    for text in (row["whole"].encode(), outcome.SerializeToString(), files.log.read_bytes(), *kept):
        assert PASSWORD.encode() not in text
        assert PASSWORD.encode("utf-16-le") not in text
        assert sealed not in text


async def test_a_worker_killed_over_an_encrypted_export_is_followed_by_another(new_process, leads, as_admin):
    """The seal waits with the job until its file is there: kill -9 loses nothing, and leaves no plain part behind."""
    servicer, _ = leads
    servicer.stop_after = 1
    files, export_id = new_process(), uuid7()
    sealed = Seals(SEAL_KEY).seal(PASSWORD, export_id)
    await files.begin(export_id, format="encrypted-xlsx", sealed_password=sealed)
    await until("rows are under way", lambda: servicer.requests, 60)
    files.kill()
    (row,) = await as_admin("SELECT sealed_password FROM export_job")
    assert row["sealed_password"] == sealed
    servicer.gate.set()
    files = new_process()
    assert (await files.ended(export_id)).state == "completed"
    assert decrypted(b"".join(await files.content(export_id)), PASSWORD)


async def test_a_release_that_is_put_back_makes_no_plain_file_of_an_encrypted_export(
    new_process, leads, as_admin, tmp_path
):
    """The pinned 0.2.0, which knows no passwords, on the tables as they are now: the job fails there, and no file is kept."""
    servicer, _ = leads
    servicer.stop_after = 1
    files, export_id = new_process(), uuid7()
    sealed = Seals(SEAL_KEY).seal(PASSWORD, export_id)
    await files.begin(export_id, format="encrypted-xlsx", sealed_password=sealed)
    await until("rows are under way", lambda: servicer.requests, 60)
    files.kill()
    servicer.gate.set()
    [wheel] = (ROOT / "contracts/files/0.2.0").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "release")
    files.environment["PYTHONPATH"] = str(tmp_path / "release")
    files.start()
    failed = "SELECT 1 FROM export_job WHERE defects > 0 OR state IN ('failed', 'completed')"
    await until("the release tried", lambda: as_admin(failed), 60)
    assert left(tmp_path) == []
    (row,) = await as_admin("SELECT defects, object_key FROM export_job")
    assert (row["defects"], row["object_key"]) == (1, None)


async def test_a_changed_key_opens_what_waits_and_a_lost_one_fails_it_by_name(new_process, leads, tmp_path):
    """With the key before beside it every password is opened; without, the export fails and no file is made."""
    new_key = tmp_path / "new.key"
    new_key.write_bytes(SEAL_KEY[::-1])
    new_key.chmod(0o600)
    old_key = seal_key_file(tmp_path)
    kept, lost = uuid7(), uuid7()
    files = new_process(SEAL_KEY_FILE=new_key, SEAL_KEY_PREVIOUS_FILE=old_key)
    await files.begin(kept, format="encrypted-xlsx", sealed_password=Seals(SEAL_KEY).seal(PASSWORD, kept))
    assert (await files.ended(kept)).state == "completed"
    await files.end()
    files = new_process(SEAL_KEY_FILE=new_key)
    await files.begin(lost, format="encrypted-xlsx", sealed_password=Seals(SEAL_KEY).seal(PASSWORD, lost))
    job = await files.ended(lost)
    assert (job.state, job.failure_code, job.encrypted) == ("failed", "password_lost", True)


async def test_an_event_claims_what_no_request_could(new_process, leads, gateway_bus, as_admin):
    """ExportRequested published while files was away is made when it is there, and once though both ways lead to it."""
    export_id, at = uuid7(), Timestamp()
    at.GetCurrentTime()
    wanted = ExportRequested(
        export_id=export_id,
        actor=Actor(sub="1001", role=ROLE_SALES, scope=SCOPE_OWN),
        spec=ExportSpec(dataset="leads", format="csv"),
        requested_at=at,
    )
    await publish(gateway_bus, wanted)
    files = new_process()
    await files.begin(export_id, format="csv")
    job = await files.ended(export_id)
    assert job.state == "completed"
    assert b"".join(await files.content(export_id)).startswith(b"\xef\xbb\xbf")
    await until("the event is taken", lambda: as_admin("SELECT FROM inbox"))
    assert len(leads[0].requests) == 1
    assert len(await outcomes(as_admin)) == 1


async def test_a_cancelled_export_is_given_up_in_the_middle(new_process, leads, gateway_bus, as_admin, tmp_path):
    """The event takes the lease away: work stops, nothing of the file or its password is left, nobody is told of an end."""
    servicer, _ = leads
    servicer.stop_after = 1
    files, export_id = new_process(), uuid7()
    sealed = Seals(SEAL_KEY).seal(PASSWORD, export_id)
    await files.begin(export_id, format="encrypted-xlsx", sealed_password=sealed)
    await until("rows are under way", lambda: servicer.requests, 60)
    await publish(gateway_bus, ExportCancelled(export_id=export_id))
    job = await files.ended(export_id)
    assert job.state == "cancelled"
    assert [row["sealed_password"] for row in await as_admin("SELECT sealed_password FROM export_job")] == [None]
    servicer.gate.set()
    await until("the upload is gone", lambda: not left(tmp_path), 60)
    assert await outcomes(as_admin) == []
    with pytest.raises(ConflictError):
        await files.content(export_id)


async def test_what_files_does_not_have_is_not_found(new_process):
    """Neither a job nor a content, whatever the id looks like."""
    files = new_process()
    await files.begin(uuid7())
    for export_id in (uuid7(), "no id"):
        with pytest.raises(NotFoundError):
            await files.job(export_id)
        with pytest.raises(NotFoundError):
            await files.content(export_id)


@pytest.mark.capability(41)
async def test_a_killed_renderer_costs_an_attempt_and_no_letter(new_process, leads, as_admin):
    """kill -9 of the process that renders: the job is made again and is whole, with every customer once."""
    servicer, _ = leads
    servicer.rows, servicer.stop_after = 60, 1
    files, export_id = new_process(), uuid7()
    letter = {"highlights": ["可用率 99.98 %"], "offer": "八折"}
    await files.begin(export_id, dataset="renewals", format="pdf", letter=letter)
    await until("rows are under way", lambda: servicer.requests, 60)
    for pid in await until("the renderer is there", lambda: encoders_of(files.process.pid), 60):
        os.kill(pid, signal.SIGKILL)
    servicer.gate.set()
    job = await files.ended(export_id)
    assert (job.state, job.rows_done) == ("completed", 60)
    (request, *_) = servicer.requests
    assert (request.dataset, list(request.fields)) == ("customers", ["id", "name", "company", "owner_name"])
    assert len(servicer.requests) == 2
    archive = zipfile.ZipFile(io.BytesIO(b"".join(await files.content(export_id))))
    assert len(archive.namelist()) == 61
    assert (job.document.template, job.document.version) == ("renewal", "1")
    (event,) = await outcomes(as_admin)
    assert event.document == job.document
    assert json.loads(archive.read("manifest.json"))["document"]["sha256"] == job.document.template_sha256


@pytest.mark.capability(41)
async def test_a_report_of_a_named_version_is_made_or_refused(new_process, leads):
    """The version that is there makes a PDF of the base columns; another is refused by name."""
    files, made, refused = new_process(), uuid7(), uuid7()
    await files.begin(made, format="pdf", template_version="1")
    await files.begin(refused, format="pdf", template_version="7")
    assert (await files.ended(made)).document.template == "report"
    assert b"".join(await files.content(made)).startswith(b"%PDF-")
    assert {request.base_fields_only for request in leads[0].requests} == {True}
    job = await files.ended(refused)
    assert (job.state, job.failure) == ("failed", "Template report has no version '7'; there are 1.")


def encoders_of(pid):
    """The encoder processes of a process of files."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"exports.encoder" in Path(f"/proc/{child}/cmdline").read_bytes()]
