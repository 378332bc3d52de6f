"""What a use case raises in one service is what a use case of another catches."""

import json

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis import errors, logging
from breakwater.chassis.errors import FieldError
from breakwater.resilience.errors import CircuitOpenError
from tests.support.echo import EchoStub

FIELDS = (FieldError("utm.source", "is too long"), FieldError("phone", "不是号码"))
# Raised by the use case, what the calling use case catches, what the edge counts.
THE_CALLERS_OWN = [
    errors.InvalidRequestError("The lead breaks 2 rules.", errors=FIELDS),
    errors.IdempotencyMismatchError("The key was used with another body."),
    errors.UnauthenticatedError("The session has ended."),
    errors.PermissionDeniedError("sales may not reassign.", code="reassign_denied"),
    errors.NotFoundError("线索不存在"),
    errors.ConflictError("The lead is claimed already.", code="already_claimed"),
    errors.PayloadTooLargeError("The file is larger than 50 MB."),
    errors.RateLimitedError("You have 3 exports already.", code="export_quota", retry_after_s=12.5),
]


@pytest.mark.parametrize("raised", THE_CALLERS_OWN, ids=lambda error: type(error).__name__)
async def test_the_callers_own_fault_arrives_as_it_was_raised(platform, echo, raised):
    """Class, text, code, fields and time to wait; the dependency is well, and no fallback is taken."""

    async def refuse(text, context):
        raise raised

    async def fallback(error):
        raise AssertionError

    echo.handle = refuse
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with pytest.raises(type(raised)) as caught:
        await files.unary(retryable=True, fallback=fallback)
    for name in ("detail", "code", "errors", "retry_after_s", "dependency"):
        assert getattr(caught.value, name) == getattr(raised, name)
    assert files.errors() == {}
    assert len(echo.requests) == 1


@pytest.mark.parametrize(
    ("raised", "kind", "code", "dependency", "counted"),
    [
        (errors.UnavailableError("x"), errors.UnavailableError, "unavailable", "files", "failed"),
        (
            errors.UnavailableError("x", dependency="postgres"),
            errors.UnavailableError,
            "unavailable",
            "postgres",
            "failed",
        ),
        (
            errors.DependencyAuthError("x", dependency="objects"),
            errors.UnavailableError,
            "dependency_auth",
            "objects",
            "failed",
        ),
        (errors.DeadlineExceededError("x"), errors.DeadlineExceededError, "deadline_exceeded", "files", "timeout"),
        (errors.InternalError("secret"), errors.UnavailableError, "dependency_failed", "files", "failed"),
        (KeyError("secret 13800001111"), errors.UnavailableError, "dependency_failed", "files", "failed"),
        (TimeoutError("secret"), errors.UnavailableError, "dependency_failed", "files", "failed"),
        (CircuitOpenError("files", "postgres", "x"), errors.UnavailableError, "circuit_open", "postgres", "failed"),
        (
            errors.OverloadedError("x", dependency="postgres"),
            errors.OverloadedError,
            "overloaded",
            "files",
            "overload",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_the_dependency_failed_to_do_names_the_deepest_dependency(
    platform, echo, raised, kind, code, dependency, counted
):
    """The calling use case sees one of a few failures; the edge counts it."""

    async def fail(text, context):
        raise raised

    echo.handle = fail
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with pytest.raises(kind) as caught:
        await files.unary()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.dependency) == (code, dependency)
    assert "secret" not in caught.value.detail
    assert files.errors() == {counted: 1}


@pytest.mark.parametrize("rpc", ["Unary", "Many", "Collect"])
async def test_a_defect_reaches_callers_without_its_text_and_the_log_with_its_trace(
    platform, echo, rpc, capsys, logged
):
    """gRPC alone would send the exception's text as UNKNOWN."""

    async def fail(text, context):
        raise RuntimeError("canary 13800001111")

    echo.handle = fail
    server = await platform.serve(echo)
    metadata = [
        ("authorization", f"Bearer {platform.signer().token_for('files')}"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method = getattr(EchoStub(channel), rpc)
        request = StringValue(value="x")
        call = method(iter([request]) if rpc == "Collect" else request, metadata=metadata, timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await (anext(aiter(call)) if rpc == "Many" else call)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == "internal error"
    assert b"canary" not in b"".join(value for _, value in failed.value.trailing_metadata())
    (line,) = [line for line in logged() if line["event"] == "rpc_defect"]
    assert line["rpc"] == f"breakwater.test.v1.EchoService/{rpc}"
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "canary" in json.dumps(line)


@pytest.fixture
def logged(capsys):
    logging.configure("files")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


async def test_a_status_without_our_details_is_understood_by_its_code(platform):
    """A server of another make, or a proxy between us."""
    cases = {
        grpc.StatusCode.NOT_FOUND: (errors.NotFoundError, {}),
        grpc.StatusCode.ALREADY_EXISTS: (errors.ConflictError, {}),
        grpc.StatusCode.FAILED_PRECONDITION: (errors.ConflictError, {}),
        grpc.StatusCode.UNAUTHENTICATED: (errors.DependencyAuthError, {"auth": 1}),
        grpc.StatusCode.PERMISSION_DENIED: (errors.DependencyAuthError, {"auth": 1}),
        grpc.StatusCode.RESOURCE_EXHAUSTED: (errors.OverloadedError, {"overload": 1}),
        grpc.StatusCode.UNKNOWN: (errors.UnavailableError, {"failed": 1}),
        grpc.StatusCode.UNIMPLEMENTED: (errors.UnavailableError, {"failed": 1}),
        grpc.StatusCode.CANCELLED: (errors.UnavailableError, {"failed": 1}),
    }

    async def answer(request, context):
        await context.abort(list(cases)[int(request.value)], "some text", (("grpc-status-details-bin", b"\xff"),))

    codec = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}
    server = grpc.aio.server()
    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(answer, **codec)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("breakwater.test.v1.EchoService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    platform.stack.push_async_callback(server.stop, 0)
    for number, (kind, counted) in enumerate(cases.values()):
        files = platform.channel(port)
        with pytest.raises(kind) as caught:
            await files.unary(str(number))
        assert type(caught.value) is kind
        assert files.errors() == counted
