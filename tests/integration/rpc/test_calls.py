"""Calls from service to service: credentials, deadlines, limits and traces, over a real hop."""

import asyncio
from contextlib import aclosing, suppress

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis import telemetry
from breakwater.chassis.errors import (
    DeadlineExceededError,
    DependencyAuthError,
    PayloadTooLargeError,
    RateLimitedError,
    UnavailableError,
)
from breakwater.chassis.grpc_server import current_caller
from breakwater.resilience import CircuitState, Deadline, current_deadline
from tests.support.echo import EchoStub
from tests.support.tokens import Key


async def texts(*values):
    for value in values:
        yield value


async def test_unary_streams_and_uploads_arrive(platform, echo):
    """The three kinds of RPC of this platform."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    assert await files.unary("你好") == "你好"
    assert [word async for word in files.many("a b c")] == ["a", "b", "c"]
    assert await files.upload(texts("x", "y", "z")) == "xyz"
    assert files.errors() == {}


async def test_a_handler_knows_which_service_calls(platform, echo):
    """From the verified token, not from anything the caller may write."""

    async def who(text, context):
        return current_caller.get()

    echo.handle = who
    server = await platform.serve(echo)
    assert await platform.channel(server.port).unary() == "gateway"


@pytest.mark.parametrize("rpc", ["unary", "many", "upload"])
async def test_a_call_without_or_with_a_foreign_credential_never_reaches_the_handler(platform, echo, rpc):
    """Our credential being refused is a fault of the contract: counted, told, never retried."""
    server = await platform.serve(echo)
    stranger = platform.signer("gateway", Key("gateway"))
    for files in (platform.channel(server.port, credential=False), platform.channel(server.port, signer=stranger)):
        with pytest.raises(DependencyAuthError) as refused:
            if rpc == "unary":
                await files.unary(retryable=True)
            elif rpc == "many":
                [word async for word in files.many()]
            else:
                await files.upload(texts("x"))
        assert refused.value.dependency == "files"
        assert files.errors() == {"auth": 1}
    assert echo.requests == []


async def test_a_service_that_is_not_named_may_not_call(platform, echo):
    """Deny by default; single RPCs may name other callers."""
    server = await platform.serve(echo, callers={"leads"}, callers_of={"Many": {"gateway"}})
    files = platform.channel(server.port)
    with pytest.raises(DependencyAuthError):
        await files.unary()
    assert [word async for word in files.many("a")] == ["a"]
    assert echo.requests == []


@pytest.mark.parametrize("told", [{"callers_of": {"Unray": {"gateway"}}}, {"together": {"Unray": 8}}])
async def test_an_rpc_that_does_not_exist_is_a_mistake(platform, echo, told):
    """A misspelt name must not leave an RPC with the wrong callers or without its bound."""
    with pytest.raises(ValueError, match="Unray"):
        await platform.serve(echo, **told)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer a.b.c"),),
        (("authorization", "Basic {token}"),),
        (("x-jwt", "{token}"),),
        (("authorization", "Bearer {token}"), ("authorization", "Bearer {token}")),
        (("authorization", "Bearer a.b.c"), ("authorization", "Bearer {token}")),
        (("authorization", "Bearer {token}, Bearer {token}"),),
    ],
)
async def test_any_other_way_to_send_a_token_is_unauthenticated(platform, echo, metadata):
    """One header, once, with the scheme; the status is UNAUTHENTICATED and the text tells nothing."""
    server = await platform.serve(echo)
    token = platform.signer().token_for("files")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await EchoStub(channel).Unary(
                StringValue(), metadata=[(key, value.format(token=token)) for key, value in metadata], timeout=5
            )
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == "The credential is missing or not valid."
    assert echo.requests == []


async def test_a_token_for_another_service_is_refused(platform, echo):
    """The audience is the service called."""
    server = await platform.serve(echo)
    metadata = [("authorization", f"Bearer {platform.signer().token_for('leads')}")]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await EchoStub(channel).Unary(StringValue(), metadata=metadata, timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_unauthenticated_message_is_not_parsed(platform, echo):
    """Garbage with a credential is a bad request, without one it is only unauthenticated."""
    server = await platform.serve(echo)
    token = platform.signer().token_for("files")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        raw = channel.unary_unary("/breakwater.test.v1.EchoService/Unary")
        codes = []
        for metadata in ((), (("authorization", f"Bearer {token}"),)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(b"\xff\xff\xff", metadata=metadata, timeout=5)
            codes.append(refused.value.code())
    assert codes == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT]


async def test_the_deadline_travels_with_the_call(platform, echo):
    """The handler sees what is left of its caller's time, give or take the hundredth gRPC rounds up on the wire."""

    async def left(text, context):
        return str(current_deadline.get().remaining_s())

    echo.handle = left
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    assert 1.5 < float(await files.unary(deadline=Deadline.after(2.0))) <= 2.04
    current_deadline.set(Deadline.after(1.0))
    assert 0.5 < float(await files.unary()) <= 1.02
    current_deadline.set(None)
    assert 4.5 < float(await files.unary()) <= 5.10


