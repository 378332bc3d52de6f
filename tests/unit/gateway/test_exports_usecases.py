"""One step of an export at a time, over fakes of files, the local engine and the store."""

import asyncio
from dataclasses import replace

import pytest

from breakwater.chassis.errors import BreakwaterError, ConflictError, NotFoundError, UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.exports.domain import Engine, ExportState, File, Job, JobState, Spec
from services.gateway.exports.usecases import Key
from tests.unit.gateway.fakes import FakeExports

pytestmark = pytest.mark.capability(36, 37, 39)
ME = Actor("1001", Role.SALES, Scope.OWN)
RUNNING, FILE = Job(JobState.RUNNING, rows_done=1), File(3, 100, "ab")


@pytest.fixture
def fakes(clock):
    return FakeExports(clock)


@pytest.fixture
def clock():
    from breakwater.chassis.clock import VirtualClock  # noqa: PLC0415

    return VirtualClock()


async def requested(fakes):
    return (await fakes.use_cases.request(ME, Spec("leads", "xlsx", (), {}), Key("", b"")))[0]


async def advanced(fakes, export):
    await fakes.use_cases.advance(export)
    return fakes.rows[export.id]


async def test_an_export_that_files_makes_is_full(fakes):
    """Claimed, looked at, completed."""
    fakes.jobs = [RUNNING, Job(JobState.COMPLETED, file=FILE)]
    export = await advanced(fakes, await requested(fakes))
    export = await advanced(fakes, export)
    assert (export.state, export.engine, export.file) == (ExportState.COMPLETED, Engine.FILES, FILE)
    assert fakes.asked == ["claim", "look again in 0.2 s", "look"]


async def test_while_files_is_out_the_local_engine_makes_a_marked_file(fakes):
    """The answer says who is out, why, what is missing and which export will be full."""
    fakes.jobs = [UnavailableError("files is out", dependency="files")]
    export = await advanced(fakes, await requested(fakes))
    assert (export.state, export.engine) == (ExportState.COMPLETED, Engine.LOCAL)
    assert (export.degradation.dependency, export.degradation.reason) == ("files", "files is out")
    assert (export.degradation.missing, export.follow_up) == (("need",), f"{export.id}-full")


async def test_files_that_dies_in_the_middle_is_bridged_as_well(fakes):
    """A job in progress is no reason to wait for a dead service."""
    fakes.jobs = [RUNNING, UnavailableError("files is out")]
    export = await advanced(fakes, await requested(fakes))
    assert (await advanced(fakes, export)).engine is Engine.LOCAL


async def test_a_job_that_files_lost_is_handed_over_again(fakes):
    """files may come back from an older backup."""
    fakes.jobs = [NotFoundError("no such job"), RUNNING]
    running = replace(await requested(fakes), state=ExportState.RUNNING)
    await advanced(fakes, running)
    assert fakes.asked[:2] == ["look", "claim"]


async def test_when_both_engines_fail_nothing_is_lost(fakes):
    """The export stays queued and is tried again."""
    fakes.jobs, fakes.made = [UnavailableError("out")], UnavailableError("leads is out")
    export = await advanced(fakes, await requested(fakes))
    assert export.state is ExportState.QUEUED
    assert fakes.asked[-1] == "look again in 0.2 s"


async def test_another_persons_export_is_not_found(fakes):
    """Not even that it exists is told."""
    export = await requested(fakes)
    with pytest.raises(NotFoundError):
        await fakes.use_cases.read(Actor("1002", Role.SALES, Scope.OWN), export.id)


@pytest.mark.parametrize(("state", "code"), [(ExportState.QUEUED, "export_not_ready"), (ExportState.FAILED, "too_big")])
async def test_content_that_is_not_there_is_a_conflict(fakes, state, code):
    """Still being made, or failed: the code tells which."""
    export = await requested(fakes)
    fakes.rows[export.id] = replace(export, state=state, failure_code="too_big")
    with pytest.raises(ConflictError) as caught:
        await fakes.use_cases.read_finished(ME, export.id)
    assert caught.value.code == code


