"""Claiming, making, losing and reading exports, against a clock turned by hand."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from breakwater.chassis import errors
from breakwater.chassis.sealing import Seals
from services.files.exports.domain import JobState, Limits, Spec

pytestmark = pytest.mark.capability(36, 37)


async def started(desk, job_id="a"):
    """A claimed job."""
    return await desk.exports.start(job_id, desk.actor, desk.spec)


async def test_an_export_becomes_a_file(desk):
    """The rows of the requester's scope end up as an object whose hash and size the job knows."""
    await started(desk)
    assert await desk.workers().make_next("w")
    job = await desk.exports.get("a")
    content = b"<head><one><two>"
    assert job.state is JobState.COMPLETED
    assert desk.objects.kept == {job.artifact.key: content}
    assert (job.artifact.rows, job.artifact.size_bytes) == (3, len(content))
    assert job.artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert desk.rows.asked == [(desk.actor, desk.spec)]


async def test_asking_twice_is_one_job(desk):
    """The same id is the same job, also when it is finished."""
    await started(desk)
    await desk.workers().make_next("w")
    assert (await started(desk)).state is JobState.COMPLETED
    assert not await desk.workers().make_next("w")


async def test_what_cannot_be_made_is_claimed_as_failed(desk):
    """A request that names no dataset of ours gets its answer, whichever way it came."""
    job = await desk.exports.start("a", desk.actor, Spec("people", "docx"))
    assert job.state is JobState.FAILED
    assert job.failure.code == "invalid_request"
    assert "dataset" in job.failure.reason
    assert "format" in job.failure.reason
    assert not await desk.workers().make_next("w")


async def test_a_password_is_opened_for_the_encoder_and_gone_with_the_job(desk):
    """Sealed while the job waits, handed to the encoder in clear, erased when the file is there."""
    desk.spec = Spec("leads", "encrypted-xlsx", sealed_password=desk.seals.seal("correct horse", "a"))
    job = await started(desk)
    assert b"correct" not in job.spec.sealed_password
    await desk.workers().make_next("w")
    job = await desk.exports.get("a")
    assert desk.objects.kept[job.artifact.key] == b"correct horse<head><one><two>"
    assert job.spec.sealed_password is None


@pytest.mark.parametrize("sealed_for", ["another export", "a key that is lost"])
async def test_a_password_that_cannot_be_opened_ends_the_job(desk, sealed_for):
    """Not a plain file, no rows read, no second try: the requester is told by a code of its own."""
    seals = desk.seals if sealed_for == "another export" else Seals(bytes(range(1, 33)))
    sealed = seals.seal("correct horse", "b" if sealed_for == "another export" else "a")
    desk.spec = Spec("leads", "encrypted-xlsx", sealed_password=sealed)
    await started(desk)
    await desk.workers().make_next("w")
    job = await desk.exports.get("a")
    assert (job.state, job.failure.code, job.spec.sealed_password) == (JobState.FAILED, "password_lost", None)
    assert desk.objects.kept == {}
    assert desk.rows.asked == []


@pytest.mark.parametrize("spec", [Spec("leads", "encrypted-xlsx"), Spec("leads", "csv", sealed_password=b"sealed")])
async def test_a_password_and_its_format_go_together(desk, spec):
    """Neither an encrypted file without a password nor a plain one for who gave a password."""
    job = await desk.exports.start("a", desk.actor, spec)
    assert (job.state, job.failure.code) == (JobState.FAILED, "invalid_request")
    assert "password" in job.failure.reason


