"""A whole process: starts, tells that it is ready, serves, and ends in order."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis.auth import ServiceSigner
from breakwater.chassis.channels import Channel
from breakwater.edges.v1 import edges_pb2
from breakwater.edges.v1.edges_pb2_grpc import EdgeServiceStub
from breakwater.local.ports import free_port
from breakwater.resilience import Policy, PolicySettings
from tests.support.echo import EchoStub
from tests.support.tokens import Key, write_jwks

ROOT = Path(__file__).parents[3]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Files:
    """The process of files, its environment and what came out of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = {name: Key(name) for name in ("files", "gateway", "ops")}
        write_jwks(directory / "jwks.json", *self.keys.values())
        (directory / "policies.yaml").write_text("edges: {leads: {}, nats: {}}\n")
        self.grpc_port, self.metrics_port = free_port(), free_port()
        self.environment = {
            "ENVIRONMENT": "development",
            "GRPC_PORT": str(self.grpc_port),
            "METRICS_PORT": str(self.metrics_port),
            "SERVICE_KEY_FILE": str(self.keys["files"].write(directory / "files.jwk")),
            "SERVICE_JWKS": str(directory / "jwks.json"),
            "PEERS": f"leads=127.0.0.1:{free_port()}",
        }
        self.process = None

    async def start(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith("BREAKWATER_")}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.echo_service",
            str(self.directory / "policies.yaml"),
            cwd=ROOT,
            env=own
            | {f"BREAKWATER_{name}": value for name, value in self.environment.items()}
            | {"PYTHONPATH": f"{ROOT}/libs:{ROOT}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def ended(self):
        """Exit code and what was written to standard error."""
        async with asyncio.timeout(20):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()

    async def get(self, path, *, raw=None):
        """Status line and body of the metrics port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
        writer.write(raw or f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = (await asyncio.wait_for(reader.read(), 10)).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return head.partition("\r\n")[0], body

    async def ready(self):
        try:
            return (await self.get("/readyz"))[0].endswith("200 OK")
        except OSError:
            return False

    @asynccontextmanager
    async def called_by(self, service):
        signer = ServiceSigner(self.keys[service].write(self.directory / f"{service}.jwk"), service, production=False)
        policy = Policy(PolicySettings(caller=service, dependency="files", attempt_timer=False))
        channel = Channel("files", [f"127.0.0.1:{self.grpc_port}"], policy, signer)
        yield channel
        await channel.close()


@pytest.fixture
async def files(tmp_path):
    files = Files(tmp_path)
    yield files
    if files.process is not None and files.process.returncode is None:
        files.process.kill()
        await files.process.communicate()


async def test_a_process_serves_and_drains_on_sigterm(files, eventually):
    """What was asked before the signal is answered; the exit code is 0; every log line is JSON."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    async with files.called_by("gateway") as channel:
        stub = EchoStub(channel.grpc)
        slow = asyncio.create_task(channel.unary(stub.Unary, StringValue(value="slow")))
        assert (await channel.unary(stub.Unary, StringValue(value="hello"))).value == "hello"
        files.process.send_signal(signal.SIGTERM)
        assert (await slow).value == "slow"
        code, errors = await files.ended()
    assert code == 0
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert [event for event in events if event in ("serving", "draining", "drained")] == [
        "serving",
        "draining",
        "drained",
    ]


async def test_the_ops_process_reads_and_overrides_the_edges_and_nobody_else(files, eventually):
    """By gRPC, without NATS."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    async with files.called_by("ops") as channel:
        listed = await channel.unary(EdgeServiceStub(channel.grpc).ListEdges, edges_pb2.ListEdgesRequest())
    assert [edge.dependency for edge in listed.report.edges] == ["leads", "nats"]
    async with files.called_by("gateway") as channel:
        with pytest.raises(Exception, match="does not accept"):
            await channel.unary(EdgeServiceStub(channel.grpc).ListEdges, edges_pb2.ListEdgesRequest())


async def test_a_process_is_ready_without_its_dependencies_and_counts_their_failures(files, eventually):
    """Neither the peer nor NATS is there: ready all the same, the edge shows it, metrics have the fixed names."""
    files.environment["NATS_URL"] = f"nats://127.0.0.1:{free_port()}"
    await files.start()
    await eventually(files.ready, timeout_s=20)
    async with files.called_by("gateway") as channel:
        with pytest.raises(Exception, match="files could not do it") as failed:
            await channel.unary(EchoStub(channel.grpc).Unary, StringValue(value="leads"))
    assert failed.value.dependency == "leads"
    status, body = await files.get("/metrics")
    assert status == "HTTP/1.1 200 OK"
    for line in (
        'breakwater_edge_requests_total{caller="files",dependency="leads",outcome="failed"} 1.0',
        'breakwater_edge_latency_seconds_count{caller="files",dependency="leads"} 1.0',
        'breakwater_breaker_state{caller="files",dependency="leads"} 0.0',
        'breakwater_bulkhead_in_use{caller="files",dependency="leads"} 0.0',
        'breakwater_fallback_total{caller="files",dependency="leads"} 0.0',
        'rpc_response_status_code="UNAVAILABLE"',
        "process_resident_memory_bytes",
    ):
        assert line in body
    assert 'breakwater_retry_budget_tokens{caller="files",dependency="leads"}' in body
    await eventually(lambda: background_failed(files))


async def background_failed(files):
    return 'breakwater_background_failures_total{task="failing"}' in (await files.get("/metrics"))[1]


async def test_probes_answer_only_what_they_are_for(files, eventually):
    """Bounded: other paths, other methods, endless heads and silence end quickly."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    assert (await files.get("/healthz"))[0] == "HTTP/1.1 200 OK"
    assert (await files.get("/etc/passwd"))[0] == "HTTP/1.1 404 Not Found"
    assert (await files.get("/", raw=b"POST /metrics HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 405 Method Not Allowed"
    assert (await files.get("/", raw=b"GET /" + b"x" * 20_000)) == ("", "")
    assert (await files.get("/", raw=b"GET /metr")) == ("", "")
    assert (await files.get("/healthz"))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"GRPC_PORT": "many", "METRICS_PROT": "1"}, ["BREAKWATER_GRPC_PORT", "did you mean BREAKWATER_METRICS_PORT"]),
        ({"ENVIRONMENT": "production"}, ["made for 'development'"]),
        ({"SERVICE_KEY_FILE": "/nowhere/key.jwk"}, ["/nowhere/key.jwk cannot be read"]),
        ({"PEERS": ""}, ["BREAKWATER_PEERS names no 'leads'"]),
    ],
)
async def test_a_process_that_is_told_nonsense_does_not_start(files, changes, told):
    """Exit code 2 and a sentence for each problem, no traceback."""
    files.environment |= changes
    await files.start()
    code, errors = await files.ended()
    assert code == 2
    assert "Traceback" not in errors
    for fragment in told:
        assert fragment in errors


