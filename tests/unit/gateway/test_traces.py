"""The trace of a request goes on through the gateway."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from breakwater.chassis import telemetry
from breakwater.chassis.telemetry import Telemetry
from breakwater.leads.v1 import leads_pb2

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    started = Telemetry.start("gateway", sample_ratio=0.0, processor=SimpleSpanProcessor(exporter))
    yield exporter
    started.shutdown()


async def test_a_callers_trace_reaches_the_service_behind(gateway, spans):
    """The same trace, one server span with method, route and status, a new one for whoever brings none."""
    seen = []

    def look(_request):
        seen.append(telemetry.trace_id())
        return leads_pb2.GetLeadResponse()

    gateway.leads.answers["GetLead"] = look
    await gateway.ask("GET", "/v1/leads/1", headers={"traceparent": SAMPLED})
    await gateway.ask("GET", "/v1/leads/1", headers={"traceparent": "00-nonsense"})
    assert seen[0] == TRACE
    assert seen[1] not in {None, TRACE}
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind.name, f"{span.context.trace_id:032x}") == ("GET", "SERVER", TRACE)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/leads/{lead_id}",
        "http.response.status_code": 200,
    }
