"""Requests over a real NATS: answered in time or not begun."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from breakwater.chassis import busrequests, metrics, telemetry
from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.errors import DeadlineExceededError, NotFoundError, UnavailableError
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.resilience import Deadline, current_deadline
from breakwater.resilience.shedding import Priority, current_priority

SUBJECT = "breakwater.test.question"
CLOCK = SystemClock()


@pytest.fixture
async def open_bus(nats_server: NatsServer) -> AsyncIterator[Any]:
    """A bus of the user who may do everything: which service may ask which is a matter of permissions."""
    opened: list[Bus] = []

    async def create() -> Bus:
        url, password = nats_server.url, nats_server.password(OPERATOR)
        opened.append(await Bus.connect(url, service="leads", user=OPERATOR, password=password))
        return opened[-1]

    yield create
    for bus in opened:
        await bus.close()


async def asked(bus: Bus, payload: bytes = b"", *, within_s: float = 10.0) -> bytes:
    current_deadline.set(Deadline.after(within_s))
    return await busrequests.request(bus, CLOCK, SUBJECT, payload)


async def served(bus: Bus, answer: Any) -> None:
    await busrequests.serve(bus, CLOCK, SUBJECT, answer, queue="test")
    await bus.client.flush()


async def test_deadline_priority_and_trace_travel_with_a_request(open_bus: Any) -> None:
    """What the answerer causes has the time, the urgency and the trace of the request."""
    seen: list[Any] = []

    async def answer(content: bytes) -> bytes:
        seen.extend((current_deadline.get(), current_priority.get(), telemetry.trace_id()))
        return content.upper()

    await served(await open_bus(), answer)
    current_priority.set(Priority.INTERACTIVE)
    with telemetry.remote_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"):
        assert await asked(await open_bus(), b"hello", within_s=20.0) == b"HELLO"
    deadline, priority, trace_id = seen
    assert 10 < deadline.remaining_s() < 20
    assert (priority, trace_id) == (Priority.INTERACTIVE, "0af7651916cd43dd8448eb211c80319c")


async def test_what_waited_in_line_past_its_deadline_is_not_begun(open_bus: Any, eventually: Any) -> None:
    """The answerer takes one at a time; whoever nobody waits for any more is passed over."""
    begun: list[bytes] = []
    gate = asyncio.Event()

    async def answer(content: bytes) -> bytes:
        begun.append(content)
        await gate.wait()
        return content

    await served(await open_bus(), answer)
    bus = await open_bus()
    first = asyncio.create_task(asked(bus, b"first"))
    await eventually(lambda: begun == [b"first"])
    late = await asyncio.gather(*(asked(bus, b"late", within_s=0.2) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in late] == [DeadlineExceededError] * 5
    gate.set()
    assert await first == b"first"
    assert await asked(bus, b"after") == b"after"
    assert begun == [b"first", b"after"]


async def test_a_request_past_its_deadline_is_not_sent(open_bus: Any) -> None:
    """Nothing is asked once nobody waits for the answer."""
    begun: list[bytes] = []

    async def answer(content: bytes) -> bytes:
        begun.append(content)
        return content

    await served(await open_bus(), answer)
    bus = await open_bus()
    with pytest.raises(DeadlineExceededError):
        await asked(bus, b"late", within_s=-1.0)
    assert await asked(bus, b"now") == b"now"
    assert begun == [b"now"]


async def test_a_claim_of_more_time_than_any_may_have_is_cut(open_bus: Any) -> None:
    """Neither a wrong clock nor a wrong header keeps an answerer busy for an hour."""
    left: list[float] = []

    async def answer(content: bytes) -> bytes:
        deadline = current_deadline.get()
        assert deadline is not None
        left.append(deadline.remaining_s())
        return content

    await served(await open_bus(), answer)
    bus = await open_bus()
    await asked(bus, within_s=3600.0)
    for header in ({}, {busrequests.DEADLINE_HEADER: "soon"}):
        await bus.client.request(SUBJECT, b"", timeout=10, headers=header or None)
    assert len(left) == 3
    assert max(left) <= busrequests.REQUEST_S_MAX


async def test_a_failure_is_answered_by_its_code_and_never_by_its_text(open_bus: Any) -> None:
    """The requester is told at once, whether it was expected or a defect; on-call can tell the two apart."""
    before = {outcome: _came(outcome) for outcome in ("answered", "refused", "crashed", "late")}

    async def answer(content: bytes) -> bytes:
        if content == b"missing":
            raise NotFoundError("canary")
        raise ValueError("canary")

    await served(await open_bus(), answer)
    bus = await open_bus()
    for question, code in ((b"missing", "not_found"), (b"broken", "internal")):
        with pytest.raises(UnavailableError) as failed:
            await asked(bus, question)
        assert failed.value.code == code
        assert "canary" not in failed.value.detail
    assert {outcome: _came(outcome) - count for outcome, count in before.items()} == {
        **dict.fromkeys(before, 0),
        "refused": 1,
        "crashed": 1,
    }


def _came(outcome: str) -> float:
    labels = {"service": "leads", "subject": SUBJECT, "outcome": outcome}
    return metrics.REGISTRY.get_sample_value("breakwater_bus_requests_total", labels) or 0.0


async def test_nobody_to_ask_is_told_at_once(open_bus: Any) -> None:
    """An answerer that is not there costs no time."""
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError):
        await asked(await open_bus(), within_s=30.0)
    assert asyncio.get_running_loop().time() - began_s < 10
