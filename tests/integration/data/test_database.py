"""The pool, its transactions and deadlines, against a real PostgreSQL."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from breakwater.chassis.database import Database, PoolLimits, UniqueViolationError, classify
from breakwater.chassis.errors import (
    DeadlineExceededError,
    DependencyAuthError,
    InternalError,
    NotFoundError,
    UnavailableError,
)
from breakwater.local.postgres import PostgresServer
from breakwater.resilience import Deadline, Policy, PolicySettings, current_deadline
from tests.integration.data.conftest import OpenDatabase, Schema
from tests.support.faultproxy import FaultProxy, Hang
from tests.support.waiting import until

ADD = "INSERT INTO effects (event_id) VALUES ($1)"
EVENT_IDS = "SELECT event_id FROM effects ORDER BY position"
HANG = "SELECT pg_sleep(30)"


async def event_ids(db: Database) -> list[str]:
    async with db.read() as reader:
        return [row["event_id"] for row in await reader.fetch(EVENT_IDS)]


async def test_a_transaction_is_committed_when_its_block_ends(db: Database) -> None:
    """What a block wrote is there for others afterwards."""
    async with db.transaction() as tx:
        await tx.execute(ADD, "a")
    assert await event_ids(db) == ["a"]


async def test_a_transaction_whose_block_raises_leaves_nothing(db: Database) -> None:
    """An error rolls everything back and arrives as it was raised."""
    with pytest.raises(NotFoundError):
        async with db.transaction() as tx:
            await tx.execute(ADD, "a")
            raise NotFoundError("no such lead")
    assert await event_ids(db) == []


async def test_the_deadline_ends_a_statement_in_the_server(db: Database) -> None:
    """A statement past the request's deadline fails as such, and its transaction is gone."""
    current_deadline.set(Deadline.after(0.2))
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError) as caught:
        async with db.transaction() as tx:
            await tx.execute(ADD, "a")
            await tx.fetchval(HANG)
    assert caught.value.dependency == "postgres"
    assert time.monotonic() - started_s < 1.5
    current_deadline.set(None)
    assert await event_ids(db) == []


async def test_the_deadline_is_handed_to_the_server_with_begin(db: Database) -> None:
    """statement_timeout is what the deadline leaves, so a kill of ours leaves no statement running on."""
    current_deadline.set(Deadline.after(1.5))
    async with db.transaction() as tx:
        shown = await tx.fetchval("SHOW statement_timeout")
    current_deadline.set(None)
    assert shown.endswith("ms")
    assert 1_000 < int(shown.removesuffix("ms")) <= 1_500


async def test_without_a_deadline_the_pools_limit_holds(db: Database) -> None:
    """No statement runs without a bound."""
    async with db.transaction() as tx:
        assert await tx.fetchval("SHOW statement_timeout") == "5s"
    async with db.read() as reader:
        assert await reader.fetchval("SHOW statement_timeout") == "5s"


async def test_only_what_may_be_repeated_skips_the_disk(db: Database) -> None:
    """A transaction is on disk when it is committed, unless its author says that losing it does no harm."""
    async with db.transaction() as tx:
        assert await tx.fetchval("SHOW synchronous_commit") == "on"
    async with db.transaction(durable=False) as tx:
        assert await tx.fetchval("SHOW synchronous_commit") == "off"
        assert await tx.fetchval("SHOW statement_timeout") == "5s"
    async with db.transaction() as tx:
        assert await tx.fetchval("SHOW synchronous_commit") == "on"


async def test_work_past_its_deadline_is_not_started(db: Database) -> None:
    """Nothing is sent once nobody waits for the answer."""
    current_deadline.set(Deadline.after(-1))
    with pytest.raises(DeadlineExceededError):
        async with db.transaction() as tx:
            await tx.execute(ADD, "late")
    current_deadline.set(None)
    assert await event_ids(db) == []


