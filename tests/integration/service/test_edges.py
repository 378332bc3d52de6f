"""What a process tells of its edges, and the overrides it takes, over real NATS and gRPC."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import nats
import pytest

from breakwater.chassis.bus import Bus
from breakwater.chassis.clock import SystemClock
from breakwater.chassis.edges import BUCKET, EdgeReporter, EdgeService, key_of, subject_of
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.overrides import Overrides
from breakwater.chassis.policies import PolicyFile
from breakwater.edges.v1 import edges_pb2
from breakwater.local.nats import OPERATOR, NatsServer
from breakwater.resilience import OverrideMode, PolicyRegistry, PolicySettings
from breakwater.resilience.errors import CircuitOpenError


class Process:
    """A process with edges, of which the test makes one fail."""

    def __init__(self) -> None:
        edges = [
            PolicySettings(caller="gateway", dependency=name, calls_min=5, open_s=30, open_s_max=30)
            for name in ("files", "leads")
        ]
        self.policies = PolicyRegistry("gateway", edges)
        self.overrides = Overrides(self.policies, SystemClock(), chaos_allowed=True)
        self.reporter = EdgeReporter("gateway", "host-1", self.policies, self.overrides, SystemClock())

    async def break_files(self):
        async def fail(timeout_s):
            raise UnavailableError("x", dependency="files")

        for _ in range(5):
            with pytest.raises(UnavailableError):
                await self.policies["files"].call(fail)

    async def succeed(self, dependency):
        async def answer(timeout_s):
            return "ok"

        return await self.policies[dependency].call(answer)


@pytest.fixture
async def process():
    return Process()


async def connect(server, user="gateway"):
    return await Bus.connect(server.url, service=user, user=user, password=server.password(user))


@pytest.fixture
async def running(process, clean_nats):
    """The process on NATS: the bus, and what the operator hears."""
    bus = await connect(clean_nats)
    operator = await nats.connect(clean_nats.url, user=OPERATOR, password=clean_nats.password(OPERATOR))
    heard = []

    async def hear(message):
        heard.append(edges_pb2.EdgeReport.FromString(message.data))

    await operator.subscribe("breakwater.edges.*", cb=hear)
    await operator.flush()
    tasks = [
        asyncio.create_task(work)
        for work in (
            process.reporter.publish(bus),
            process.reporter.watch_overrides(bus),
            process.reporter.settle_overrides(),
        )
    ]
    yield operator, heard
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await operator.close()
    await bus.close()


def override(mode=edges_pb2.OVERRIDE_MODE_FORCED_OPEN, *, dependency="files", caller="", ttl_s=60.0):
    made = edges_pb2.Override(dependency=dependency, caller=caller, mode=mode, actor="ann", reason="drill")
    made.set_at.FromDatetime(datetime.now(UTC))
    made.expires_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=ttl_s))
    return made


async def test_figures_come_each_second(process, running, eventually):
    """Every edge with its state, of this process and instance."""
    _, heard = running
    await process.succeed("leads")
    await eventually(lambda: len([report for report in heard if not report.HasField("transition")]) >= 3)
    report = heard[-1]
    assert (report.process, report.instance) == ("gateway", "host-1")
    assert {edge.dependency: edge.state for edge in report.edges} == {
        "files": edges_pb2.CIRCUIT_STATE_CLOSED,
        "leads": edges_pb2.CIRCUIT_STATE_CLOSED,
    }
    by_name = {edge.dependency: edge for edge in report.edges}
    assert by_name["leads"].availability == 1.0
    assert not by_name["files"].HasField("availability")
    gaps = [b.as_of.ToDatetime() - a.as_of.ToDatetime() for a, b in itertools.pairwise(heard)]
    assert all(gap < timedelta(seconds=2) for gap in gaps)


async def test_a_transition_is_told_at_once(process, running, eventually):
    """Not with the next second's figures."""
    _, heard = running
    await eventually(lambda: heard)
    await process.break_files()
    report = await eventually(
        lambda: next((each for each in heard if each.HasField("transition")), None), timeout_s=0.9
    )
    assert report.transition.dependency == "files"
    assert report.transition.to_state == edges_pb2.CIRCUIT_STATE_OPEN
    (edge,) = [edge for edge in report.edges if edge.dependency == "files"]
    assert edge.state == edges_pb2.CIRCUIT_STATE_OPEN
    assert edge.errors["failed"] == 5
    assert 20 < edge.next_probe_s < 45


