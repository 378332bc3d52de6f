"""Faults injected into the edges to PostgreSQL and NATS: what stores and publishers catch is what an outage would bring."""

import time
from typing import Any

import pytest

from breakwater.chassis import bus as bus_module
from breakwater.chassis import database as database_module
from breakwater.chassis.bus import BusMessage
from breakwater.chassis.errors import DeadlineExceededError, DependencyAuthError, UnavailableError
from breakwater.resilience import Policy, PolicySettings
from breakwater.resilience.faults import FaultKind
from tests.support.chaos import inject

ADD = "INSERT INTO effects (event_id) VALUES ($1)"


def policy_of(dependency: str, classify: Any) -> Policy:
    settings = PolicySettings(
        caller="leads", dependency=dependency, attempt_timeout_s=1.0, calls_min=1_000, calls_enough=1_000
    )
    return Policy(settings, classify=classify)


@pytest.fixture
def policy() -> Policy:
    return policy_of("postgres", database_module.classify)


@pytest.fixture
async def guarded(schema: Any, open_database: Any, policy: Policy) -> Any:
    """A database behind a policy."""
    return await open_database(schema, policy=policy)


@pytest.mark.parametrize(
    ("kind", "values", "error", "code", "counted"),
    [
        (FaultKind.ERROR, {"code": "57P01"}, UnavailableError, "unavailable", "failed"),
        (FaultKind.ERROR, {"code": "57014"}, DeadlineExceededError, "deadline_exceeded", "timeout"),
        (FaultKind.ERROR, {"code": "28P01"}, DependencyAuthError, "dependency_auth", "auth"),
        (FaultKind.ERROR, {"code": "40001"}, UnavailableError, "transaction_conflict", None),
        (FaultKind.ERROR, {"code": "UNAVAILABLE"}, UnavailableError, "unavailable", "failed"),
        (FaultKind.RESET, {}, UnavailableError, "dependency_failed", "failed"),
        (FaultKind.HANG, {}, DeadlineExceededError, "deadline_exceeded", "timeout"),
        (FaultKind.CREDENTIAL, {}, DependencyAuthError, "dependency_auth", "auth"),
    ],
)
async def test_a_transaction_fails_as_postgresql_would_make_it(
    guarded, schema, policy, kind, values, error, code, counted
):
    """By its SQLSTATE where it is one of PostgreSQL's; nothing is written."""
    inject(policy, kind, **values)
    with pytest.raises(error) as failed:
        async with guarded.transaction() as tx:
            await tx.execute(ADD, "a")
    assert (failed.value.code, failed.value.dependency) == (code, "postgres")
    counts = {name: count for name, count in policy.snapshot().errors.items() if count}
    assert counts == ({counted: 1} if counted else {})
    assert await schema.as_admin("SELECT * FROM effects") == []


async def test_a_transaction_is_late_and_done(guarded, schema, policy):
    """Latency alone changes nothing but the time."""
    inject(policy, FaultKind.LATENCY, latency_p50_s=0.2)
    began_s = time.monotonic()
    async with guarded.transaction() as tx:
        await tx.execute(ADD, "a")
    assert time.monotonic() - began_s > 0.2
    assert len(await schema.as_admin("SELECT * FROM effects")) == 1


async def test_the_answer_to_a_commit_may_be_too_late(guarded, schema, policy):
    """The caller sees a time-out of what was committed: its effect is unknown to it, and there."""
    inject(policy, FaultKind.SLOW_BODY, latency_p50_s=5.0)
    with pytest.raises(DeadlineExceededError):
        async with guarded.transaction():
            pass
    policy.apply(None)
    async with guarded.transaction() as tx:
        await tx.execute(ADD, "b")
    assert len(await schema.as_admin("SELECT * FROM effects")) == 1


async def test_rows_come_slowly_chunk_by_chunk(guarded, policy):
    """A stream of rows is whole, and every chunk of it late."""
    inject(policy, FaultKind.SLOW_BODY, latency_p50_s=0.1)
    began_s = time.monotonic()
    async with guarded.snapshot() as tx:
        chunks = [chunk async for chunk in tx.stream("SELECT * FROM generate_series(1, 6)", chunk_rows=2)]
    assert [len(chunk) for chunk in chunks] == [2, 2, 2]
    assert time.monotonic() - began_s > 0.4


async def test_reads_are_late_as_well(guarded, policy):
    """Without a transaction too."""
    inject(policy, FaultKind.SLOW_BODY, latency_p50_s=0.2)
    began_s = time.monotonic()
    async with guarded.read() as reader:
        assert await reader.fetchval("SELECT 1") == 1
    assert time.monotonic() - began_s > 0.2


@pytest.mark.parametrize(
    ("kind", "values", "error", "counted"),
    [
        (FaultKind.ERROR, {"code": "503"}, UnavailableError, "failed"),
        (FaultKind.RESET, {}, UnavailableError, "failed"),
        (FaultKind.HANG, {}, DeadlineExceededError, "timeout"),
        (FaultKind.CREDENTIAL, {}, DependencyAuthError, "auth"),
    ],
)
async def test_publishing_fails_as_nats_would_make_it(clean_nats, open_bus, kind, values, error, counted):
    """What the relay catches is a failure of ours by name; nothing is stored."""
    policy = policy_of("nats", bus_module.classify)
    publisher = await open_bus(clean_nats, "leads", policy=policy)
    inject(policy, kind, **values)
    with pytest.raises(error) as failed:
        await publisher.publish_batch([BusMessage("breakwater.leads.v1.LeadCaptured", b"x")])
    assert failed.value.dependency == "nats"
    assert policy.snapshot().errors[counted] == 1
