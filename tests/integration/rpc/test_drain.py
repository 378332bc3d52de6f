"""Health, drain, replicas and reconnection."""

import asyncio
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from breakwater.chassis.errors import BreakwaterError
from tests.support.echo import NAME, Echo

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_is_told_to_anybody_for_the_whole_and_for_each_service(platform):
    """Probes carry no credential."""
    server = await platform.serve()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "files", NAME):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="leads"), timeout=5)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drain_of_a_replica_loses_no_request(platform, eventually):
    """Traffic goes on over two replicas while each is drained and replaced in turn: 0 errors."""
    first, second = await platform.serve(), await platform.serve()
    files = platform.channel(first.port, second.port)
    answered, failed, stop = [], [], asyncio.Event()

    async def client(number):
        while not stop.is_set():
            try:
                answered.append(await files.unary(str(number)))
            except BreakwaterError as error:
                failed.append(error)

    async def fifty_more():
        count = len(answered) + 50
        await eventually(lambda: len(answered) > count)

    clients = [asyncio.create_task(client(number)) for number in range(8)]
    for old in (first, second):
        await fifty_more()
        await old.drain(5)
        replacement = Echo()
        await platform.serve(replacement, grpc_port=old.port)
        # Back in rotation before the other one goes.
        await eventually(lambda served=replacement.requests: served)
    await fifty_more()
    stop.set()
    await asyncio.gather(*clients)
    assert failed == []


async def test_a_drain_waits_for_what_is_in_flight_and_no_longer(platform, echo, eventually):
    """A request that was let in ends well; health watchers do not hold the drain up."""
    gate = asyncio.Event()

    async def wait(text, context):
        await gate.wait()
        return text

    echo.handle = wait
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    call = asyncio.create_task(files.unary())
    await eventually(lambda: server.in_flight == 1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert (await watch.read()).status == SERVING
        drain = asyncio.create_task(server.drain(20))
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        gate.set()
        async with asyncio.timeout(10):
            assert await call == "hello"
            await drain


async def test_a_drain_ends_at_its_grace(platform, echo, eventually):
    """What does not end is cut off, and its client told."""

    async def hang(text, context):
        await asyncio.get_running_loop().create_future()

    echo.handle = hang
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    call = asyncio.create_task(files.unary())
    await eventually(lambda: server.in_flight == 1)
    async with asyncio.timeout(8):
        await server.drain(0.1)
        with pytest.raises(BreakwaterError):
            await call


async def test_a_channel_finds_a_restarted_service_within_a_second_or_two(platform, eventually):
    """After five seconds of outage gRPC's own back-off would look again four seconds later; ours never waits over one."""
    server = await platform.serve()
    files = platform.channel(server.port, calls_min=10_000, calls_enough=10_000)
    assert await files.unary() == "hello"
    await server.drain(0)
    loop = asyncio.get_running_loop()
    gone_s = loop.time()

    async def out_for_long():
        with pytest.raises(BreakwaterError):
            await files.unary()
        return loop.time() - gone_s > 5.3

    await eventually(out_for_long)
    await platform.serve(grpc_port=server.port)
    async with asyncio.timeout(3):
        answer = None
        while answer is None:
            with suppress(BreakwaterError):
                answer = await files.unary()
    assert answer == "hello"


async def test_traffic_is_spread_over_all_replicas(platform, echo):
    """Round robin, also for a single client."""
    replicas = [Echo(), Echo()]
    servers = [await platform.serve(replica) for replica in replicas]
    files = platform.channel(*(server.port for server in servers))
    async with asyncio.timeout(10):
        while not all(replica.requests for replica in replicas):
            await files.unary()
    for _ in range(20):
        await files.unary()
    counts = [len(replica.requests) for replica in replicas]
    assert min(counts) >= 10


async def test_a_port_that_is_taken_is_an_error(platform):
    """Two processes never share a port by accident."""
    server = await platform.serve()
    with pytest.raises(OSError, match="cannot listen"):
        await platform.serve(grpc_port=server.port)


async def test_reflection_is_for_development_only(platform):
    """Production tells strangers nothing."""
    listed = reflection_pb2.ServerReflectionRequest(list_services="")
    for environment, expected in (("development", True), ("production", False)):
        server = await platform.serve(environment=environment)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([listed]), timeout=5)
            if expected:
                assert NAME in [each.name for each in (await call.read()).list_services_response.service]
            else:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call.read()
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