async def test_work_past_its_deadline_is_not_started(platform, echo):
    """Neither sent by the caller, nor begun by the service."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with pytest.raises(DeadlineExceededError) as late:
        await files.unary(deadline=Deadline.after(0))
    assert late.value.dependency == "files"
    assert echo.requests == []


async def test_a_hung_service_is_left_at_the_deadline_and_its_handler_cancelled(platform, echo, eventually):
    """Nothing hangs on either side."""
    cancelled = []

    async def hang(text, context):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(text)
            raise

    echo.handle = hang
    server = await platform.serve(echo)
    files = platform.channel(server.port, attempt_timeout_s=0.2, slow_call_s=0.1)
    began = asyncio.get_running_loop().time()
    for call in (files.unary("unary"), collected(files.many("many")), files.upload(texts("upload"))):
        with pytest.raises(DeadlineExceededError):
            await call
    assert asyncio.get_running_loop().time() - began < 5
    await eventually(lambda: sorted(cancelled) == ["many", "unary", "upload"])
    await eventually(lambda: server.in_flight == 0)
    assert files.errors() == {"timeout": 3}


async def collected(answers):
    return [answer async for answer in answers]


async def test_a_client_without_a_deadline_gets_one(platform, echo):
    """A stranger's client that would wait for ever is answered all the same."""

    async def hang(text, context):
        await asyncio.get_running_loop().create_future()

    echo.handle = hang
    server = await platform.serve(echo, grpc_deadline_default_s=0.1, grpc_stream_deadline_default_s=0.1)
    metadata = [("authorization", f"Bearer {platform.signer().token_for('files')}")]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for call in (EchoStub(channel).Unary, EchoStub(channel).Many):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                answer = call(StringValue(value="x"), metadata=metadata)
                await (answer if call is EchoStub(channel).Unary or hasattr(answer, "__await__") else collected(answer))
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancelling_a_call_cancels_its_handler_and_counts_for_nobody(platform, echo, eventually):
    """The caller went away: says nothing about the dependency."""
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(text, context):
        running.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    echo.handle = hang
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    task = asyncio.create_task(files.unary())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)
    await eventually(lambda: server.in_flight == 0)
    assert files.errors() == {}
    assert files.policy.snapshot().bulkhead.in_use == 0


async def test_leaving_a_stream_early_ends_it_on_both_sides(platform, echo, eventually):
    """The reader may stop at any message."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    async with aclosing(files.channel.stream(files.stub.Many, StringValue(value="a " * 1000))) as answers:
        assert (await anext(answers)).value == "a"
    await eventually(lambda: server.in_flight == 0)
    assert files.policy.snapshot().bulkhead.in_use == 0
    assert files.errors() == {}


async def test_the_latency_of_a_stream_is_that_of_its_first_answer(platform, echo, eventually):
    """A slow reader or a long file must not look like a slow dependency."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    loop = asyncio.get_running_loop()
    async for _ in files.many("a b"):
        read_s = loop.time()
        await eventually(lambda since_s=read_s: loop.time() - since_s > 0.5)
    assert files.policy.snapshot().p99_ms < 900


async def test_a_handler_that_is_cancelled_from_within_answers_at_once(platform, echo):
    """A stray CancelledError would leave the client waiting until its deadline."""

    async def stray(text, context):
        raise asyncio.CancelledError

    echo.handle = stray
    server = await platform.serve(echo)
    files = platform.channel(server.port, attempt_timeout_s=60, probe_lease_s=60)
    async with asyncio.timeout(20):
        with pytest.raises(UnavailableError):
            await files.unary()
        with pytest.raises(UnavailableError):
            await collected(files.many("a"))


