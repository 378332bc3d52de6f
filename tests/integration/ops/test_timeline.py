"""The record: added to and never altered, and whoever alters it all the same is found; on a real PostgreSQL."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import FieldError, InvalidRequestError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.console import Console
from services.gateway.ops.timeline.domain import Kind
from services.gateway.ops.timeline.store import Timeline

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)


@pytest.fixture
async def schema(fresh_database):
    """The database of ops."""
    return await fresh_database("ops")


@asynccontextmanager
async def written_by(schema):
    """A timeline that saves what is added; another one is another ops process."""
    database = await Database.open(schema.dsn, service="ops")
    timeline = Timeline(database, SystemClock())
    saving = asyncio.create_task(timeline.run())
    try:
        yield timeline
    finally:
        saving.cancel()
        await asyncio.wait([saving])
        await database.close()


async def as_superuser(schema, *statements):
    """Alters what nobody may: with the trigger out of the way."""
    connection = await asyncpg.connect(schema.admin_dsn)
    try:
        await connection.execute("SET search_path = ops")
        await connection.execute("ALTER TABLE timeline DISABLE TRIGGER ALL")
        for statement in statements:
            await connection.execute(statement)
        return await connection.fetchval("SELECT count(*) FROM timeline")
    finally:
        await connection.close()


async def add(schema, timeline, eventually, count=3):
    """Adds entries and waits until they are stored."""
    before = await as_superuser(schema)
    for number in range(count):
        timeline.add(Kind.OVERRIDE_SET, f"gateway → files shadow {number}", "files", actor="anna")

    async def stored():
        return await as_superuser(schema) == before + count

    await eventually(stored)


async def test_what_is_added_is_chained_over_every_restart(schema, eventually):
    """A second process goes on where the first one ended."""
    async with written_by(schema) as first:
        await add(schema, first, eventually)
    async with written_by(schema) as second:
        await add(schema, second, eventually)
        found = await second.verify()
    assert (found.problem, found.entries, found.seq) == (None, 6, 6)


async def test_a_kind_that_only_a_later_release_knows_is_kept_as_it_is(schema, eventually):
    """An ops process that went back to its pin reads on, and the chain is whole."""
    async with written_by(schema) as later:
        await add(schema, later, eventually)
        later.add("invented-later", "files 9.9.9 did something new", "files")

        async def chained():
            return (await later.verify()).entries == 4

        await eventually(chained)
    async with written_by(schema) as pinned:

        async def loaded():
            return pinned.entries(1)

        await eventually(loaded)
        assert (pinned.entries(1)[0].kind, (await pinned.verify()).problem) == ("invented-later", None)


async def test_two_processes_write_one_chain(schema, eventually):
    """Side by side, as for a moment in a restart."""
    async with written_by(schema) as first, written_by(schema) as second:
        for number in range(20):
            for timeline in (first, second):
                timeline.add(Kind.CIRCUIT, f"change {number}", "files")
                await asyncio.sleep(0)

        async def stored():
            return await as_superuser(schema) == 40

        await eventually(stored)
        assert (await first.verify()).problem is None


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        ("UPDATE timeline SET text = 'nothing happened' WHERE seq = 2", "entry 2 was altered"),
        ("UPDATE timeline SET actor = 'boris' WHERE seq = 3", "entry 3 was altered"),
        ("UPDATE timeline SET at = at - interval '1 hour' WHERE seq = 1", "entry 1 was altered"),
        ("DELETE FROM timeline WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM timeline WHERE seq = 1", "entry 1 is missing"),
        ("DELETE FROM timeline WHERE seq = 3", "entry 3 is missing"),
        ("DELETE FROM timeline", "entry 1 is missing"),
        (
            (
                "INSERT INTO timeline (id, at, kind, text, dependency, actor) "
                "VALUES ('ffffffff-ffff-7fff-bfff-ffffffffffff', now(), 'circuit', 'x', 'files', '')"
            ),
            "1 entries were put in past the chain",
        ),
        (
            (
                "INSERT INTO timeline SELECT gen_random_uuid(), at, kind, text, dependency, actor, 4, sha256 "
                "FROM timeline WHERE seq = 3"
            ),
            "entry 4 was altered",
        ),
        (
            "UPDATE timeline SET seq = CASE seq WHEN 1 THEN -1 ELSE seq END",
            "entry 1 is missing",
        ),
    ],
)
async def test_tampering_is_found(schema, eventually, tampering, problem):
    """Whatever was altered, taken out or put in, by somebody whom no right and no trigger stops."""
    async with written_by(schema) as timeline:
        await add(schema, timeline, eventually)
        assert (await timeline.verify()).problem is None
        await as_superuser(schema, tampering)
        assert (await timeline.verify()).problem == problem


@pytest.mark.parametrize("statement", ["UPDATE timeline SET text = ''", "DELETE FROM timeline", "TRUNCATE timeline"])
async def test_the_run_time_role_may_only_add(schema, statement):
    """It has no right to anything else; its owner is stopped by the trigger."""
    role = await asyncpg.connect(schema.dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await role.execute(statement)
    await role.close()
    owner = await asyncpg.connect(schema.owner_dsn)
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await owner.execute(statement)
    await owner.close()


async def test_refusals_are_on_the_record(schema, eventually):
    """Who asked for what and why it was not done; the same again at once is one entry."""
    async with written_by(schema) as timeline:
        console = Console(timeline, SystemClock())
        refusal = InvalidRequestError("no", errors=[FieldError("reason", "too short")])
        for _ in range(3):
            console.refused(ANNA, "PUT /v1/dependencies/{dependency}/override", "files", refusal)

        async def stored():
            return await as_superuser(schema) == 1

        await eventually(stored)
        (entry,) = timeline.entries(10)
        assert (entry.kind, entry.dependency, entry.actor) == (Kind.OVERRIDE_REFUSED, "files", "anna")
        assert entry.text.endswith("refused to anna (oncall): invalid_request, reason: too short")
        assert (await timeline.verify()).problem is None