async def test_an_override_in_the_bucket_governs_and_is_lifted(process, running, eventually):
    """Whoever comes first makes the bucket; a value lays, an unspecified mode lifts."""
    operator, _ = running
    jetstream = operator.jetstream()
    bucket = await eventually(lambda: bucket_of(jetstream))
    await bucket.put(key_of("files", None), override().SerializeToString())
    await eventually(lambda: process.policies["files"].snapshot().forced is OverrideMode.FORCED_OPEN)
    with pytest.raises(CircuitOpenError):
        await process.succeed("files")
    assert await process.succeed("leads") == "ok"
    lifted = override(edges_pb2.OVERRIDE_MODE_UNSPECIFIED)
    await bucket.put(key_of("files", None), lifted.SerializeToString())
    await eventually(lambda: process.policies["files"].snapshot().forced is None)
    assert await process.succeed("files") == "ok"


async def bucket_of(jetstream):
    try:
        return await jetstream.key_value(BUCKET)
    except nats.js.errors.NotFoundError:
        return None


async def test_an_override_set_before_a_process_starts_is_found(clean_nats, eventually):
    """A restarted process takes up what is in force."""
    operator = await nats.connect(clean_nats.url, user=OPERATOR, password=clean_nats.password(OPERATOR))
    bucket = await operator.jetstream().create_key_value(bucket=BUCKET)
    await bucket.put(key_of("files", "gateway"), override(caller="gateway").SerializeToString())
    await bucket.put("rubbish.key", b"\xff\xff")
    await operator.close()
    late = Process()
    bus = await connect(clean_nats)
    watch = asyncio.create_task(late.reporter.watch_overrides(bus))
    await eventually(lambda: late.policies["files"].snapshot().forced is OverrideMode.FORCED_OPEN)
    watch.cancel()
    await asyncio.wait([watch])
    await bus.close()


async def test_an_override_ends_by_itself(process, running, eventually):
    """Also when nobody lifts it and NATS has forgotten it."""
    service = EdgeService(
        process.reporter, process.overrides, PolicyFile("gateway", None, clock=SystemClock(), classifiers={})
    )
    answer = await service.ApplyOverride(edges_pb2.ApplyOverrideRequest(override=override(ttl_s=0.3)), None)
    assert answer.edges == 1
    listed = (await service.ListEdges(edges_pb2.ListEdgesRequest(), None)).report
    assert [edge.forced.actor for edge in listed.edges if edge.HasField("forced")] == ["ann"]
    await eventually(lambda: process.policies["files"].snapshot().forced is None, timeout_s=3)
    assert await process.succeed("files") == "ok"


async def test_nats_going_and_coming_back_matters_to_nobody(process, tmp_path, eventually):
    """Requests go on through the outage; afterwards figures are told and overrides watched again."""
    server = NatsServer(tmp_path / "nats", secrets=tmp_path / "secrets", log_file=tmp_path / "nats.log")
    server.start()
    bus = await connect(server)
    tasks = [
        asyncio.create_task(work) for work in (process.reporter.publish(bus), process.reporter.watch_overrides(bus))
    ]
    server.stop()
    await eventually(lambda: not bus.connected)
    await process.break_files()
    assert await process.succeed("leads") == "ok"
    server.start()
    operator = await nats.connect(server.url, user=OPERATOR, password=server.password(OPERATOR))
    heard = await operator.subscribe(subject_of("gateway"))
    bucket = await eventually(lambda: bucket_of(operator.jetstream()), timeout_s=20)
    report = edges_pb2.EdgeReport.FromString((await heard.next_msg(timeout=10)).data)
    assert report.process == "gateway"
    await bucket.put(key_of("leads", None), override(dependency="leads").SerializeToString())
    await eventually(lambda: process.policies["leads"].snapshot().forced is OverrideMode.FORCED_OPEN, timeout_s=25)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await operator.close()
    await bus.close()
    server.close()


async def test_a_fault_comes_by_the_bucket_and_is_told(process, running, eventually):
    """The report says what is injected and how often it was; it ends by itself though NATS keeps it."""
    operator, heard = running
    bucket = await eventually(lambda: bucket_of(operator.jetstream()))
    laid = override(edges_pb2.OVERRIDE_MODE_CHAOS, ttl_s=3.0)
    laid.fault.CopyFrom(edges_pb2.Fault(kind=edges_pb2.FAULT_KIND_RESET, share=1.0, latency_s_max=30.0))
    await bucket.put(key_of("files", None), laid.SerializeToString())
    await eventually(lambda: process.policies["files"].snapshot().forced is OverrideMode.CHAOS)
    with pytest.raises(ConnectionResetError):
        await process.succeed("files")

    def told():
        edges = [edge for report in heard for edge in report.edges if edge.dependency == "files"]
        return next((edge for edge in edges if edge.injected), None)

    edge = await eventually(told)
    assert (edge.injected, edge.errors["failed"]) == (1, 1)
    assert edge.forced.mode == edges_pb2.OVERRIDE_MODE_CHAOS
    assert edge.forced.fault == laid.fault
    await eventually(lambda: process.policies["files"].snapshot().forced is None)
    assert await process.succeed("files") == "ok"