async def test_one_request_too_many_is_told_when_to_come_again(platform, echo, eventually):
    """At the limit the answer is immediate, typed, and pushes back; the others are served."""
    gate = asyncio.Event()

    async def wait(text, context):
        await gate.wait()
        return text

    echo.handle = wait
    server = await platform.serve(echo, grpc_concurrency_max=2)
    files = platform.channel(server.port)
    waiting = [asyncio.create_task(files.unary(str(number))) for number in range(2)]
    await eventually(lambda: server.in_flight == 2)
    with pytest.raises(RateLimitedError) as refused:
        await files.unary("3")
    assert (refused.value.code, refused.value.dependency) == ("overloaded", "files")
    assert 0.25 <= refused.value.retry_after_s <= 3
    gate.set()
    assert await asyncio.gather(*waiting) == ["0", "1"]
    assert files.errors() == {"overload": 1}


async def test_messages_and_metadata_past_their_limits_are_refused(platform, echo):
    """The largest message passes, one byte more does not; neither breaks the connection."""
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    largest = 4 * 1024 * 1024 - 5
    assert len(await files.unary("x" * largest)) == largest
    with pytest.raises(PayloadTooLargeError):
        await files.unary("x" * (largest + 1))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await EchoStub(channel).Unary(StringValue(), metadata=[("x-large", "x" * 17_000)], timeout=5)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await files.unary("after") == "after"
    assert files.errors() == {}


async def test_the_trace_of_a_request_goes_on_in_the_service(platform, echo):
    """The same trace id on both sides, with and without a trace at the start."""

    async def trace(text, context):
        return telemetry.trace_id()

    echo.handle = trace
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with telemetry.remote_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"):
        assert await files.unary() == "0af7651916cd43dd8448eb211c80319c"
    assert len(await files.unary()) == 32


async def test_a_dead_service_opens_the_circuit_and_a_live_one_closes_it(platform, echo):
    """Refused at once while open, with the time of the next probe; served again without a restart."""
    server = await platform.serve(echo)
    port = server.port
    await server.drain(0)
    files = platform.channel(port, calls_min=5, open_s=0.1, probes=1)
    for _ in range(5):
        with pytest.raises(UnavailableError):
            await files.unary()
    assert files.policy.snapshot().state is CircuitState.OPEN
    with pytest.raises(UnavailableError) as refused:
        await files.unary()
    assert (refused.value.code, refused.value.dependency) == ("circuit_open", "files")
    assert refused.value.retry_after_s <= 0.2
    await platform.serve(echo, grpc_port=port)

    async with asyncio.timeout(10):
        answer = None
        while answer is None:
            with suppress(UnavailableError):
                answer = await files.unary()
    assert answer == "hello"
    assert files.policy.snapshot().state is CircuitState.CLOSED


async def test_a_fallback_is_told_why_and_answers(platform, echo):
    """It sees a failure of ours, never gRPC's; a caller's own fault does not take it."""
    server = await platform.serve(echo)
    await server.drain(0)
    files = platform.channel(server.port)
    told = []

    async def local(error):
        told.append(error)
        return StringValue(value="local")

    assert await files.unary(fallback=local) == "local"
    assert isinstance(told[0], UnavailableError)
    assert told[0].dependency == "files"
    assert files.policy.snapshot().fallbacks == 1


async def test_what_the_messages_raise_ends_an_upload_on_both_sides(platform, echo, eventually):
    """A broken source is the caller's fault and is raised as it is."""

    async def broken():
        yield "x"
        raise KeyError("source")

    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with pytest.raises(KeyError, match="source"):
        await files.upload(broken())
    await eventually(lambda: server.in_flight == 0)
    assert files.policy.snapshot().bulkhead.in_use == 0


async def test_an_upload_refused_half_way_ends_with_the_services_word(platform, echo):
    """The service need not read what it does not want."""

    async def refuse(text, context):
        raise PayloadTooLargeError("The file is larger than 3 parts.")

    async def endless():
        while True:
            yield "x" * 1000

    echo.handle = refuse
    server = await platform.serve(echo)
    with pytest.raises(PayloadTooLargeError, match="3 parts"):
        await platform.channel(server.port).upload(endless())
