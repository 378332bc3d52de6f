"""A server with more to do than it can: who is let in, and what is told to the others."""

import asyncio
import time

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from breakwater.chassis import metrics
from breakwater.chassis.errors import DeadlineExceededError, RateLimitedError
from breakwater.resilience import Deadline
from breakwater.resilience.shedding import Priority, current_priority
from tests.support.echo import Echo, EchoStub, add_echo


@pytest.fixture
def gate(echo):
    """Holds every request until it is set."""
    gate = asyncio.Event()

    async def wait(text, context):
        await gate.wait()
        return text

    echo.handle = wait
    return gate


@pytest.mark.parametrize("priority", Priority)
async def test_the_priority_of_a_request_goes_on_in_the_service(platform, echo, priority):
    """What a request causes is as urgent as the request."""

    async def tell(text, context):
        return current_priority.get().value

    echo.handle = tell
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    current_priority.set(priority)
    assert await files.unary() == priority.value
    assert [answer async for answer in files.many("one")] == [priority.value]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((), "interactive"),
        ((("breakwater-priority", "batch"),), "batch"),
        ((("breakwater-priority", "x"),), "interactive"),
    ],
)
async def test_a_client_that_names_no_priority_we_know_has_somebody_waiting(platform, echo, metadata, expected):
    """A foreign client is served as a person would be."""

    async def tell(text, context):
        return current_priority.get().value

    echo.handle = tell
    server = await platform.serve(echo)
    credential = ("authorization", f"Bearer {platform.signer().token_for('files')}")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        answer = await EchoStub(channel).Unary(StringValue(), metadata=(credential, *metadata), timeout=5)
    assert answer.value == expected


async def test_a_full_server_still_serves_ops_and_answers_health_checks(platform, echo, gate, eventually):
    """On-call gets through when users do not; probes are neither counted nor refused."""
    server = await platform.serve(echo, grpc_concurrency_max=2)
    server_load = server.limiter
    files = platform.channel(server.port)
    current_priority.set(Priority.INTERACTIVE)
    waiting = [asyncio.create_task(files.unary(str(number))) for number in range(2)]
    await eventually(lambda: server.in_flight == 2)
    with pytest.raises(RateLimitedError):
        await files.unary("refused")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert (server_load.in_flight, server_load.ops_in_flight) == (2, 0)
    current_priority.set(Priority.OPS)
    ops = asyncio.create_task(files.unary("ops"))
    await eventually(lambda: server_load.ops_in_flight == 1)
    gate.set()
    assert await asyncio.gather(*waiting, ops) == ["0", "1", "ops"]
    assert sorted(echo.requests) == ["0", "1", "ops"]


