"""Incidents outlive the process that opened them, and replicas agree on one name; on a real PostgreSQL."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.incidents.store import PostgresIncidents
from services.gateway.ops.incidents.usecases import Incidents
from services.gateway.ops.settings import OWNERS
from tests.support.reporters import Notes, Platform

pytestmark = pytest.mark.capability(38)

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)
BELOW = [("leads", "postgres"), ("gateway", "leads")]


@pytest.fixture
async def schema(fresh_database):
    """The database of ops."""
    return await fresh_database("ops")


@asynccontextmanager
async def memory(schema):
    """What keeps the incidents of one ops process."""
    database = await Database.open(schema.dsn, service="ops")
    try:
        yield PostgresIncidents(database)
    finally:
        await database.close()


class Out:
    """PostgreSQL is down."""

    async def load(self, resolved_after):
        raise UnavailableError("down")

    async def save(self, incidents, actions):
        raise UnavailableError("down")


@pytest.fixture
async def failing():
    """A platform on which leads does not reach PostgreSQL."""
    platform = Platform()
    await platform.run(60)
    await platform.run(10, BELOW)
    return platform


def restarted(platform):
    """An ops process that has heard nothing yet."""
    return Incidents(Notes(), platform.clock, OWNERS)


async def test_an_incident_and_what_was_done_about_it_outlive_the_process(schema, failing):
    """Cause, symptoms, counts and hand-over: all of it is read again, and it stays open while nobody tells otherwise."""
    incident_id = failing.only().id
    failing.incidents.acknowledge(ANNA, incident_id)
    failing.incidents.hand_over(ANNA, incident_id, to="boris", note="the disk is full")
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
        after = restarted(failing)
        await after.settle(kept)
        assert after.open() == failing.incidents.open()
        assert (after.open()[0].acknowledged_by, after.open()[0].actions[-1].note) == ("boris", "the disk is full")
        after.judge()
        assert len(after.open()) == 1


async def test_what_was_recalled_is_resolved_when_its_edges_answer(schema, failing):
    """And is kept as resolved."""
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
        after = restarted(failing)
        await after.settle(kept)
        failing.others.append(after)
        for _ in range(45):
            await failing.run(1)
            after.judge()
        assert after.open() == ()
        await after.settle(kept)
        third = restarted(failing)
        await third.settle(kept)
        assert [each.resolved_at for each in third.all()] == [after.all()[0].resolved_at]


async def test_what_happens_while_postgresql_is_down_is_kept_when_it_is_back(schema, failing):
    """Nothing waits for it: incidents and actions stand in memory until then."""
    with pytest.raises(UnavailableError):
        await failing.incidents.settle(Out())
    failing.incidents.acknowledge(ANNA, failing.only().id)
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
        (found,) = await kept.load(failing.clock.now() - timedelta(days=1))
        assert (found.id, found.acknowledged_by) == (failing.only().id, "anna")


async def test_replicas_that_named_one_fault_apart_agree_on_the_first_name_kept(schema, failing):
    """Cut off from each other at the turn of a quarter of an hour: once PostgreSQL is there, both go by one name."""
    other = restarted(failing)
    failing.others.append(other)
    await failing.run(60, BELOW)
    other.judge()
    await failing.run(5, BELOW)
    other.judge()
    (own,) = other.open()
    other._open[own.cause.key] = replace(own, id="postgres-of-another-quarter")
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
        await other.settle(kept)
        await failing.incidents.settle(kept)
        other.acknowledge(ANNA, failing.only().id)
        await other.settle(kept)
        await failing.incidents.settle(kept)
        found = await kept.load(failing.clock.now() - timedelta(days=1))
    assert [each.id for each in other.open()] == [failing.only().id] == [each.id for each in found]
    assert failing.only().acknowledged_by == "anna"


async def test_what_people_did_is_never_altered(schema, failing):
    """Neither by the run-time role nor by the owner of the table."""
    failing.incidents.acknowledge(ANNA, failing.only().id)
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
    for dsn, refusal in ((schema.dsn, asyncpg.InsufficientPrivilegeError), (schema.owner_dsn, asyncpg.RaiseError)):
        connection = await asyncpg.connect(dsn)
        with pytest.raises(refusal):
            await connection.execute("UPDATE incident_actions SET actor = 'nobody'")
        await connection.close()


async def test_an_incident_of_a_later_release_is_left_alone(schema, failing):
    """After going back to the pin: what cannot be read is neither shown nor lost."""
    async with memory(schema) as kept:
        await failing.incidents.settle(kept)
        connection = await asyncpg.connect(schema.dsn)
        await connection.execute("UPDATE incidents SET content = jsonb_set(content, '{cause,fault}', '\"invented\"')")
        assert await kept.load(SystemClock().now() - timedelta(days=3650)) == []
        assert await connection.fetchval("SELECT count(*) FROM incidents") == 1
        await connection.close()
