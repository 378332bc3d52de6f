"""Export jobs in a real PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.errors import InvalidRequestError, RateLimitedError
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.ids import uuid7
from breakwater.files.v1.events_pb2 import ExportCompleted, ExportFailed
from services.files.documents.domain import Stamp
from services.files.exports.domain import Artifact, Failure, JobState, Letter, Progress, Spec
from services.files.exports.store import JobStore

pytestmark = pytest.mark.capability(36, 37)

NOW = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
LEASE = timedelta(seconds=3)
DAY = timedelta(days=1)
ACTOR = Actor("1001", Role.SALES, Scope.TEAM)
SPEC = Spec("leads", "xlsx", ("name", "phone"), {"stage": "新"})
FILE = Artifact("exports/a/w.xlsx", 7, 99, "ab" * 32)


@pytest.fixture
def jobs(database):
    return JobStore(database, queued_max=50, retention=DAY)


async def add(jobs, at=NOW, failure=None, spec=SPEC):
    """A new job."""
    return await jobs.add(uuid7(), ACTOR, spec, at, failure)


async def test_a_job_is_kept_as_it_was_asked_for(jobs):
    """Actor, fields, filter and times come back as they went in."""
    job = await add(jobs)
    assert await jobs.get(job.id) == job
    assert (job.actor, job.spec, job.state, job.requested_at) == (ACTOR, SPEC, JobState.QUEUED, NOW)


async def test_one_id_is_one_job_however_many_ask_at_once(jobs, as_admin):
    """Request and event may claim the same export at the same moment."""
    job_id = uuid7()
    claimed = await asyncio.gather(*(jobs.add(job_id, ACTOR, SPEC, NOW, None) for _ in range(8)))
    assert len({job.id for job in claimed}) == 1
    assert (await as_admin("SELECT count(*) AS n FROM export_job"))[0]["n"] == 1


async def test_each_due_job_is_taken_by_one_worker(jobs):
    """Workers that look at the same time take different jobs, and none takes what is not due."""
    for number in range(5):
        await add(jobs, NOW + timedelta(minutes=number))
    at = NOW + timedelta(minutes=3)
    taken = await asyncio.gather(*(jobs.take(f"w{number}", at, at + LEASE) for number in range(8)))
    held = [job for job in taken if job is not None]
    assert len({job.id for job in held}) == len(held) == 4
    assert {job.state for job in held} == {JobState.RUNNING}


async def test_who_has_few_files_in_hand_comes_before_who_has_many(jobs):
    """Ten exports asked for at once by one person do not keep another's waiting."""
    other = Actor("1002", Role.SALES, Scope.TEAM)
    first, second, third = [(await add(jobs, NOW + timedelta(seconds=number))).id for number in range(3)]
    late = (await jobs.add(uuid7(), other, SPEC, NOW + timedelta(seconds=9), None)).id
    at = NOW + timedelta(minutes=1)
    assert not await jobs.working(at)
    taken = [await jobs.take(f"w{number}", at, at + LEASE) for number in range(4)]
    assert [job.id for job in taken] == [first, late, second, third]
    assert await jobs.working(at)
    assert not await jobs.working(at + LEASE)


async def test_a_slot_for_few_rows_takes_none_that_is_known_to_have_many(jobs):
    """What nobody has counted yet may be small."""
    job = await add(jobs)
    held = await jobs.take("quick", NOW, NOW + LEASE, 100)
    assert await jobs.extend(held, Progress(1, 101), NOW + LEASE)
    assert await jobs.put_back(held, NOW, failures=0, defects=0)
    assert await jobs.take("quick", NOW, NOW + LEASE, 100) is None
    assert (await jobs.take("slow", NOW, NOW + LEASE)).id == job.id


