"""Overrides laid while NATS is down: there once it is back, also when ops has restarted meanwhile; real NATS, PostgreSQL."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.edges import BUCKET, EdgeReporter, key_of
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.overrides import Overrides as Taken
from breakwater.edges.v1 import edges_pb2 as pb
from breakwater.local.nats import NatsServer
from breakwater.resilience import OverrideMode, PolicyRegistry, PolicySettings
from services.gateway.ops.clients import OverrideCarrier
from services.gateway.ops.console import Console
from services.gateway.ops.overrides.domain import OverrideOrder
from services.gateway.ops.overrides.store import PostgresOrders
from services.gateway.ops.overrides.usecases import Overrides
from services.gateway.ops.timeline.domain import Kind
from services.gateway.ops.timeline.store import Timeline

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)
WHAT = {"dependency": "files", "caller": None, "mode": "forced-open", "reason": "files hangs"}


class Reached:
    """The gateway, running, takes every order by gRPC."""

    names = ("gateway",)

    async def apply(self, process, override):
        return 1


class Ops:
    """One ops process: its verbs and its record."""

    def __init__(self, database, bus):
        clock = SystemClock()
        self.orders = PostgresOrders(database, clock)
        self.console = Console(Timeline(database, clock), clock)
        taken = Taken(PolicyRegistry("ops", []), clock, own_only=True)
        carrier = OverrideCarrier(Reached(), bus, "ops", taken)
        self.overrides = Overrides(carrier, self.orders, Known(), self.console, clock, "ops")

    def kept(self):
        return [entry.actor for entry in self.console.timeline(100) if entry.kind is Kind.OVERRIDE_KEPT]


class Known:
    """One edge, which shows nothing."""

    def callers_of(self, dependency):
        return frozenset({"gateway"})

    def edges(self):
        return ()


@asynccontextmanager
async def process_of_ops(database, bus):
    ops = Ops(database, bus)
    tasks = [asyncio.create_task(work) for work in (ops.overrides.run(), ops.overrides.remember())]
    try:
        yield ops
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
async def database(fresh_database):
    """The database of ops."""
    opened = await Database.open((await fresh_database("ops")).dsn, service="ops")
    yield opened
    await opened.close()


@pytest.fixture
def server(tmp_path):
    """A NATS that may be stopped."""
    server = NatsServer(tmp_path / "nats", secrets=tmp_path / "secrets", log_file=tmp_path / "nats.log")
    server.start()
    yield server
    server.close()


async def connect(server, user):
    return await Bus.connect(server.url, service=user, user=user, password=server.password(user))


@asynccontextmanager
async def started_later(server):
    """The edge gateway -> files of a process that starts now and hears of overrides from NATS alone."""
    policies = PolicyRegistry("gateway", [PolicySettings(caller="gateway", dependency="files")])
    clock = SystemClock()
    reporter = EdgeReporter("gateway", "host-2", policies, Taken(policies, clock), clock)
    bus = await connect(server, "gateway")
    watching = asyncio.create_task(reporter.watch_overrides(bus))
    try:
        yield policies["files"]
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await bus.close()


async def test_what_was_laid_while_nats_was_down_is_there_once_it_is_back(database, server, eventually):
    """Over a restart of ops in the outage: a process that starts afterwards finds it, and the record says so."""
    bus = await connect(server, "ops")
    server.stop()
    await eventually(lambda: not bus.connected)
    async with process_of_ops(database, bus) as ops:
        what, delivery = await ops.overrides.lay(ANNA, ttl_s=600, **WHAT)
        assert (delivery.edges, delivery.in_bucket) == ({"gateway": 1}, False)
        await eventually(ops.orders.load)
    async with process_of_ops(database, bus) as ops:
        await eventually(lambda: ops.overrides.is_wide("files", "gateway"))
        assert ops.kept() == []
        server.start()
        await eventually(ops.kept, timeout_s=30)
        async with started_later(server) as edge:
            await eventually(lambda: edge.snapshot().forced is OverrideMode.FORCED_OPEN)
            assert edge.snapshot().override.expires_at == what.expires_at
            server.stop()
            await eventually(lambda: not bus.connected)
            await ops.overrides.lift(ANNA, dependency="files", caller=None)
            server.start()
            await eventually(lambda: edge.snapshot().forced is None, timeout_s=30)
        assert set(ops.kept()) == {"anna"}
    await bus.close()


async def test_a_later_order_in_nats_stays(database, server, eventually):
    """What an ops process recalls does not undo what another one has laid or lifted since."""
    bus = await connect(server, "ops")
    async with process_of_ops(database, bus) as ops:
        await ops.overrides.lay(ANNA, ttl_s=600, **WHAT)
        await eventually(ops.orders.load)
    bucket = await bus.jetstream.key_value(BUCKET)
    later = pb.Override(dependency="files", mode=pb.OVERRIDE_MODE_SHADOW, actor="bert", reason="later")
    later.set_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    later.expires_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=600))
    await bucket.put(key_of("files", None), later.SerializeToString())
    async with process_of_ops(database, bus) as ops:
        await eventually(ops.kept)
    assert (await bucket.get(key_of("files", None))).value == later.SerializeToString()
    await bus.close()


async def test_orders_are_kept_as_they_were_until_they_end(database, eventually):
    """Every field; the later of two for an edge; nothing that has ended."""
    orders, now = PostgresOrders(database, SystemClock()), datetime.now(UTC)

    def order(caller, *, ttl_s=600, age_s=0, **fields):
        set_at = now - timedelta(seconds=age_s)
        given = {"mode": "fallback", "actor": "anna", "reason": "a drill"} | fields
        return OverrideOrder("files", caller, set_at=set_at, expires_at=now + timedelta(seconds=ttl_s), **given)

    wide, lifted, ended = order(None), order("gateway", mode=None), order("leads", ttl_s=-1)
    await orders.save([wide, lifted, ended])
    await orders.save([order(None, age_s=60, actor="bert"), order("leads", ttl_s=-1)])
    assert sorted(await orders.load(), key=lambda each: each.caller or "") == [wide, lifted]
