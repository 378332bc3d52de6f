"""Traces: W3C trace context by hand on every hop, spans of the OpenTelemetry SDK only where a trace is sampled.

The contrib interceptors cost half of a hop's throughput, propagation by hand a third less (measurements.md); what is
not sampled costs one context variable here. The head decides: 1 in 1 / ratio new traces; a trace that came in keeps
its flag.
"""

import random
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from breakwater.chassis.errors import InternalError

AttributeValue = str | bool | int | float

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace the present work stands. `trace_id` and `span_id` are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The W3C header."""
        return f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}"


_context: ContextVar[TraceContext | None] = ContextVar("breakwater_trace", default=None)


class Telemetry:
    """The exporter of this process. Without an endpoint it makes no spans; propagation works all the same."""

    def __init__(self, provider: TracerProvider | None, sample_ratio: float) -> None:
        self._provider = provider
        self.tracer: Tracer | None = provider.get_tracer("breakwater") if provider else None
        self.sample_ratio = sample_ratio

    @classmethod
    def start(
        cls,
        service: str,
        *,
        otlp_endpoint: str | None = None,
        sample_ratio: float = 0.01,
        environment: str = "development",
        instance: str = "",
        processor: SpanProcessor | None = None,
    ) -> Self:
        """Becomes the process's telemetry. `processor` takes the spans instead of the OTLP exporter (tests)."""
        processor = processor or (_otlp(otlp_endpoint) if otlp_endpoint else None)
        provider = None
        if processor is not None:
            resource = Resource.create(
                {
                    "service.namespace": "breakwater",
                    "service.name": service,
                    "service.instance.id": instance or service,
                    "deployment.environment.name": environment,
                }
            )
            # The head decided already: whatever reaches the SDK is sampled.
            provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
            provider.add_span_processor(processor)
        telemetry = cls(provider, sample_ratio)
        _Process.telemetry = telemetry
        return telemetry

    def shutdown(self) -> None:
        """Sends what is left, for at most the exporter's own time-out, and stops."""
        if self._provider is not None:
            self._provider.shutdown()
        if _Process.telemetry is self:
            _Process.telemetry = _NONE


_NONE = Telemetry(None, 0.0)


class _Process:
    """Holds the one telemetry of this process, as OpenTelemetry's own global does."""

    telemetry: Telemetry = _NONE


def current() -> TraceContext | None:
    """Where the present work stands, or None outside of any trace."""
    return _context.get()


def current_traceparent() -> str | None:
    """The W3C header to send along, or None outside of any trace."""
    context = _context.get()
    return context.traceparent if context else None


def trace_id() -> str | None:
    """The present trace's id, for logs and answers."""
    context = _context.get()
    return context.trace_id if context else None


def cohort() -> float | None:
    """Where from 0 to below 1 the present trace stands, the same on each of its hops; None outside of any trace.

    Of the bits that W3C Trace Context 2 wants random, as many as a float holds: whoever sends a traceparent chooses
    its place.
    """
    context = _context.get()
    return int(context.trace_id[-13:], 16) / 16**13 if context else None


def parse(traceparent: str | None) -> TraceContext | None:
    """What a header says, or None when it is absent or malformed (W3C: then a new trace starts)."""
    if not traceparent:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    return TraceContext(found[1], found[2], sampled=bool(int(found[3], 16) & _SAMPLED))


def new_context() -> TraceContext:
    """The start of a new trace, sampled by the process's ratio."""
    ratio = _Process.telemetry.sample_ratio
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), sampled=random.random() < ratio)  # noqa: S311 - a coin


def join(traceparent: str | None) -> TraceContext:
    """Continues the trace of `traceparent`, or starts one, for the rest of the present task or context."""
    context = parse(traceparent) or new_context()
    _context.set(context)
    return context


@contextmanager
def remote_context(traceparent: str | None) -> Iterator[TraceContext]:
    """Work inside belongs to the trace of `traceparent`, or to a new one."""
    context = parse(traceparent) or new_context()
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None
) -> Iterator[trace.Span | None]:
    """A span around the work inside; yields None where nothing is recorded. Names follow the semantic conventions."""
    tracer, parent = _Process.telemetry.tracer, _context.get()
    if tracer is None or parent is None or not parent.sampled:
        yield None
        return
    remote = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(_SAMPLED)
    )
    made = tracer.start_span(
        name, trace.set_span_in_context(NonRecordingSpan(remote)), kind=kind, attributes=dict(attributes or {})
    )
    token = _context.set(TraceContext(parent.trace_id, f"{made.get_span_context().span_id:016x}", sampled=True))
    try:
        yield made
    except BaseException as error:
        # The type only, for texts may hold personal data; what the caller did wrong is no error of ours.
        if getattr(error, "status", InternalError.status) >= InternalError.status:
            made.set_attribute("error.type", type(error).__qualname__)
            made.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        _context.reset(token)
        made.end()


def recording() -> bool:
    """Whether `span` would record now: lets a hot path skip building attributes."""
    context = _context.get()
    return context is not None and context.sampled and _Process.telemetry.tracer is not None


def _otlp(endpoint: str) -> SpanProcessor:
    # Imported where it is wanted: the exporter costs 100 ms of start-up and most processes have no endpoint.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=5)
    return BatchSpanProcessor(exporter, max_queue_size=2048, max_export_batch_size=512, schedule_delay_millis=1000)
