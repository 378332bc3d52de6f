"""Guarding what is not one call: streams and transactions."""

import asyncio

import pytest

from breakwater.resilience import CircuitState, Deadline, Outcome
from breakwater.resilience.errors import BulkheadFullError, CircuitOpenError, DeadlineExceededError
from breakwater.resilience.testing import settle


class NotFoundError(Exception):
    outcome = Outcome.CALLER_FAULT


async def test_a_stream_holds_a_slot_until_it_ends(make_policy, clock):
    """The bulkhead counts the stream as long as its block runs."""
    policy = make_policy(concurrency_max=1, queue_max=0)
    async with policy.admit():
        assert policy.snapshot().bulkhead.in_use == 1
        with pytest.raises(BulkheadFullError):
            async with policy.admit():
                pytest.fail("admitted past the limit")
    assert policy.snapshot().bulkhead.in_use == 0


async def test_the_body_is_told_its_time(make_policy, clock):
    """What the deadline leaves, at most the policy's limit for streams."""
    policy = make_policy(stream_s_max=60)
    async with policy.admit() as admission:
        assert admission.timeout_s == 60
    async with policy.admit(deadline=Deadline.after(5, clock)) as admission:
        assert admission.timeout_s == 5
    with pytest.raises(DeadlineExceededError):
        async with policy.admit(deadline=Deadline.after(0, clock)):
            pytest.fail("started past the deadline")
    assert policy.snapshot().bulkhead.in_use == 0


async def test_streams_that_fail_open_the_circuit(make_policy):
    """The block's exception is the stream's outcome, and passes on unchanged."""
    policy = make_policy(calls_min=4)
    for _ in range(4):
        with pytest.raises(ConnectionResetError):
            async with policy.admit():
                raise ConnectionResetError
    with pytest.raises(CircuitOpenError):
        async with policy.admit():
            pytest.fail("admitted by an open circuit")
    assert policy.snapshot().bulkhead.in_use == 0


async def test_a_transactions_own_errors_are_not_the_databases(make_policy):
    """A domain error that ends the block is classified as the caller's."""
    policy = make_policy(calls_min=4)
    for _ in range(10):
        with pytest.raises(NotFoundError):
            async with policy.admit():
                raise NotFoundError
    assert policy.snapshot().state is CircuitState.CLOSED
    assert policy.snapshot().availability == 1


async def test_the_latency_of_a_stream_is_the_time_to_its_first_answer(make_policy, clock):
    """A long export is not a slow one, when its first rows came soon."""
    policy = make_policy(calls_min=1, slow_call_s=0.5)
    async with policy.admit() as admission:
        await clock.advance(0.1)
        admission.answered()
        await clock.advance(30)
        admission.answered()
    snapshot = policy.snapshot()
    assert snapshot.state is CircuitState.CLOSED
    assert snapshot.p50_ms == pytest.approx(100, rel=0.13)


async def test_an_abandoned_stream_counts_for_nothing(opened, clock):
    """A consumer that closes its generator early is a cancellation: the probe's permit comes back."""
    policy = await opened(probes=1)
    await clock.advance(3)

    async def messages():
        async with policy.admit():
            while True:
                yield "message"

    stream = messages()
    assert await anext(stream) == "message"
    with pytest.raises(CircuitOpenError):
        async with policy.admit():
            pytest.fail("a second probe")
    await stream.aclose()
    assert policy.snapshot().totals.outcomes["cancelled"] == 1
    async with policy.admit():
        pass
    assert policy.snapshot().state is CircuitState.CLOSED


async def test_a_cancelled_wait_for_admission_leaves_nothing_behind(make_policy, start):
    """Whoever is cancelled in the queue takes no slot."""
    policy = make_policy(concurrency_max=1)
    leave = asyncio.Event()

    async def hold() -> None:
        async with policy.admit():
            await leave.wait()

    holder, waiting = await start(hold(), hold())
    waiting.cancel()
    leave.set()
    await settle()
    assert holder.done()
    assert waiting.cancelled()
    assert (policy.snapshot().bulkhead.in_use, policy.snapshot().bulkhead.queued) == (0, 0)