async def test_a_servicer_of_ops_is_ops_whatever_its_client_says(platform, echo, gate, eventually):
    """The edges can be read and overridden while everything else is full."""
    server = await platform.serve(Echo(), grpc_concurrency_max=1)
    files = platform.channel(server.port)

    class Other(Echo):
        """Under another name, as ops of the same server."""

    def add_other(servicer, target):
        class Renamed:
            def add_registered_method_handlers(self, name, handlers):
                target.add_registered_method_handlers("breakwater.test.v1.OpsEcho", handlers)

            def add_generic_rpc_handlers(self, handlers):
                pass

        add_echo(servicer, Renamed())

    other = Other()
    other.handle = echo.handle
    server.add(add_other, other, callers={"gateway"}, priority=Priority.OPS)
    method = files.channel.grpc.unary_unary(
        "/breakwater.test.v1.OpsEcho/Unary",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    current_priority.set(Priority.BATCH)
    call = asyncio.create_task(files.channel.unary(method, StringValue(value="edges")))
    await eventually(lambda: server.limiter.ops_in_flight == 1)
    gate.set()
    assert (await call).value == "edges"


async def test_streams_leave_the_slots_of_unary_calls_alone_and_are_bounded(platform, echo, gate, eventually):
    """An export that flows for minutes does not make reads wait; one stream too many is pushed back."""
    server = await platform.serve(echo, grpc_concurrency_max=2, grpc_streams_max=2)
    files = platform.channel(server.port)
    current_priority.set(Priority.INTERACTIVE)

    async def read():
        return [answer async for answer in files.many("row")]

    streams = [asyncio.create_task(read()) for _ in range(2)]
    await eventually(lambda: server.limiter.streams_in_flight == 2)
    with pytest.raises(RateLimitedError) as refused:
        await read()
    assert refused.value.code == "overloaded"
    call = asyncio.create_task(files.unary("read"))
    await eventually(lambda: echo.requests == ["read"])
    gate.set()
    assert await call == "read"
    assert await asyncio.gather(*streams) == [["row"], ["row"]]
    assert server.in_flight == 0


async def test_work_done_together_has_slots_of_its_own(platform, echo, gate, eventually):
    """So many at a time and no more; they leave the others' slots alone, and ops is let in beside them."""
    server = await platform.serve(echo, together={"Unary": 2}, grpc_concurrency_max=1)
    files = platform.channel(server.port)
    current_priority.set(Priority.INTERACTIVE)
    waiting = [asyncio.create_task(files.unary(str(number))) for number in range(2)]
    await eventually(lambda: server.in_flight == 2)
    with pytest.raises(RateLimitedError) as refused:
        await files.unary("refused")
    assert refused.value.code == "overloaded"
    assert server.limiter.in_flight == 0
    told = metrics.exposition().decode()
    assert 'breakwater_concurrency_limit{server="grpc breakwater.test.v1.EchoService/Unary"} 2.0' in told
    current_priority.set(Priority.OPS)
    ops = asyncio.create_task(files.unary("ops"))
    await eventually(lambda: server.in_flight == 3)
    gate.set()
    assert await asyncio.gather(*waiting, ops) == ["0", "1", "ops"]


async def test_what_came_too_late_to_a_busy_process_is_not_begun(platform, echo):
    """While one handler holds the event loop the deadlines of the others pass: none of them is started afterwards."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    assert await files.unary("connected") == "connected"

    async def hold(text, context):
        if text == "holds the loop":
            free_s = time.monotonic() + 0.6
            while time.monotonic() < free_s:
                pass
        return text

    echo.handle = hold
    calls = [files.unary("holds the loop", deadline=Deadline.after(30))]
    calls += [files.unary("late", deadline=Deadline.after(0.2)) for _ in range(10)]
    first, *late = await asyncio.gather(*calls, return_exceptions=True)
    assert first == "holds the loop"
    begun = echo.requests.count("late")
    in_time = sum(answer == "late" for answer in late)
    # One that came before the hold may have been served; whatever was not in time was not begun either.
    assert begun == in_time
    assert all(isinstance(answer, DeadlineExceededError) for answer in late if answer != "late")
    assert await files.unary("after") == "after"


async def test_the_refused_are_counted_by_priority(platform, echo, gate, eventually):
    """What dashboards and alerts read; labels are server and priority, nothing else."""
    server = await platform.serve(echo, grpc_concurrency_max=1)
    files = platform.channel(server.port)
    current_priority.set(Priority.INTERACTIVE)
    first = asyncio.create_task(files.unary("first"))
    await eventually(lambda: server.in_flight == 1)
    for _ in range(3):
        with pytest.raises(RateLimitedError):
            await files.unary("refused")
    told = metrics.exposition().decode()
    assert 'breakwater_requests_shed_total{priority="interactive",server="grpc"} 3.0' in told
    assert 'breakwater_requests_in_flight{server="grpc",slot="request"} 1.0' in told
    assert 'breakwater_concurrency_limit{server="grpc"} 1.0' in told
    gate.set()
    await first


async def test_a_call_that_was_pushed_back_is_tried_again_when_the_server_said(platform, echo, gate, eventually):
    """The caller waits as told and is served; its circuit stays closed."""
    server = await platform.serve(echo, grpc_concurrency_max=1)
    files = platform.channel(server.port, retry_budget_floor_per_s=10.0)
    current_priority.set(Priority.INTERACTIVE)
    first = asyncio.create_task(files.unary("first"))
    await eventually(lambda: server.in_flight == 1)
    second = asyncio.create_task(files.unary("second", retryable=True))
    await eventually(lambda: server.limiter.shed[Priority.INTERACTIVE] == 1)
    gate.set()
    assert await asyncio.gather(first, second) == ["first", "second"]
    assert files.errors() == {"overload": 1}