OUT = UnavailableError("files is out", dependency="files")


async def finished(fakes, **changes):
    """A full export."""
    full = replace(await requested(fakes), state=ExportState.COMPLETED, engine=Engine.FILES, file=FILE, **changes)
    fakes.rows[full.id] = full
    return full


async def test_a_full_file_that_cannot_be_had_is_stood_in_for_once(fakes):
    """Everybody who asks meanwhile gets the same lesser file, also when the first one goes away."""
    full = await finished(fakes)
    first, *others = [asyncio.create_task(fakes.use_cases.stand_in(full, OUT)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    for export in await asyncio.gather(*others):
        assert (export.engine, export.file, export.degradation.reason) == (Engine.LOCAL, fakes.made, "files is out")
        assert export.follow_up == f"{export.id}-full"
    assert fakes.asked == ["make: files is out"]


@pytest.mark.parametrize(
    ("failure", "made", "changes"),
    [
        (OUT, UnavailableError("leads is out"), {}),
        (NotFoundError("its retention is over"), FILE, {}),
        (OUT, FILE, {"supersedes": "the lesser one"}),
    ],
)
async def test_nothing_stands_in_where_there_is_nothing_better(fakes, failure, made, changes):
    """Both engines fail, the file is gone for good, or the lesser file is there already: the first failure is told."""
    fakes.made = made
    full = await finished(fakes, **changes)
    with pytest.raises(BreakwaterError) as told:
        await fakes.use_cases.stand_in(full, failure)
    assert told.value is failure
    assert fakes.rows[full.id] == full


PLAIN = Job(JobState.COMPLETED, file=FILE)
"""What a release of files that does not know passwords says, whatever it made."""


async def encrypted(fakes):
    spec = Spec("leads", "xlsx", (), {}, encrypted=True)
    return (await fakes.use_cases.request(ME, spec, Key("", b""), "correct horse"))[0]


async def test_an_encrypted_export_is_complete_when_files_says_that_it_is_encrypted(fakes):
    """Claimed, made, and said to be behind the password."""
    fakes.jobs = [Job(JobState.COMPLETED, file=FILE, encrypted=True)]
    assert (await advanced(fakes, await encrypted(fakes))).engine is Engine.FILES


@pytest.mark.parametrize("answer", [PLAIN, RUNNING, Job(JobState.FAILED, failure="format is one of xlsx, csv")])
async def test_a_files_that_does_not_know_passwords_is_fallen_back_from(fakes, answer):
    """Whatever it says of its job: a plain file is never taken for the one that was asked for."""
    fakes.jobs = [answer]
    export = await advanced(fakes, await encrypted(fakes))
    assert (export.engine, export.degradation.reason) == (Engine.LOCAL, "files does not know passwords")
    full = replace(await encrypted(fakes), supersedes=export.id)
    fakes.jobs = [answer]
    full = await advanced(fakes, full)
    assert (full.state, full.failure_code) == (ExportState.FAILED, "encryption_unsupported")


async def test_a_password_that_files_cannot_open_is_fallen_back_from(fakes):
    """Two processes with different keys are a contract broken between them, as in the founding outage."""
    lost = Job(JobState.FAILED, failure="lost", failure_code="password_lost", encrypted=True)
    fakes.jobs = [lost]
    export = await advanced(fakes, await encrypted(fakes))
    assert (export.engine, export.degradation.reason) == (Engine.LOCAL, "files cannot open the password")
    fakes.jobs = [lost]
    full = await advanced(fakes, replace(await encrypted(fakes), supersedes=export.id))
    assert (full.state, full.failure_code) == (ExportState.FAILED, "password_lost")


async def test_a_password_that_nobody_can_open_fails_the_export_by_name(fakes):
    """Trying again would not help: the requester asks anew."""
    fakes.jobs = [UnavailableError("files is out")]
    fakes.made = ConflictError("the password of this export can no longer be opened", code="password_lost")
    export = await advanced(fakes, await encrypted(fakes))
    assert (export.state, export.failure_code) == (ExportState.FAILED, "password_lost")