async def test_policies_that_break_their_rules_do_not_start(files):
    """Exit code 2, naming the edge and the field."""
    (files.directory / "policies.yaml").write_text("edges: {leads: {attempt_timeout: 1}}\n")
    await files.start()
    code, errors = await files.ended()
    assert code == 2
    assert "files -> leads.attempt_timeout" in errors


async def settings_of(files, dependency="leads"):
    """What the process says its edge goes by, and what it refused."""
    async with files.called_by("ops") as channel:
        stub = EdgeServiceStub(channel.grpc)
        told = await channel.unary(stub.ListPolicies, edges_pb2.ListPoliciesRequest())
    (policy,) = [each for each in told.policies if each.dependency == dependency]
    values = {each.name: (each.number or each.flag, each.origin) for each in policy.settings}
    return values, list(told.refused)


@pytest.mark.parametrize("by_signal", [True, False])
async def test_policies_are_reloaded_by_a_running_process(files, eventually, by_signal):
    """By SIGHUP or because the file changed; the process goes on, and shows the new figures with their origin."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    assert (await settings_of(files))[0]["probes"] == (3.0, "built-in")
    (files.directory / "policies.yaml").write_text("edges: {leads: {probes: 7}, nats: {}}\n")
    if by_signal:
        files.process.send_signal(signal.SIGHUP)

    async def taken():
        return (await settings_of(files))[0]["probes"] == (7.0, "service edge")

    await eventually(taken, timeout_s=15)
    async with files.called_by("gateway") as channel:
        assert (await channel.unary(EchoStub(channel.grpc).Unary, StringValue(value="x"))).value == "x"


async def test_a_bad_file_is_refused_by_a_running_process(files, eventually):
    """Each error is in the log and in the API, the old settings stay, and the process goes on."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    (files.directory / "policies.yaml").write_text("edges: {leads: {probes: 0, calls: 1}, nats: {}}\n")

    async def refused():
        return (await settings_of(files))[1]

    assert await eventually(refused, timeout_s=15) == [
        "files -> leads.calls: unknown setting",
        "files -> leads.probes: must be above 0",
    ]
    assert (await settings_of(files))[0]["probes"] == (3.0, "built-in")
    files.process.send_signal(signal.SIGTERM)
    code, log = await files.ended()
    assert code == 0
    problems = [json.loads(line)["problem"] for line in log.splitlines() if '"policy_refused"' in line]
    assert problems == ["files -> leads.calls: unknown setting", "files -> leads.probes: must be above 0"]


async def test_a_port_that_is_taken_ends_the_process_with_1(files):
    """The supervisor tries again; the log says which port."""
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", files.grpc_port)
    await files.start()
    code, errors = await files.ended()
    taken.close()
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{files.grpc_port}" in errors


async def test_a_second_signal_does_not_wait(files, eventually):
    """An impatient operator."""
    await files.start()
    await eventually(files.ready, timeout_s=20)
    async with files.called_by("gateway") as channel:
        slow = asyncio.create_task(channel.unary(EchoStub(channel.grpc).Unary, StringValue(value="slow")))
        await channel.unary(EchoStub(channel.grpc).Unary, StringValue(value="x"))
        files.process.send_signal(signal.SIGTERM)
        await eventually(lambda: not_ready(files))
        files.process.send_signal(signal.SIGTERM)
        code, _ = await files.ended()
        with pytest.raises(Exception, match="files"):
            await slow
    assert code == -signal.SIGTERM


async def not_ready(files):
    return (await files.get("/readyz"))[0].startswith("HTTP/1.1 503")
