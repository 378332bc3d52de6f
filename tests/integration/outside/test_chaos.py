"""Faults injected into the edges to what is not ours: HTTP and mail."""

from email.message import EmailMessage

import pytest

from breakwater.chassis import errors
from breakwater.resilience import FaultKind
from tests.support.chaos import inject
from tests.support.http_robot import Says


@pytest.mark.parametrize(
    ("code", "error", "counted"),
    [
        ("500", errors.UnavailableError, "failed"),
        ("429", errors.RateLimitedError, "overload"),
        ("401", errors.DependencyAuthError, "auth"),
        ("404", errors.NotFoundError, None),
        ("UNAVAILABLE", errors.UnavailableError, "failed"),
    ],
)
async def test_an_error_code_is_a_status_of_http(robot, make_http, code, error, counted):
    """Judged as the answer of that status is; nothing was sent."""
    client = make_http()
    inject(client.policy, FaultKind.ERROR, code=code)
    with pytest.raises(error):
        await client.request("GET", "/")
    counts = {kind: count for kind, count in client.policy.snapshot().errors.items() if count}
    assert counts == ({counted: 1} if counted else {})
    assert robot.heard == []


async def test_a_broken_credential_is_sent_and_refused(robot, make_http):
    """The other side sees one that is not ours; without a header to break the refusal is told here."""
    robot.says(Says(401))
    client = make_http()
    inject(client.policy, FaultKind.CREDENTIAL)
    with pytest.raises(errors.DependencyAuthError):
        await client.request("GET", "/", headers={"Authorization": "Bearer secret"})
    assert robot.heard[0].headers["authorization"] == "Bearer refused"
    with pytest.raises(errors.DependencyAuthError):
        await client.request("GET", "/")
    assert len(robot.heard) == 1


async def test_an_answer_is_late_though_the_robot_was_quick(robot, make_http):
    """It heard the request once, and the caller gave up."""
    client = make_http(attempt_timeout_s=0.5)
    inject(client.policy, FaultKind.SLOW_BODY, latency_p50_s=5.0)
    with pytest.raises(errors.DeadlineExceededError):
        await client.request("POST", "/")
    assert len(robot.heard) == 1


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        (FaultKind.RESET, {}, errors.UnavailableError),
        (FaultKind.HANG, {}, errors.DeadlineExceededError),
        (FaultKind.ERROR, {"code": "421"}, errors.UnavailableError),
        (FaultKind.CREDENTIAL, {}, errors.DependencyAuthError),
    ],
)
async def test_mail_fails_before_a_word_is_said(postbox, make_mail, kind, values, error):
    """The server has no connection and no message of it."""
    mail = make_mail(attempt_timeout_s=0.5)
    inject(mail.policy, kind, **values)
    message = EmailMessage()
    message.set_content("hello")
    with pytest.raises(error):
        await mail.send(message, sender="crm@example.com", recipients=["li@example.com"])
    assert mail.policy.snapshot().injected == 1
