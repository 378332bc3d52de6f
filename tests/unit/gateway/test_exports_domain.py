"""What becomes of an export, decided from what files was seen to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.errors import (
    DeadlineExceededError,
    DependencyAuthError,
    InternalError,
    InvalidRequestError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
)
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.exports import domain
from services.gateway.exports.domain import (
    Complete,
    Export,
    ExportState,
    Fail,
    FallBack,
    File,
    Job,
    JobState,
    LookAgain,
    Patience,
    Spec,
)

pytestmark = pytest.mark.capability(36, 37, 39)
NOW = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
ME = Actor("1001", Role.SALES, Scope.OWN)
EXPORT = Export("e", "e", ME, Spec("leads", "xlsx", (), {}), ExportState.QUEUED, NOW)
FOLLOW_UP = replace(EXPORT, id="f", supersedes="e")
FILE = File(3, 100, "ab")


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def test_a_finished_job_completes_the_export():
    """The file of files is the full one."""
    assert domain.after_seeing(EXPORT, Job(JobState.COMPLETED, file=FILE), NOW, Patience()) == Complete(FILE)


def test_a_job_that_files_gave_up_fails_with_its_words():
    """Trying again would not help, so it is not tried."""
    step = domain.after_seeing(EXPORT, Job(JobState.FAILED, failure="unknown column"), NOW, Patience())
    assert step == Fail("export_failed", "unknown column")


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("out"),
        DeadlineExceededError("late"),
        DependencyAuthError("our token is refused"),
        OverloadedError("at its limit"),
        InternalError("a defect of files"),
    ],
)
def test_whatever_is_wrong_with_files_the_local_engine_takes_over(error):
    """Stopped, hanging, refusing our credential, overloaded, broken: the requester gets a file."""
    assert isinstance(domain.after_failure(EXPORT, error, NOW, Patience()), FallBack)


def test_the_reason_is_told_in_words_for_people():
    """The founding outage reads as what it was."""
    assert domain.after_failure(EXPORT, DependencyAuthError("x"), NOW, Patience()) == FallBack(
        "files refuses our credential"
    )


def test_the_requesters_own_fault_is_no_reason_to_fall_back():
    """A lesser file would not be what was wrongly asked for."""
    step = domain.after_failure(EXPORT, InvalidRequestError("no such column", code="unknown_field"), NOW, Patience())
    assert step == Fail("unknown_field", "no such column")


def test_a_follow_up_waits_for_files_and_never_falls_back():
    """It exists to be the full file; it asks ever more seldom."""
    steps = [
        domain.after_failure(replace(FOLLOW_UP, turn=turn), UnavailableError("out"), NOW, Patience())
        for turn in (1, 2, 3, 50)
    ]
    assert [step.at - NOW for step in steps] == [timedelta(seconds=each) for each in (5, 10, 20, 60)]


def test_a_follow_up_is_not_waited_for_for_ever():
    """After its days it fails and says why."""
    step = domain.after_failure(FOLLOW_UP, UnavailableError("out"), later(7 * 86_400), Patience())
    assert isinstance(step, Fail)


def test_a_job_that_stands_still_is_taken_over():
    """files answers, but makes nothing: that is out as well (gray failure)."""
    job = Job(JobState.RUNNING, rows_done=5)
    running = replace(EXPORT, rows_done=5, progressed_at=NOW)
    assert isinstance(domain.after_seeing(running, job, later(29), Patience()), LookAgain)
    assert isinstance(domain.after_seeing(running, job, later(30), Patience()), FallBack)


def test_a_job_waits_in_a_queue_that_moves():
    """Where files makes others, its turn comes; where it makes none, the local engine takes over."""
    moving, still = (Job(JobState.QUEUED, queue_moves=moves) for moves in (True, False))
    assert isinstance(domain.after_seeing(EXPORT, moving, later(9999), Patience()), LookAgain)
    assert isinstance(domain.after_seeing(EXPORT, still, later(30), Patience()), FallBack)


def test_a_slow_job_that_moves_is_left_alone():
    """However long it takes."""
    running = replace(EXPORT, rows_done=5, progressed_at=NOW)
    assert isinstance(
        domain.after_seeing(running, Job(JobState.RUNNING, rows_done=6), later(9999), Patience()), LookAgain
    )


def test_the_pace_slows_down_while_nothing_moves_and_is_bounded():
    """Few questions to a busy service, none more than two seconds apart."""
    paces = [
        domain.after_seeing(replace(EXPORT, turn=turn), Job(JobState.QUEUED), NOW, Patience()).at - NOW
        for turn in (1, 2, 3, 4, 30)
    ]
    assert paces == [timedelta(seconds=each) for each in (0.2, 0.4, 0.8, 1.6, 2.0)]


def test_while_both_engines_fail_they_are_tried_again_until_patience_ends():
    """leads may be down as well; then the failure of the local engine is told."""
    out = UnavailableError("out", dependency="leads")
    assert isinstance(domain.after_local_failure(EXPORT, out, later(899), Patience()), LookAgain)
    assert domain.after_local_failure(EXPORT, out, later(900), Patience()) == Fail("unavailable", "out")


def test_too_many_rows_for_the_local_engine_fail_at_once():
    """Another try would meet the same limit."""
    assert isinstance(domain.after_local_failure(EXPORT, PayloadTooLargeError("rows"), NOW, Patience()), Fail)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [((), (0, 1, 2)), (("phone", "id"), (2, 0)), (("need", "name"), (1,)), (("need",), (0, 1, 2))],
)
def test_a_lesser_file_shows_what_it_can_of_what_was_asked_for(wanted, places):
    """In the order asked for; all base columns when none of those asked for is one."""
    assert domain.chosen_columns(wanted, ("id", "name", "phone")) == places


@pytest.mark.parametrize(
    ("actor", "seen"),
    [
        (ME, True),
        (Actor("1002", Role.SALES, Scope.OWN), False),
        (Actor("1002", Role.MANAGER, Scope.TEAM), False),
        (Actor("boss", Role.ADMIN, Scope.ALL), True),
    ],
)
def test_an_export_is_its_requesters(actor, seen):
    """A file holds what its requester may see, which another may not."""
    assert domain.may_read(EXPORT, actor) is seen
