"""Spans of a hop, sent to a collector by OTLP."""

import asyncio

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from breakwater.chassis import telemetry
from breakwater.chassis.telemetry import Telemetry


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.resources = []
        self.spans = []

    async def Export(self, request, context):  # noqa: N802 - the RPC's name
        for each in request.resource_spans:
            self.resources.append({pair.key: pair.value.string_value for pair in each.resource.attributes})
            self.spans += [span for scope in each.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector():
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield collector
    await server.stop(0)


async def test_both_sides_of_a_hop_reach_the_collector_in_one_trace(collector, platform, echo):
    """The server's span is a child of the client's; names and attributes follow the semantic conventions."""
    started = Telemetry.start("files", otlp_endpoint=f"http://127.0.0.1:{collector.port}", sample_ratio=1.0)
    server = await platform.serve(echo)
    files = platform.channel(server.port)
    with telemetry.remote_context(None) as context:
        await files.unary("13800001111")
    await asyncio.to_thread(started.shutdown)
    served, called = sorted(collector.spans, key=lambda span: span.kind)
    assert (served.name, called.name) == ("breakwater.test.v1.EchoService/Unary",) * 2
    assert {span.trace_id.hex() for span in (served, called)} == {context.trace_id}
    assert (called.parent_span_id.hex(), served.parent_span_id) == (context.span_id, called.span_id)
    attributes = {pair.key: pair.value.string_value for pair in served.attributes}
    assert attributes == {"rpc.system.name": "grpc", "rpc.method": "breakwater.test.v1.EchoService/Unary"}
    assert collector.resources[0]["service.name"] == "files"
    assert collector.resources[0]["service.namespace"] == "breakwater"
    assert "13800001111" not in str(collector.spans)


async def test_a_dead_collector_delays_nothing_for_long(platform, echo):
    """Requests do not notice; the last attempt to send ends within seconds."""
    started = Telemetry.start("files", otlp_endpoint="http://127.0.0.1:1", sample_ratio=1.0)
    server = await platform.serve(echo)
    with telemetry.remote_context(None):
        assert await platform.channel(server.port).unary() == "hello"
    async with asyncio.timeout(10):
        await asyncio.to_thread(started.shutdown)