async def test_no_object_appears_before_the_job_is_complete(desk):
    """While rows still come there is nothing to read, and reading says so."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    making = asyncio.create_task(desk.workers().make_next("w"))
    await desk.clock.advance(10)
    assert desk.objects.kept == {}
    with pytest.raises(errors.ConflictError):
        await anext(desk.exports.read("a", 0, 0))
    desk.rows.gate.set()
    assert await making


async def test_progress_is_told_while_rows_come(desk):
    """Whoever asks sees how many rows of how many are written."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    making = asyncio.create_task(desk.workers().make_next("w"))
    await desk.clock.advance(1.5)
    job = await desk.exports.get("a")
    assert (job.state, job.rows_done, job.rows_total) == (JobState.RUNNING, 3, 3)
    desk.rows.gate.set()
    await making


async def test_a_living_worker_keeps_its_job(desk):
    """The lease is renewed while work goes on, however long that takes."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    making = asyncio.create_task(desk.workers("one").make_next("one"))
    for _ in range(20):
        await desk.clock.advance(1)
        assert not await desk.workers("two").make_next("two")
    desk.rows.gate.set()
    await making
    assert (await desk.exports.get("a")).state is JobState.COMPLETED


async def test_the_job_of_a_dead_worker_is_taken_over(desk):
    """A worker that says nothing for the length of a lease loses its job to the next."""
    await started(desk)
    assert await desk.jobs.take("dead", desk.clock.now(), desk.clock.now() + desk.lease)
    desk.objects.kept["exports/a/dead.xlsx"] = b"half"
    assert not await desk.workers().make_next("w")
    await desk.clock.advance(desk.lease.total_seconds())
    assert await desk.workers().make_next("w")
    assert (await desk.exports.get("a")).state is JobState.COMPLETED
    assert list(desk.objects.kept) == ["exports/a/w.xlsx"]


async def test_a_worker_that_lost_its_lease_leaves_nothing_behind(desk):
    """It stops, and its upload is given up: the new holder's file is the only one."""
    desk.rows.gate, desk.jobs.deaf = asyncio.Event(), True
    await started(desk)
    making = asyncio.create_task(desk.workers().make_next("w"))
    await desk.clock.advance(1)
    assert await making
    assert (desk.objects.kept, desk.objects.uploads) == ({}, 0)
    assert (await desk.exports.get("a")).state is JobState.RUNNING


async def test_a_file_finished_after_its_lease_is_thrown_away(desk):
    """Only the holder of the lease ends a job, even when the loser's file is complete."""
    await started(desk)
    desk.rows.gate = asyncio.Event()
    making = asyncio.create_task(desk.workers("slow").make_next("slow"))
    await desk.clock.advance(0.5)
    job = await desk.jobs.get("a")
    desk.jobs._set(job, holder="other")
    desk.rows.gate.set()
    await making
    assert desk.objects.kept == {}
    assert (await desk.exports.get("a")).holder == "other"


async def test_an_outage_of_leads_is_waited_out(desk):
    """Nothing is lost: the job is put back with a growing delay and made when leads is there again."""
    await started(desk)
    desk.rows.failure = errors.UnavailableError("out", dependency="leads")
    for failures in range(1, 4):
        assert await desk.workers().make_next("w")
        job = await desk.exports.get("a")
        assert (job.state, job.failures) == (JobState.QUEUED, failures)
        assert desk.objects.kept == {}
        assert timedelta(0) < desk.due_in("a") <= timedelta(seconds=0.5 * 2 ** (failures - 1))
        await desk.clock.advance(desk.due_in("a").total_seconds())
    desk.rows.failure = None
    await desk.workers().make_next("w")
    assert (await desk.exports.get("a")).state is JobState.COMPLETED


async def test_an_outage_of_the_object_store_is_waited_out(desk):
    """The store counts as any other dependency."""
    await started(desk)
    desk.objects.failure = errors.UnavailableError("out", dependency="objects")
    await desk.workers().make_next("w")
    assert (await desk.exports.get("a")).state is JobState.QUEUED


async def test_a_refusal_by_leads_fails_the_export(desk):
    """An unknown field or a scope that is not theirs is told to the requester."""
    await started(desk)
    desk.rows.failure = errors.InvalidRequestError("no such field: shoe_size")
    await desk.workers().make_next("w")
    job = await desk.exports.get("a")
    assert (job.state, job.failure.code) == (JobState.FAILED, "invalid_request")
    assert "shoe_size" in job.failure.reason


