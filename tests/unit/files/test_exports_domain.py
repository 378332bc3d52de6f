"""What is refused, what is tried again, and what is given up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis import errors
from breakwater.chassis.identity import Actor, Role, Scope
from services.files.exports.domain import (
    Failure,
    Job,
    JobState,
    Letter,
    Limits,
    Spec,
    after_failure,
    lost_too_often,
    problems_of,
)

pytestmark = pytest.mark.capability(36, 37)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
JOB = Job("id", Actor("1001", Role.SALES, Scope.OWN), Spec("leads", "xlsx"), JobState.RUNNING, requested_at=NOW)
LIMITS = Limits()
LETTER = Letter(("x" * 200,) * 8, "y" * 600, "2026-12-31")


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (Spec("people", "xlsx"), ["dataset"]),
        (Spec("leads", "docx"), ["format"]),
        (Spec("leads", "pdf", tuple(map(str, range(12)))), []),
        (Spec("leads", "pdf", tuple(map(str, range(13)))), ["fields"]),
        (Spec("leads", "xlsx", template_version="1", letter=LETTER), []),
        (Spec("renewals", "pdf", template_version="1", letter=LETTER), []),
        (Spec("renewals", "pdf"), ["letter"]),
        (Spec("renewals", "xlsx", ("name",), {"stage": "new"}, letter=LETTER), ["filter.stage", "format", "fields"]),
        (Spec("renewals", "pdf", letter=Letter(("x",) * 9, "y" * 601)), ["letter.highlights", "letter.offer"]),
        (Spec("renewals", "pdf", letter=Letter(("x" * 201,), "")), ["letter.highlights", "letter.offer"]),
        (Spec("renewals", "pdf", letter=Letter((), "y", "2026-02-30")), ["letter.offer_until"]),
        (Spec("leads", "xlsx", ("name", "name")), ["fields"]),
        (Spec("leads", "xlsx", tuple(map(str, range(101)))), ["fields"]),
        (Spec("customers", "csv", (), {"stage": "new"}), ["filter.stage"]),
        (Spec("nothing", "doc", (), {"x": "y"}), ["dataset", "format", "filter.x"]),
        (Spec("leads", "xlsx", ("name",), {"stage": "new", "source": "web"}), []),
    ],
)
def test_a_request_is_judged_field_by_field(spec, fields):
    """Every wrong field is named at once; a right request has none."""
    assert [problem.field for problem in problems_of(spec)] == fields


@pytest.mark.parametrize(
    "error", [errors.UnavailableError("x"), errors.RateLimitedError("x"), errors.DeadlineExceededError("x")]
)
def test_what_is_out_is_tried_again_at_a_slower_pace(error):
    """The wait doubles up to a limit, spread by chance."""
    waits = [after_failure(replace(JOB, failures=n), error, NOW, LIMITS, 1.0) - NOW for n in range(8)]
    assert waits[:3] == [timedelta(seconds=0.5), timedelta(seconds=1), timedelta(seconds=2)]
    assert waits[-1] == timedelta(seconds=15)
    assert after_failure(JOB, error, NOW, LIMITS, 0.0) - NOW == timedelta(seconds=0.25)


def test_the_wait_a_dependency_asks_for_is_kept():
    """Push-back is respected."""
    error = errors.RateLimitedError("x", retry_after_s=40)
    assert after_failure(JOB, error, NOW, LIMITS, 0.5) == NOW + timedelta(seconds=40)


def test_a_job_is_given_up_when_too_old():
    """An outage of a week ends in an answer."""
    error = errors.UnavailableError("x", dependency="leads")
    outcome = after_failure(JOB, error, NOW + timedelta(days=7), LIMITS, 0.5)
    assert outcome == Failure("unavailable", "leads did not come back in time")


def test_a_refusal_is_final():
    """What the requester may not have is not asked for again."""
    error = errors.PermissionDeniedError("not yours")
    assert after_failure(JOB, error, NOW, LIMITS, 0.5) == Failure("permission_denied", "not yours")


def test_a_refusal_names_the_fields():
    """What leads says of each field reaches the requester."""
    error = errors.InvalidRequestError("No.", errors=[errors.FieldError("fields.0", "'size' is no column")])
    assert after_failure(JOB, error, NOW, LIMITS, 0.5) == Failure(
        "invalid_request", "No. fields.0 'size' is no column."
    )


def test_a_defect_is_tried_a_few_times_and_keeps_its_text():
    """Our own fault may pass; when it does not, its text stays with us."""
    error = errors.InternalError("secret")
    soon = [after_failure(replace(JOB, defects=count), error, NOW, LIMITS, 0.5) - NOW for count in (0, 1)]
    assert soon == [timedelta(seconds=0.5), timedelta(seconds=2)]
    assert after_failure(replace(JOB, defects=2), error, NOW, LIMITS, 0.5) == Failure(
        "internal", "the file could not be made"
    )


def test_a_job_that_kills_its_workers_is_ended():
    """A poisonous job does not take workers down for ever."""
    assert lost_too_often(replace(JOB, takes=10), LIMITS) is None
    assert lost_too_often(replace(JOB, takes=11), LIMITS).code == "worker_lost"