async def test_a_server_that_stopped_answering_does_not_hang_a_request(schema: Any, open_database: Any) -> None:
    """A frozen backend ends no statement by itself; we stop waiting for it soon after the deadline."""
    db = await open_database(schema)
    async with db.read() as reader:
        pid = await reader.fetchval("SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        current_deadline.set(Deadline.after(0.3))
        started_s = time.monotonic()
        with pytest.raises(UnavailableError):
            async with db.read() as reader:
                await reader.fetchval("SELECT 1")
        with pytest.raises(UnavailableError):
            async with db.transaction() as tx:
                await tx.fetchval("SELECT 1")
        assert time.monotonic() - started_s < 5
    finally:
        current_deadline.set(None)
        os.kill(pid, signal.SIGCONT)
    assert await event_ids(db) == []


async def test_a_unique_violation_is_typed_and_a_savepoint_survives_it(schema: Any, db: Database) -> None:
    """A store may expect a duplicate and go on in the same transaction."""
    await schema.as_admin("CREATE UNIQUE INDEX effects_once ON effects (event_id)")
    async with db.transaction() as tx:
        await tx.execute(ADD, "a")
        with pytest.raises(UniqueViolationError) as caught:
            async with tx.savepoint():
                await tx.execute(ADD, "a")
        await tx.execute(ADD, "b")
    assert caught.value.constraint == "effects_once"
    assert await event_ids(db) == ["a", "b"]


async def test_a_void_transaction_does_not_pass_for_committed(schema: Any, db: Database) -> None:
    """Swallowing a failed statement without a savepoint is a defect, said loudly, never a silent loss."""
    await schema.as_admin("CREATE UNIQUE INDEX effects_once ON effects (event_id)")
    with pytest.raises(InternalError):
        async with db.transaction() as tx:
            await tx.execute(ADD, "a")
            with pytest.raises(UniqueViolationError):
                await tx.execute(ADD, "a")
    assert await event_ids(db) == []


async def test_waiting_for_a_connection_is_bounded(schema: Any, open_database: Any) -> None:
    """A full pool answers soon that it is full."""
    db = await open_database(schema, limits=PoolLimits(size_max=1, acquire_timeout_s=0.2))
    started_s = time.monotonic()
    async with db.transaction():
        with pytest.raises(UnavailableError) as caught:
            async with db.transaction():
                pass
    assert caught.value.code == "pool_exhausted"
    assert time.monotonic() - started_s < 1


async def test_the_wait_for_a_connection_counts_against_the_deadline(schema: Any, open_database: Any) -> None:
    """statement_timeout is what is left when the statement starts, not what there was before the wait."""
    db = await open_database(schema, limits=PoolLimits(size_max=1, acquire_timeout_s=20.0))
    shown: list[str] = []

    async def wait_in_line() -> None:
        current_deadline.set(Deadline.after(20.0))
        async with db.transaction() as tx:
            shown.append(await tx.fetchval("SHOW statement_timeout"))

    async with db.transaction() as tx:
        waiting = asyncio.create_task(wait_in_line())
        await tx.fetchval("SELECT pg_sleep(1.5)")
    await waiting
    [timeout] = shown
    # Whole seconds are shown as such.
    assert timeout.endswith("ms")
    assert int(timeout.removesuffix("ms")) < 18_700


async def test_no_statement_starts_when_the_deadline_passed_in_line(schema: Any, open_database: Any) -> None:
    """Whoever waits for a connection until nobody waits for the answer is told so at the deadline; nothing is sent."""
    db = await open_database(schema, limits=PoolLimits(size_max=1, acquire_timeout_s=20.0))

    async def write() -> None:
        current_deadline.set(Deadline.after(0.2))
        async with db.transaction() as tx:
            await tx.execute(ADD, "late")

    async def read() -> None:
        current_deadline.set(Deadline.after(0.2))
        async with db.read() as reader:
            await reader.fetchval("SELECT nextval('effects_position_seq')")

    async with db.transaction():
        for late in await asyncio.gather(write(), read(), return_exceptions=True):
            assert isinstance(late, DeadlineExceededError)
            assert late.dependency == "postgres"
    assert await event_ids(db) == []


async def test_no_later_statement_of_a_transaction_starts_after_the_deadline(db: Database) -> None:
    """Neither another statement nor the commit: what nobody waits for is rolled back."""
    for late_statements in (1, 0):
        deadline = Deadline.after(0.3)
        current_deadline.set(deadline)
        with pytest.raises(DeadlineExceededError):
            async with db.transaction() as tx:
                await tx.execute(ADD, "a")
                await until("the deadline", lambda end=deadline: end.expired)
                for _ in range(late_statements):
                    await tx.execute(ADD, "b")
        current_deadline.set(None)
        assert await event_ids(db) == []


async def test_the_deadline_ends_a_later_statement_and_a_lone_read_in_the_server(schema: Any, db: Database) -> None:
    """Where statement_timeout cannot tell, the driver cancels: nothing of ours keeps running in the server."""

    async def transaction() -> None:
        async with db.transaction() as tx:
            await tx.fetchval("SELECT pg_sleep(0.5)")
            await tx.fetchval(HANG)

    async def lone_read() -> None:
        async with db.read() as reader:
            await reader.fetchval(HANG)

    for ask in (transaction, lone_read):
        current_deadline.set(Deadline.after(0.8))
        with pytest.raises(DeadlineExceededError):
            await ask()
        current_deadline.set(None)

    async def none_left() -> bool:
        sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(30)%'"
        [row] = await schema.as_admin(sql + " AND pid <> pg_backend_pid()")
        return int(row["n"]) == 0

    await until("the statements have ended", none_left)


async def test_a_connection_that_died_idle_is_noticed_by_nobody(schema: Any, db: Database) -> None:
    """The first statement after the pool's connections were killed succeeds, in a transaction and in a read."""
    for ask in (_in_a_transaction, _in_a_read):
        await asyncio.gather(*(ask(db) for _ in range(4)))
        await schema.as_admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'leads'")
        assert await asyncio.gather(*(ask(db) for _ in range(4))) == [1, 1, 1, 1]


async def test_a_connection_that_dies_within_a_transaction_fails_it(schema: Any, db: Database) -> None:
    """What had begun is reported as unavailable, never sent a second time, and the next transaction works."""
    with pytest.raises(UnavailableError) as caught:
        async with db.transaction() as tx:
            await tx.execute(ADD, "a")
            await schema.as_admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'leads'")
            await tx.execute(ADD, "b")
    assert caught.value.dependency == "postgres"
    assert await event_ids(db) == []


async def test_a_cancelled_request_gives_its_connection_back_clean(schema: Any, open_database: Any) -> None:
    """Cancelling in the middle of a statement rolls back; the pool's only connection serves the next request."""
    db = await open_database(schema, limits=PoolLimits(size_max=1))
    entered = asyncio.Event()

    async def hanging() -> None:
        async with db.transaction() as tx:
            await tx.execute(ADD, "a")
            entered.set()
            await tx.fetchval(HANG)

    task = asyncio.create_task(hanging())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await event_ids(db) == []


async def test_a_snapshot_sees_one_moment_in_chunks(db: Database) -> None:
    """An export reads 500 rows at a time, and nothing that was committed after it began."""
    async with db.transaction() as tx:
        assert await tx.copy("effects", ["event_id"], ((str(n),) for n in range(1_200))) == 1_200
    sizes = []
    async with db.snapshot() as exported:
        async for chunk in exported.stream(EVENT_IDS):
            sizes.append(len(chunk))
            async with db.transaction() as tx:
                await tx.execute(ADD, "late")
    assert sizes == [500, 500, 200]


async def test_a_snapshot_cannot_write(db: Database) -> None:
    """An export changes nothing, by the server's word."""
    with pytest.raises(UnavailableError):
        async with db.snapshot() as tx:
            await tx.execute(ADD, "a")


async def test_listeners_hear_of_a_topic_after_its_commit_only(db: Database) -> None:
    """A wake-up never comes before the rows, nor for rows that were rolled back."""
    seen: list[list[str]] = []
    woken = asyncio.Event()
    db.listen("effects", woken.set)
    with pytest.raises(NotFoundError):
        async with db.transaction() as tx:
            tx.announce("effects")
            raise NotFoundError("nothing")
    assert not woken.is_set()
    async with db.transaction() as tx:
        await tx.execute(ADD, "a")
        tx.announce("effects")
        assert not woken.is_set()
    assert woken.is_set()
    seen.append(await event_ids(db))
    assert seen == [["a"]]


async def test_a_wrong_password_is_a_fault_of_ours_by_name(schema: Any) -> None:
    """A refused credential is told from an absent server."""
    db = await Database.open(schema.dsn, service="leads", password="wrong")
    with pytest.raises(DependencyAuthError) as caught:
        async with db.read() as reader:
            await reader.fetchval("SELECT 1")
    assert caught.value.dependency == "postgres"
    await db.close()


async def test_only_what_postgres_fails_to_do_opens_the_circuit(schema: Any, open_database: Any) -> None:
    """Errors of the business pass the policy uncounted; an absent server opens it, and then nothing is sent."""
    settings = PolicySettings(caller="leads", dependency="postgres", calls_min=5, open_s=15.0)
    policy = Policy(settings, classify=classify)
    db = await open_database(schema, policy=policy)
    for _ in range(20):
        with pytest.raises(NotFoundError):
            async with db.transaction():
                raise NotFoundError("no such lead")
    assert policy.snapshot().error_rate == 0

    absent = await Database.open("postgresql://leads@127.0.0.1:1/none", service="leads", policy=policy)
    errors = []
    for _ in range(40):
        with pytest.raises(UnavailableError) as caught:
            async with absent.transaction():
                pass
        errors.append(caught.value.code)
    assert errors[0] == "unavailable"
    assert errors[-1] == "circuit_open"
    await absent.close()


async def test_the_database_is_back_soon_after_a_restart(tmp_path: Path) -> None:
    """kill -9 of PostgreSQL: requests fail at once and typed, and succeed within 5 s of its return, with no other step."""
    server = PostgresServer(tmp_path / "server", password_file=tmp_path / "password", log_file=tmp_path / "log")
    server.start()
    db = await Database.open(server.dsn(), service="leads")
    try:
        await asyncio.gather(*(_in_a_transaction(db) for _ in range(4)))
        server.kill()
        started_s = time.monotonic()
        with pytest.raises(UnavailableError):
            await _in_a_transaction(db)
        assert time.monotonic() - started_s < 3
        await asyncio.to_thread(server.start)

        async def answers() -> bool:
            try:
                return await _in_a_transaction(db) == 1
            except UnavailableError:
                return False

        await until("a transaction after the restart", answers, within_s=5)
    finally:
        await db.close()
        server.close()


async def _in_a_transaction(db: Database) -> int:
    async with db.transaction() as tx:
        value: int = await tx.fetchval("SELECT 1 FROM pg_sleep(0.01)")
        return value


async def _in_a_read(db: Database) -> int:
    async with db.read() as reader:
        value: int = await reader.fetchval("SELECT 1 FROM pg_sleep(0.01)")
        return value


async def test_the_statements_of_a_transaction_share_its_deadline(db: Database, schema: Schema) -> None:
    """Each is in time by itself, together they are late: the commit is not started, and nothing is stored."""
    token = current_deadline.set(Deadline.after(0.4))
    try:
        with pytest.raises(DeadlineExceededError):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO effects (event_id) VALUES ('late')")
                await tx.execute("SELECT pg_sleep(0.3)")
                await tx.execute("SELECT pg_sleep(0.3)")
    finally:
        current_deadline.reset(token)
    assert await schema.as_admin("SELECT event_id FROM effects") == []


@pytest.mark.parametrize("way", ["transaction", "read"])
async def test_a_database_that_goes_silent_costs_no_more_than_the_deadline(
    schema: Schema, open_database: OpenDatabase, way: str
) -> None:
    """Connections stay open and nothing comes: no caller waits for a rollback that nobody will answer."""
    parts = urlsplit(schema.dsn)
    async with FaultProxy(parts.hostname or "", parts.port or 0) as proxy, AsyncExitStack() as stack:
        database = await open_database(replace(schema, dsn=schema.dsn.replace(f":{parts.port}/", f":{proxy.port}/")))
        async with database.read() as reader:
            await reader.fetchval("SELECT 1")
        token = current_deadline.set(Deadline.after(0.3))
        began_s = time.monotonic()
        try:
            with pytest.raises(DeadlineExceededError):
                async with getattr(database, way)() as asked:
                    await asked.fetchval("SELECT 1")
                    await stack.enter_async_context(proxy.fault(Hang()))
                    await asked.fetchval("SELECT 1")
        finally:
            current_deadline.reset(token)
        assert time.monotonic() - began_s < 1.3, "deadline and grace; the rest is for a busy machine"
