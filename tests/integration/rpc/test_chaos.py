"""Faults injected into a real gRPC edge: what the caller's use case catches is what a broken dependency would bring."""

import time

import pytest

from breakwater.chassis import errors, telemetry
from breakwater.resilience import Deadline
from breakwater.resilience.faults import FaultKind
from tests.support.chaos import inject


@pytest.fixture
async def files(platform, echo):
    """A channel to a server that answers what it is asked."""
    server = await platform.serve(echo)
    return platform.channel(server.port, attempt_timeout_s=2.0, calls_min=1_000, calls_enough=1_000)


@pytest.mark.parametrize(
    ("code", "kind", "counted"),
    [
        ("UNAVAILABLE", errors.UnavailableError, "failed"),
        ("INTERNAL", errors.UnavailableError, "failed"),
        ("DEADLINE_EXCEEDED", errors.DeadlineExceededError, "timeout"),
        ("RESOURCE_EXHAUSTED", errors.RateLimitedError, "overload"),
        ("UNAUTHENTICATED", errors.DependencyAuthError, "auth"),
        ("NOT_FOUND", errors.NotFoundError, None),
        ("57P01", errors.UnavailableError, "failed"),
    ],
)
async def test_an_error_code_is_grpcs_own(files, echo, code, kind, counted):
    """Classified, translated and counted as that status is; a code that gRPC does not know is a failure."""
    inject(files.policy, FaultKind.ERROR, code=code)
    with pytest.raises(kind):
        await files.unary()
    assert files.errors() == ({counted: 1} if counted else {})
    assert files.policy.snapshot().injected == 1
    assert echo.requests == []


async def test_a_broken_credential_is_really_refused_by_the_service(files, platform, echo):
    """The service sees a token whose signature is nobody's and answers as it does to a stranger."""
    inject(files.policy, FaultKind.CREDENTIAL)
    with pytest.raises(errors.DependencyAuthError) as refused:
        await files.unary(retryable=True)
    assert refused.value.dependency == "files"
    assert files.errors() == {"auth": 1}
    assert echo.requests == []
    files.policy.apply(None)
    assert await files.unary("hello") == "hello"


async def test_a_channel_without_a_credential_is_told_of_a_refusal(platform, echo):
    """There is nothing to break, the policy says it."""
    server = await platform.serve(echo)
    files = platform.channel(server.port, credential=False)
    inject(files.policy, FaultKind.CREDENTIAL)
    with pytest.raises(errors.DependencyAuthError):
        await files.unary()
    assert files.errors() == {"auth": 1}


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.HANG])
async def test_what_never_arrives_is_given_up_in_time(files, echo, kind):
    """Neither a reset nor a hang reaches the service, and the caller's deadline is kept."""
    inject(files.policy, kind)
    began_s = time.monotonic()
    with pytest.raises(errors.UnavailableError) as failed:
        await files.unary(deadline=Deadline.after(0.3))
    assert failed.value.dependency == "files"
    assert time.monotonic() - began_s < 1.5
    assert echo.requests == []


async def test_latency_arrives_late_with_what_is_left(files, echo):
    """The service is told the rest of the time, so that it does not work past it."""
    left_s = []

    async def note(text, context):
        left_s.append(context.time_remaining())
        return text

    echo.handle = note
    inject(files.policy, FaultKind.LATENCY, latency_p50_s=0.5)
    assert await files.unary() == "hello"
    assert left_s[0] < 1.6
    assert files.policy.snapshot().p50_ms > 400


async def test_an_answer_that_is_too_late_was_given(files, echo):
    """The effect is there though the caller saw a time-out: what retries must be keyed for."""
    inject(files.policy, FaultKind.SLOW_BODY, latency_p50_s=5.0)
    with pytest.raises(errors.DeadlineExceededError):
        await files.unary(deadline=Deadline.after(0.4))
    assert echo.requests == ["hello"]


async def test_a_slow_stream_comes_message_by_message(files):
    """Each late, all of them whole and in order."""
    inject(files.policy, FaultKind.SLOW_BODY, latency_p50_s=0.1)
    began_s = time.monotonic()
    assert [word async for word in files.many("a b c")] == ["a", "b", "c"]
    assert time.monotonic() - began_s > 0.3


async def test_a_stream_whose_messages_stop_is_given_up(files):
    """After the idle time, as when the service stops sending."""
    inject(files.policy, FaultKind.SLOW_BODY, latency_p50_s=30.0)
    with pytest.raises(errors.DeadlineExceededError):
        async for _ in files.many(idle_timeout_s=0.3):
            pytest.fail("nothing may come")
    assert files.errors() == {"timeout": 1}


async def test_a_slow_upload_arrives_whole(files):
    """Message by message, as the service takes them."""
    inject(files.policy, FaultKind.SLOW_BODY, latency_p50_s=0.05)

    async def texts():
        for text in ("a", "b", "c"):
            yield text

    assert await files.upload(texts()) == "abc"


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        (FaultKind.ERROR, {"code": "UNAVAILABLE"}, errors.UnavailableError),
        (FaultKind.CREDENTIAL, {}, errors.DependencyAuthError),
        (FaultKind.RESET, {}, errors.UnavailableError),
    ],
)
async def test_streams_and_uploads_fail_as_calls_do(files, kind, values, error):
    """At their beginning."""
    inject(files.policy, kind, **values)

    async def texts():
        yield "a"

    with pytest.raises(error):
        async for _ in files.many():
            pytest.fail("nothing may come")
    with pytest.raises(error):
        await files.upload(texts())
    assert files.policy.snapshot().injected == 2


async def test_the_control_group_is_chosen_by_trace(files):
    """A request keeps its place on every hop, and whoever sends a traceparent chooses it."""
    inject(files.policy, FaultKind.RESET, control_share=0.5)
    spared, hit = "1" * 19 + "7" + "f" * 12, "1" * 19 + "8" + "0" * 12
    with telemetry.remote_context(f"00-{spared}-b7ad6b7169203331-00"):
        assert telemetry.cohort() == pytest.approx(0.5)
    files.policy.chaos._cohort = telemetry.cohort
    with telemetry.remote_context(f"00-{spared}-b7ad6b7169203331-00"):
        assert await files.unary() == "hello"
    with telemetry.remote_context(f"00-{hit}-b7ad6b7169203331-00"), pytest.raises(errors.UnavailableError):
        await files.unary()
