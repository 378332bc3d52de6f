"""Faults injected into an edge to the outside: only what the transport has to commit reaches it."""

import pytest

from breakwater.chassis import errors
from breakwater.resilience.faults import FaultKind
from tests.support.chaos import inject


async def test_a_late_request_is_sent_as_it_is(robot, make_http) -> None:
    """Latency changes nothing but the time: the request arrives whole and its answer counts."""
    client = make_http()
    inject(client.policy, FaultKind.LATENCY, latency_p50_s=0.05)
    answer = await client.request("POST", "/x", content=b"hello", headers={"authorization": "Bearer ours"})
    assert answer.status == 200
    assert (robot.heard[0].body, robot.heard[0].headers["authorization"]) == (b"hello", "Bearer ours")


async def test_an_injected_error_is_one_of_http(robot, make_http) -> None:
    """By its status where it is one; nothing is sent."""
    client = make_http()
    inject(client.policy, FaultKind.ERROR, code="404")
    with pytest.raises(errors.NotFoundError):
        await client.request("GET", "/x")
    assert robot.heard == []
