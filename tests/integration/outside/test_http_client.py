"""The guarded HTTP client before a real server: what reaches it, what its answers mean, what is never sent."""

import asyncio
import gzip
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from breakwater.chassis import errors, telemetry
from breakwater.chassis.egress import Egress, EgressRefusedError
from breakwater.chassis.http_client import Answer, HttpLimits, Refusal, retry_after_s
from breakwater.resilience import Deadline, Outcome
from breakwater.resilience.testing import no_backoff
from tests.support.faultproxy import Bandwidth, Down, FaultProxy, Hang, Reset
from tests.support.http_robot import Heard, Says


def failures(client) -> dict[str, int]:
    """Attempts without an answer, by kind."""
    return {kind: count for kind, count in client.policy.snapshot().errors.items() if count}


def wecom(answer: Answer) -> Refusal | None:
    """As notify's parser will read WeCom's body: the code decides, an unknown one is never a success."""
    code = answer.json()["errcode"]
    known = {
        45009: Refusal(Outcome.OVERLOAD, "wecom's rate limit", retry_after_s=0.01),
        93000: Refusal(Outcome.AUTH_REJECTED, "wecom does not know the key", code="robot_key_refused"),
        40008: Refusal(Outcome.CALLER_FAULT, "wecom refused the content"),
    }
    return None if code == 0 else known.get(code, Refusal(Outcome.FAILURE, f"wecom answered {code}"))


async def test_a_request_arrives_as_it_was_meant(robot, make_http) -> None:
    """Method, path below the base, parameters encoded once, body, trace; the answer comes back whole."""
    robot.says(Says(201, b'{"errcode":0}', {"X-Id": "7"}))
    client = make_http(base=f"{robot.base}/hook")
    with telemetry.remote_context(None) as trace:
        answer = await client.request(
            "POST", "/send", params={"sign": "a+b/c="}, content=b"\xe4\xbd\xa0", headers={"content-type": "text/plain"}
        )
    [heard] = robot.heard
    assert (heard.method, heard.target, heard.body) == ("POST", "/hook/send?sign=a%2Bb%2Fc%3D", b"\xe4\xbd\xa0")
    assert heard.headers["traceparent"] == trace.traceparent
    assert heard.headers["host"] == f"127.0.0.1:{robot.port}"
    assert (answer.status, answer.headers["x-id"], answer.json()) == (201, "7", {"errcode": 0})


