"""Robots before local servers that speak the real formats: what is said arrives, what is refused is told apart."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import DependencyAuthError, OverloadedError, UnavailableError
from breakwater.chassis.http_client import HttpClient
from breakwater.robots import FORMS, Credential, Message, Robot
from tests.integration.outside.conftest import LOOPBACK, policy_of
from tests.support.providers import KEY, SECRET, stub_of


@pytest.fixture(params=sorted(FORMS))
async def provider(request):
    """A stub, and `robot(key=, secret=)` that speaks to it at the stub's own time."""
    async with stub_of(request.param) as stub:
        clients = []

        def robot(key=KEY, secret=SECRET):
            name = request.param
            client = HttpClient(name, stub.base, policy_of(name), judge=FORMS[name].judge, egress=LOOPBACK)
            clients.append(client)
            clock = VirtualClock(datetime.fromtimestamp(stub.now_s(), UTC))
            return Robot(name, client, Credential(key, secret), clock)

        yield stub, robot
        for client in clients:
            await client.close()


async def test_a_message_arrives_as_it_was_written(provider):
    """Signed where the provider signs, at any second; Chinese as Chinese."""
    stub, robot = provider
    for _ in range(12):
        stub.passes(61.0)
        await robot().send(Message("告警", "files 失败 + 100 %", urgent=True))
    assert len(stub.taken) == 12
    assert "files 失败 + 100 %" in json.dumps(json.loads(stub.taken[-1].body), ensure_ascii=False)


async def test_what_is_too_long_is_cut_and_taken(provider):
    """Rather a shorter alarm than none."""
    stub, robot = provider
    await robot().send(Message("告警", "长" * 30_000))
    assert len(stub.taken) == 1


async def test_another_key_is_a_refused_credential(provider):
    """It counts, and is asked once."""
    stub, robot = provider
    with pytest.raises(DependencyAuthError) as refused:
        await robot(key="another").send(Message("t", "x"))
    assert "another" not in str(refused.value)
    assert len(stub.heard) == 1


async def test_a_rate_that_is_passed_says_when_to_come_again(provider):
    """HTTP 200 with a code is no success."""
    stub, robot = provider
    stub.begin({"wecom": 45009, "dingtalk": 130101, "feishu": 11232}[stub.name])
    with pytest.raises(OverloadedError) as pushed:
        await robot().send(Message("t", "x"))
    assert timedelta(seconds=pushed.value.retry_after_s) >= timedelta(minutes=1)


async def test_a_code_nobody_knows_is_no_success(provider):
    """And says that the outcome is unknown."""
    stub, robot = provider
    stub.begin(987_654)
    with pytest.raises(UnavailableError) as unknown:
        await robot().send(Message("t", "x"))
    assert unknown.value.code == "outcome_unknown"
