"""Two ops processes on one PostgreSQL have one robot: an alarm leaves by it once."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.errors import UnavailableError
from services.gateway.ops.alarms.domain import Occasion, alarm_of
from services.gateway.ops.alarms.store import PostgresClaims
from services.gateway.ops.alarms.usecases import Alarms, Once
from services.gateway.ops.incidents.domain import Cause, Fault, Incident, Locus

pytestmark = pytest.mark.capability(38)

NOW = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
CAUSE = Cause("notify", "notify", "gateway", "notify", Fault.DOWN, Locus.REMOTE, (("gateway", "notify"),))
INCIDENT = Incident("notify-20260105T0300", CAUSE, NOW)
LEASE_S = 0.5
"""Short: one test waits for the end of it."""


class Out:
    """notify is out, so that alarms go by the robot."""

    name = "notify"

    async def tell(self, alarm):
        raise UnavailableError("out")


class Group:
    """The robot of on-call's group, which keeps no keys: what it is sent is read."""

    name = "wecom"

    def __init__(self):
        self.read = []
        self.fails = 0

    async def tell(self, alarm):
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise UnavailableError("the provider is out")
        self.read.append(alarm.key)


class Down:
    """PostgreSQL is down: it refuses, or does not answer."""

    def __init__(self, how):
        self.how = how

    async def take(self, key):
        if self.how == "hangs":
            await asyncio.Event().wait()
        raise UnavailableError("down")

    told = release = take


class Silent:
    """The record, unread."""

    def alarm_told(self, alarm, way, because):
        """Nowhere."""

    def alarm_untold(self, alarm, problem, *, final):
        """Nowhere."""


@pytest.fixture
async def schema(fresh_database):
    """The database that both share."""
    return await fresh_database("ops")


@asynccontextmanager
async def claims_of(schema):
    """What one ops process claims by."""
    database = await Database.open(schema.dsn, service="ops")
    try:
        yield PostgresClaims(database, LEASE_S)
    finally:
        await database.close()


@pytest.fixture
async def two(schema):
    """The claims of two ops processes."""
    async with claims_of(schema) as one, claims_of(schema) as other:
        yield one, other


def process(group, claims):
    """The alarms of one ops process."""
    return Alarms(Out(), Once(group, claims, SystemClock()), Silent(), SystemClock())


async def announced(processes, occasion=Occasion.OPENED):
    """Each process has noticed it by itself, and tells it."""
    for each in processes:
        each.announce(alarm_of(INCIDENT, occasion, NOW, ""))
    await asyncio.gather(*(each.settle() for each in processes))


async def test_two_processes_send_one_message(two):
    """Both find it at the same moment; its end is a message of its own, once as well."""
    group = Group()
    processes = [process(group, claims) for claims in two]
    await announced(processes)
    assert len(group.read) == 1
    await announced(processes, Occasion.RESOLVED)
    assert len(set(group.read)) == len(group.read) == 2


async def test_what_one_process_could_not_send_the_other_does(two):
    """The claim is given back with the failure: the one that waits for it tries."""
    group = Group()
    group.fails = 1
    await announced([process(group, claims) for claims in two])
    assert len(group.read) == 1


async def test_what_a_process_claimed_and_died_over_is_sent_by_the_other(two):
    """It says nothing more: after its lease the other one tells."""
    one, other = two
    alarm = alarm_of(INCIDENT, Occasion.OPENED, NOW, "")
    assert await one.take(f"wecom:{alarm.key}") == "ours"
    group = Group()
    await announced([process(group, other)])
    assert group.read == [alarm.key]


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_while_postgresql_is_out_each_process_sends_it(how):
    """Twice is better than not at all, and nobody waits long for a database."""
    group = Group()
    await announced([process(group, Down(how)), process(group, Down(how))])
    assert len(group.read) == 2