@pytest.mark.parametrize(
    ("said", "error", "counted"),
    [
        (Says(500), errors.UnavailableError, "failed"),
        (Says(503), errors.UnavailableError, "failed"),
        (Says(408), errors.UnavailableError, "failed"),
        (Says(302, headers={"location": "http://127.0.0.1:1/"}), errors.UnavailableError, "failed"),
        (Says(429), errors.OverloadedError, "overload"),
        (Says(503, headers={"retry-after": "7"}), errors.OverloadedError, "overload"),
        (Says(401), errors.DependencyAuthError, "auth"),
        (Says(403), errors.DependencyAuthError, "auth"),
        (Says(400), errors.InvalidRequestError, None),
        (Says(404), errors.NotFoundError, None),
        (Says(409), errors.ConflictError, None),
        (Says(413), errors.PayloadTooLargeError, None),
        (Says(raw=b"nonsense\r\n\r\n"), errors.UnavailableError, "failed"),
        (Says(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"), errors.UnavailableError, "failed"),
    ],
    ids=lambda value: getattr(value, "status", None) and str(value.status),
)
async def test_a_status_means_what_it_says(robot, make_http, said, error, counted) -> None:
    """Each refusal is the caller's fault, the dependency's, our credential's, or push-back; a redirect is not followed."""

    async def answer(heard: Heard) -> Says:
        return said

    robot.answer = answer
    if said.raw is not None and b"short" in said.raw:
        client = make_http(attempt_timeout_s=0.3, slow_call_s=0.3)  # the rest never comes: the time-out ends it
        error, counted = errors.DeadlineExceededError, "timeout"
    else:
        client = make_http()
    with pytest.raises(error) as raised:
        await client.request("GET", "/x")
    assert type(raised.value) is error
    assert raised.value.dependency == "wecom"
    assert failures(client) == ({counted: 1} if counted else {})
    assert len(robot.heard) == 1


@pytest.mark.parametrize(
    ("code", "error", "requests", "counted"),
    [
        (0, None, 1, {}),
        (45009, errors.OverloadedError, 2, {"overload": 2}),
        (93000, errors.DependencyAuthError, 1, {"auth": 1}),
        (40008, errors.InvalidRequestError, 1, {}),
        (-1, errors.UnavailableError, 2, {"failed": 2}),
        (31337, errors.UnavailableError, 2, {"failed": 2}),
    ],
)
async def test_the_code_in_the_body_decides_though_the_status_is_200(
    robot, make_http, code, error, requests, counted
) -> None:
    """A robot's errors under HTTP 200 are judged by the service's parser, and retried or not as it says."""
    robot.says(Says(200, b'{"errcode":%d}' % code))
    client = make_http(judge=wecom, attempts_max=2)
    with no_backoff():
        if error is None:
            assert (await client.request("POST", "/send", retryable=True)).status == 200
        else:
            with pytest.raises(error):
                await client.request("POST", "/send", retryable=True)
    assert len(robot.heard) == requests
    assert failures(client) == counted


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errcode":"zero"', b"\xff\xfe", b"{" * 10_000])
async def test_a_hostile_body_is_a_failed_call_and_no_more(robot, make_http, body) -> None:
    """What the parser cannot read is never a success and never escapes as the parser's own error."""
    robot.says(Says(200, body))
    client = make_http(judge=wecom)
    with pytest.raises(errors.UnavailableError, match="cannot be read"):
        await client.request("POST", "/send")
    assert failures(client) == {"failed": 1}


async def test_an_answer_is_bounded(robot, make_http) -> None:
    """The largest answer is taken; one byte more is refused, and an endless one ends at the limit."""
    client = make_http(limits=HttpLimits(answer_size_bytes_max=10_000))
    robot.says(Says(200, b"x" * 10_000))
    assert len((await client.request("GET", "/x")).content) == 10_000
    robot.says(Says(200, b"x" * 10_001))
    with pytest.raises(errors.UnavailableError, match="more than 10000 bytes") as raised:
        await client.request("GET", "/x")
    assert raised.value.code == "answer_too_large"
    robot.says(
        Says(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + (b"3e8\r\n" + b"y" * 1000 + b"\r\n") * 50)
    )
    with pytest.raises(errors.UnavailableError, match="more than 10000 bytes"):
        await client.request("GET", "/x")


async def test_a_bomb_is_not_unpacked(robot, make_http) -> None:
    """An answer that comes compressed, though none was asked for, is refused as it is."""
    robot.says(Says(200, gzip.compress(b"0" * 50_000_000), {"content-encoding": "gzip"}))
    with pytest.raises(errors.UnavailableError, match="compressed"):
        await make_http().request("GET", "/x")
    assert robot.heard[0].headers["accept-encoding"] == "identity"


async def test_a_request_is_bounded_before_it_is_sent(robot, make_http) -> None:
    """A body past its limit never leaves the process."""
    client = make_http(limits=HttpLimits(request_size_bytes_max=10))
    await client.request("POST", "/x", content=b"x" * 10)
    with pytest.raises(errors.PayloadTooLargeError):
        await client.request("POST", "/x", content=b"x" * 11)
    assert len(robot.heard) == 1


async def test_the_wait_that_is_asked_for_is_kept(robot, make_http) -> None:
    """Retry-After of a 429 is waited for before the next attempt, and told where there is none."""
    robot.says(Says(429, headers={"retry-after": "1"}), Says(200, b"done"))
    client = make_http()
    began_s = time.monotonic()
    assert (await client.request("GET", "/x", retryable=True)).content == b"done"
    assert time.monotonic() - began_s >= 1
    robot.says(Says(429, headers={"retry-after": "20"}))
    with pytest.raises(errors.OverloadedError) as raised:
        await client.request("GET", "/x", retryable=True)
    assert raised.value.retry_after_s == 20


def test_retry_after_is_read_in_both_forms() -> None:
    """Seconds or a date; nonsense is nothing; nothing is longer than an hour."""
    now = datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert retry_after_s("120", now) == 120
    assert retry_after_s(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after_s(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert retry_after_s("999999999999999999999", now) == 3600
    assert [retry_after_s(value, now) for value in (None, "", "soon", "-5", "1.5", "١")] == [None] * 6


async def test_a_deadline_bounds_an_answer_that_never_comes(robot, make_http) -> None:
    """The caller's deadline ends the wait, however long an attempt may take."""
    robot.answer = lambda heard: asyncio.Event().wait()
    began_s = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError):
        await make_http().request("GET", "/x", deadline=Deadline.after(0.3), retryable=True)
    assert 0.29 <= time.monotonic() - began_s < 5


async def test_an_answer_that_drips_is_bounded_as_well(robot, make_http) -> None:
    """Bytes that keep coming do not extend the attempt: its time is that of the whole request."""
    robot.says(Says(200, b"x" * 100_000))
    async with FaultProxy("127.0.0.1", robot.port) as proxy, proxy.fault(Bandwidth(2_000)):
        client = make_http(base=f"http://127.0.0.1:{proxy.port}", attempt_timeout_s=0.5, slow_call_s=0.5)
        began_s = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            await client.request("GET", "/x")
        assert time.monotonic() - began_s < 5, "at two thousand bytes a second it would take fifty"


async def test_a_dead_server_opens_the_circuit_and_comes_back(robot, make_http, eventually) -> None:
    """Nobody listens, connections are reset, nothing comes: the circuit opens; after it the first probes close it."""
    async with FaultProxy("127.0.0.1", robot.port) as proxy:
        client = make_http(
            base=f"http://127.0.0.1:{proxy.port}",
            attempt_timeout_s=0.2,
            slow_call_s=0.2,
            calls_min=3,
            open_s=0.2,
            probes=1,
        )
        for fault in (Down(), Reset(), Hang()):

            async def refused() -> bool:
                with pytest.raises(errors.UnavailableError) as raised:
                    await client.request("GET", "/x")
                return raised.value.code == "circuit_open"

            async def answered() -> bool:
                try:
                    await client.request("GET", "/x")
                except errors.UnavailableError:
                    return False
                return client.policy.snapshot().state == "closed"

            async with proxy.fault(fault):
                await eventually(refused)
            await eventually(answered)


async def test_the_fallback_answers_in_place_of_a_failure(robot, make_http) -> None:
    """It is given the error a caller would have seen; the caller's own fault does not go to it."""
    robot.says(Says(500))
    client = make_http()

    async def instead(error: errors.BreakwaterError) -> Answer:
        return Answer(200, {}, error.code.encode())

    assert (await client.request("GET", "/x", fallback=instead)).content == b"dependency_failed"
    robot.says(Says(404))
    with pytest.raises(errors.NotFoundError):
        await client.request("GET", "/x", fallback=instead)


async def test_inner_addresses_are_not_called(robot, make_http) -> None:
    """Without a network allowed by name neither an address nor a name that leads to one of ours is connected to."""
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "0.0.0.0", "100.100.100.200"):
        client = make_http(base=f"http://{host}:{robot.port}", egress=Egress())
        with pytest.raises(EgressRefusedError) as raised:
            await client.request("GET", "/latest/meta-data")
        assert raised.value.code == "egress_refused"
        assert failures(client) == {}
    assert robot.heard == []


async def test_a_name_is_judged_at_each_connection_by_all_of_its_addresses(robot, make_http, monkeypatch) -> None:
    """A name that turned inward after the start is refused, also when only one of its addresses is inside."""
    loop = asyncio.get_running_loop()
    answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.9"]]

    async def getaddrinfo(host, port, **_):
        assert host == "robot.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    client = make_http(base=f"http://robot.example:{robot.port}")
    await client.request("GET", "/x")
    assert robot.heard[0].headers["host"] == f"robot.example:{robot.port}"
    with pytest.raises(EgressRefusedError):
        await client.request("GET", "/x")
    assert len(robot.heard) == 1


async def test_a_path_cannot_leave_its_host(make_http) -> None:
    """Another host in place of a path is a defect of the caller."""
    client = make_http()
    for path in ("//evil.example/x", "http://evil.example/x", "x"):
        with pytest.raises(ValueError, match="below the base"):
            await client.request("GET", path)


async def test_the_environment_sends_nothing_elsewhere(robot, make_http, monkeypatch) -> None:
    """Proxies named by variables are not used; cookies are not kept."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    robot.says(Says(200, b"", {"set-cookie": "session=canary"}))
    client = make_http()
    await client.request("GET", "/x")
    await client.request("GET", "/x")
    assert "cookie" not in robot.heard[1].headers


def test_a_client_needs_a_base_and_a_timer(make_http) -> None:
    """What could not be bounded is refused when the client is made."""
    with pytest.raises(ValueError, match="attempt_timer"):
        make_http(attempt_timer=False)
    for base in ("ftp://x", "//x", "http://user:pass@x", "http://x?key=1"):
        with pytest.raises(ValueError, match="must be http"):
            make_http(base=base)