async def test_a_slot_for_few_rows_looks_first_at_who_wants_one_file(jobs):
    """Ten of one person have to be counted before it is known that they are large; the other's one does not wait for that."""
    for number in range(10):
        await add(jobs, NOW + timedelta(seconds=number))
    other = Actor("1002", Role.SALES, Scope.TEAM)
    late = await jobs.add(uuid7(), other, SPEC, NOW + timedelta(seconds=30), None)
    at = NOW + timedelta(minutes=1)
    assert (await jobs.take("quick", at, at + LEASE, 100)).id == late.id


@pytest.mark.capability(41)
async def test_a_slot_for_few_rows_takes_no_document(jobs):
    """Few rows are quickly written, but not quickly set on pages."""
    job = await add(jobs, spec=Spec("leads", "pdf"))
    assert await jobs.take("quick", NOW, NOW + LEASE, 100) is None
    assert (await jobs.take("slow", NOW, NOW + LEASE)).id == job.id


LETTERS = Spec("renewals", "pdf", template_version="1", letter=Letter(("可用率 99.98 %",), "八折", "2026-12-31"))


@pytest.mark.capability(41)
async def test_what_made_a_document_is_kept_and_told(jobs, as_admin):
    """The job comes back as it was asked for; template, version and hash stand in its row and in its event."""
    await add(jobs, spec=LETTERS)
    job = await jobs.take("w", NOW, NOW + LEASE)
    assert job.spec == LETTERS
    stamp = Stamp("renewal", "1", "ab" * 32)
    assert await jobs.complete(job, replace(FILE, document=stamp), NOW, NOW + DAY)
    assert (await jobs.get(job.id)).artifact.document == stamp
    (row,) = await as_admin("SELECT payload FROM outbox")
    told = ExportCompleted.FromString(row["payload"]).document
    assert (told.template, told.version, told.template_sha256) == ("renewal", "1", "ab" * 32)


async def test_a_lease_that_ends_is_taken_over(jobs):
    """A renewed lease keeps others away; one that is not renewed lets them in and shuts the old holder out."""
    await add(jobs)
    first = await jobs.take("one", NOW, NOW + LEASE)
    assert await jobs.extend(first, Progress(5, 10), NOW + 2 * LEASE)
    assert await jobs.take("two", NOW + LEASE, NOW + 2 * LEASE) is None
    second = await jobs.take("two", NOW + 2 * LEASE, NOW + 3 * LEASE)
    assert (second.id, second.holder, second.takes, second.rows_done) == (first.id, "two", 2, 0)
    assert not await jobs.extend(first, Progress(), NOW + DAY)
    assert not await jobs.complete(first, FILE, NOW, NOW + DAY)
    assert not await jobs.fail(first, Failure("x", "y"), NOW, NOW + DAY)
    assert not await jobs.put_back(first, NOW, failures=1, defects=0)
    assert (await jobs.get(first.id)).holder == "two"


async def test_a_completed_job_and_its_event_are_one(jobs, as_admin):
    """The file becomes visible and ExportCompleted is on its way in the same transaction, once."""
    await add(jobs)
    held = await jobs.take("w", NOW, NOW + LEASE)
    assert await jobs.complete(held, FILE, NOW, NOW + DAY)
    assert not await jobs.complete(held, FILE, NOW, NOW + DAY)
    job = await jobs.get(held.id)
    assert (job.state, job.artifact, job.finished_at, job.holder) == (JobState.COMPLETED, FILE, NOW, None)
    (row,) = await as_admin("SELECT type, subject_id, sequence, payload FROM outbox")
    assert (row["type"], row["subject_id"], row["sequence"]) == ("breakwater.files.v1.ExportCompleted", job.id, 1)
    event = ExportCompleted.FromString(row["payload"])
    assert (event.export_id, event.rows, event.size_bytes, event.sha256) == (job.id, 7, 99, FILE.sha256)