async def test_a_defect_is_tried_again_and_then_told_without_its_text(desk):
    """An error nobody expected ends the job after a few attempts, its text stays in the log."""
    await started(desk)
    desk.rows.failure = RuntimeError("secret detail")
    for _ in range(3):
        assert await desk.workers().make_next("w")
        await desk.clock.advance(60)
    job = await desk.exports.get("a")
    assert (job.state, job.failure.code) == (JobState.FAILED, "internal")
    assert "secret" not in job.failure.reason


@pytest.mark.parametrize("limits", [Limits(rows_max=2), Limits(size_bytes_max=10)])
async def test_an_export_past_its_limits_fails(desk, limits):
    """Too many rows or bytes end the job with words that say what to do."""
    desk.limits = limits
    await started(desk)
    await desk.workers().make_next("w")
    job = await desk.exports.get("a")
    assert (job.state, job.failure.code) == (JobState.FAILED, "payload_too_large")
    assert "narrow the filter" in job.failure.reason
    assert desk.objects.kept == {}


async def test_a_drain_gives_the_job_back_at_once(desk):
    """A worker that is told to stop leaves its job due for the next, not for the end of its lease."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    making = asyncio.create_task(desk.workers().make_next("w"))
    await desk.clock.advance(0.5)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert (await desk.exports.get("a")).state is JobState.QUEUED
    assert desk.due_in("a") == timedelta(0)
    assert desk.objects.uploads == 0


async def test_a_worker_outlives_an_outage_of_its_database(desk):
    """While PostgreSQL is out workers wait, and go on by themselves."""
    await started(desk)
    desk.jobs.out = errors.UnavailableError("out", dependency="postgres")
    running = asyncio.create_task(desk.workers().run())
    await desk.clock.advance(5)
    desk.jobs.out = None
    await desk.clock.advance(5)
    assert (await desk.exports.get("a")).state is JobState.COMPLETED
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_claim_wakes_the_workers(desk):
    """A new job is begun at once, not at the next look."""
    workers = desk.workers(poll_s=3_600.0)
    running = asyncio.create_task(workers.run())
    await desk.clock.advance(0)
    await started(desk)
    workers.wake()
    await desk.clock.advance(0)
    assert (await desk.exports.get("a")).state is JobState.COMPLETED
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_files_past_their_retention_are_removed(desk):
    """After two weeks neither the object nor the job is there, and reading says so."""
    await started(desk)
    await desk.workers().make_next("w")
    sweeping = asyncio.create_task(desk.workers().sweep())
    await desk.clock.advance(13 * 86_400)
    assert desk.objects.kept
    await desk.clock.advance(86_400 + 300)
    assert desk.objects.kept == {}
    with pytest.raises(errors.NotFoundError):
        await desk.exports.get("a")
    sweeping.cancel()


async def test_a_part_of_a_file_can_be_read(desk):
    """Downloads may ask for a range; one outside of the file is refused by name."""
    await started(desk)
    await desk.workers().make_next("w")

    async def read(offset, length):
        return b"".join([piece async for piece in desk.exports.read("a", offset, length)])

    assert await read(0, 0) == b"<head><one><two>"
    assert await read(6, 5) == b"<one>"
    assert await read(11, 100) == b"<two>"
    assert await read(16, 0) == b""
    for offset, length in ((17, 0), (-1, 0), (0, -1)):
        with pytest.raises(errors.InvalidRequestError):
            await read(offset, length)


async def test_an_unknown_export_is_not_found(desk):
    """There is no job that nobody asked for."""
    with pytest.raises(errors.NotFoundError):
        await desk.exports.get("nothing")


async def test_a_quick_slot_leaves_files_of_many_rows_to_others(desk):
    """How many there are is known when the first come, before an encoder starts: the job goes back to its place for others."""
    job = await started(desk)
    await desk.clock.advance(1)
    assert await desk.workers().make_next("quick", rows_max=2)
    job = await desk.exports.get("a")
    assert (job.state, job.rows_total, job.failures, job.defects) == (JobState.QUEUED, 3, 0, 0)
    assert (desk.due_in("a"), desk.objects.kept, desk.encoder.started) == (timedelta(seconds=-1), {}, 0)
    assert not await desk.workers().make_next("quick", rows_max=2)
    assert await desk.workers().make_next("slow")
    assert (await desk.exports.get("a")).state is JobState.COMPLETED


async def test_a_quick_slot_takes_nothing_while_another_is_free(desk):
    """A large export that began there would have to begin anew."""
    workers = desk.workers(quick_concurrency_max=1, quick_rows_max=2)
    running = asyncio.create_task(workers.run())
    for name in ("a", "b", "c"):
        await started(desk, name)
        workers.wake()
        await desk.clock.advance(2)
        assert (await desk.exports.get(name)).state is JobState.COMPLETED
    assert [job.holder for job in desk.jobs.taken] == ["w-0"] * 3
    running.cancel()
    await asyncio.wait({running})


async def test_a_small_export_does_not_wait_for_large_ones(desk):
    """While every other slot has a file in hand that does not end, the quick one makes what comes."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    workers = desk.workers(quick_concurrency_max=1, quick_rows_max=3)
    running = asyncio.create_task(workers.run())
    await desk.clock.advance(0.5)
    assert (await desk.exports.get("a")).state is JobState.RUNNING
    desk.rows.gate = None
    await started(desk, "b")
    workers.wake()
    await desk.clock.advance(2)
    assert (await desk.exports.get("b")).state is JobState.COMPLETED
    assert (await desk.exports.get("a")).state is JobState.RUNNING
    running.cancel()
    await asyncio.wait({running})


