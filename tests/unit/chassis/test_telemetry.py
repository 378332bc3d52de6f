"""Traces: propagation by hand, spans only where a trace is sampled."""

import asyncio

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from breakwater.chassis import telemetry
from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.chassis.telemetry import Telemetry

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    started = Telemetry.start("files", sample_ratio=0.5, processor=SimpleSpanProcessor(exporter))
    yield exporter
    started.shutdown()


def test_a_trace_that_comes_in_goes_out_unchanged():
    """Without an exporter the context is handed on as it came."""
    with telemetry.remote_context(UNSAMPLED):
        assert telemetry.current_traceparent() == UNSAMPLED
        assert telemetry.trace_id() == "0af7651916cd43dd8448eb211c80319c"
    assert telemetry.current_traceparent() is None


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "",
        "nonsense",
        SAMPLED + "-more",
        SAMPLED.upper(),
        "ff" + SAMPLED[2:],
        "00-" + "0" * 32 + SAMPLED[35:],
        SAMPLED + "\n",
    ],
)
def test_a_malformed_header_starts_a_new_trace(broken):
    """W3C Trace Context: what cannot be read is as good as absent."""
    with telemetry.remote_context(broken) as context:
        assert telemetry.parse(context.traceparent) == context
        assert context.trace_id != "0af7651916cd43dd8448eb211c80319c"


def test_a_sampled_trace_is_recorded_with_its_parent(spans):
    """The span continues the trace that came in, and what goes out names the span as parent."""
    with telemetry.remote_context(SAMPLED), telemetry.span("leads/Get", SpanKind.SERVER, {"rpc.system.name": "grpc"}):
        sent = telemetry.parse(telemetry.current_traceparent())
        with telemetry.span("inner"):
            pass
    inner, outer = spans.get_finished_spans()
    assert f"{outer.context.trace_id:032x}" == sent.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert f"{outer.context.span_id:016x}" == sent.span_id
    assert f"{outer.parent.span_id:016x}" == "b7ad6b7169203331"
    assert inner.parent.span_id == outer.context.span_id
    assert outer.attributes["rpc.system.name"] == "grpc"
    assert outer.resource.attributes["service.name"] == "files"


def test_an_unsampled_trace_makes_no_span(spans):
    """The head decided; nothing is recorded behind its back."""
    with telemetry.remote_context(UNSAMPLED), telemetry.span("leads/Get"):
        assert telemetry.current_traceparent() == UNSAMPLED
        assert not telemetry.recording()
    assert spans.get_finished_spans() == ()


def test_new_traces_are_sampled_by_the_ratio(spans):
    """Half of them here."""
    sampled = sum(telemetry.new_context().sampled for _ in range(2000))
    assert 850 < sampled < 1150


def test_a_span_says_that_it_failed_without_the_text_of_the_failure(spans):
    """Texts may hold personal data; a caller's own fault is no error of a server."""
    with telemetry.remote_context(SAMPLED):
        for error in (UnavailableError("13800001111 is out"), NotFoundError("no such lead")):
            with pytest.raises(type(error)), telemetry.span("leads/Get"):
                raise error
    failed, refused = spans.get_finished_spans()
    assert (failed.status.status_code.name, refused.status.status_code.name) == ("ERROR", "UNSET")
    assert "13800001111" not in failed.to_json()
    assert failed.attributes["error.type"] == "UnavailableError"


async def test_tasks_keep_their_traces_apart():
    """The context follows the task."""

    async def work(traceparent):
        with telemetry.remote_context(traceparent):
            await asyncio.sleep(0)
            return telemetry.current_traceparent()

    other = SAMPLED.replace("0af7", "1bf8")
    assert await asyncio.gather(work(SAMPLED), work(other)) == [SAMPLED, other]