async def test_a_failed_job_and_its_event_are_one(jobs, as_admin):
    """So it is when there will be no file, told at the end or at the beginning."""
    await add(jobs)
    held = await jobs.take("w", NOW, NOW + LEASE)
    assert await jobs.fail(held, Failure("permission_denied", "not yours"), NOW, NOW + DAY)
    refused = await add(jobs, failure=Failure("invalid_request", "no such dataset"))
    assert await jobs.take("w", NOW + DAY, NOW + DAY) is None
    rows = await as_admin("SELECT payload FROM outbox ORDER BY position")
    events = [ExportFailed.FromString(row["payload"]) for row in rows]
    assert [(event.export_id, event.code) for event in events] == [
        (held.id, "permission_denied"),
        (refused.id, "invalid_request"),
    ]


async def test_a_job_put_back_waits_for_its_time(jobs):
    """It keeps count of what went wrong, and is not taken before it is due."""
    await add(jobs)
    held = await jobs.take("w", NOW, NOW + LEASE)
    assert await jobs.put_back(held, NOW + DAY, failures=2, defects=1)
    assert await jobs.take("w", NOW + LEASE, NOW + DAY) is None
    again = await jobs.take("w", NOW + DAY, NOW + DAY + LEASE)
    assert (again.failures, again.defects, again.takes) == (2, 1, 1)


async def test_the_queue_has_a_limit(database):
    """One more than may wait is told to come later; what is known already is still answered."""
    jobs = JobStore(database, queued_max=2, retention=DAY)
    first, _ = await add(jobs), await add(jobs)
    with pytest.raises(RateLimitedError) as caught:
        await add(jobs)
    assert caught.value.code == "export_queue_full"
    assert (await jobs.add(first.id, ACTOR, SPEC, NOW, None)).id == first.id


async def test_only_ended_jobs_past_their_time_are_removed(jobs):
    """Retention touches no job that is waiting or running, and each is removed by one process."""
    ended, _, _ = await add(jobs), await add(jobs, NOW + DAY), await add(jobs, NOW + DAY)
    held = await jobs.take("w", NOW, NOW + LEASE)
    await jobs.complete(held, FILE, NOW, NOW + DAY)
    assert await jobs.take_expired(NOW, NOW + DAY, 10) == []
    later = NOW + 2 * DAY
    found = await asyncio.gather(*(jobs.take_expired(later, later + DAY, 10) for _ in range(4)))
    assert [job_id for ids in found for job_id in ids] == [ended.id]
    await jobs.remove(ended.id)
    assert await jobs.get(ended.id) is None


async def test_a_cancelled_job_is_nobodys_and_is_removed_in_time(jobs, database, as_admin):
    """Whoever makes it loses the lease; one that has ended, or that nobody knows, stays as it is."""
    queued, running, done = [await add(jobs) for _ in range(3)]
    held = {job.id: job for job in [await jobs.take(f"w{number}", NOW, NOW + LEASE) for number in range(2)]}
    await jobs.complete(held[running.id], FILE, NOW, NOW + DAY) if running.id in held else None
    for job in (queued, running, done):
        async with database.transaction() as tx:
            await jobs.within(tx).cancel(job.id, NOW)
            await jobs.within(tx).cancel(uuid7(), NOW)
    states = {job.id: (await jobs.get(job.id)).state for job in (queued, running, done)}
    assert states == {queued.id: JobState.CANCELLED, running.id: JobState.COMPLETED, done.id: JobState.CANCELLED}
    assert not await jobs.extend(held[queued.id], Progress(), NOW + DAY)
    assert not await jobs.complete(held[queued.id], FILE, NOW, NOW + DAY)
    assert await jobs.take("w", NOW + DAY, NOW + 2 * DAY) is None
    assert set(await jobs.take_expired(NOW + DAY, NOW + 2 * DAY, 10)) == {queued.id, running.id, done.id}
    await jobs.remove(queued.id)
    assert await jobs.get(queued.id) is None


async def test_an_id_that_is_none_of_ours_is_refused_by_name(jobs):
    """An export id is a UUID; asking for anything else finds nothing."""
    with pytest.raises(InvalidRequestError) as caught:
        await jobs.add("x' OR 1=1", ACTOR, SPEC, NOW, None)
    assert caught.value.errors[0].field == "export_id"
    assert await jobs.get("x' OR 1=1") is None