async def test_a_file_that_stands_still_is_given_up_and_tried_again(desk):
    """Others wait behind it: after half a minute without a row it goes back into the queue."""
    desk.rows.gate = asyncio.Event()
    await started(desk)
    making = asyncio.create_task(desk.workers(stalled_s=30).make_next("w"))
    for _ in range(29):
        await desk.clock.advance(1)
    assert (await desk.exports.get("a")).state is JobState.RUNNING
    for _ in range(3):
        await desk.clock.advance(1)
    assert await making
    job = await desk.exports.get("a")
    assert (job.state, job.failures, desk.objects.kept) == (JobState.QUEUED, 1, {})


@pytest.mark.capability(41)
async def test_a_document_is_set_after_its_last_row(desk):
    """No row comes while it is: it may take longer than a spreadsheet that stands still, but not for ever."""
    desk.rows.gate = asyncio.Event()
    desk.spec = Spec("leads", "pdf")
    await started(desk)
    making = asyncio.create_task(desk.workers(stalled_s=2, document_stalled_s=10).make_next("w"))
    for _ in range(9):
        await desk.clock.advance(1)
    assert (await desk.exports.get("a")).state is JobState.RUNNING
    for _ in range(3):
        await desk.clock.advance(1)
    assert await making
    assert (await desk.exports.get("a")).failures == 1


async def test_whoever_waits_hears_whether_others_are_being_made(desk):
    """A queue that moves is worth waiting for; one that nobody works on is not."""
    await started(desk)
    await started(desk, "b")
    assert not (await desk.exports.get("b")).queue_moves
    await desk.jobs.take("w", desk.clock.now(), desk.clock.now() + desk.lease)
    assert (await desk.exports.get("b")).queue_moves
    assert not (await desk.exports.get("a")).queue_moves
    await desk.clock.advance(desk.lease.total_seconds())
    assert not (await desk.exports.get("b")).queue_moves
