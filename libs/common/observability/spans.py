"""The OpenTelemetry side of `libs.common.observability.tracing`: sends spans to the collector in the background."""

import threading
import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from libs.common.observability.tracing import Place

CLOSE_TIMEOUT = 5.0
"""Seconds for sending the remaining spans when the process ends."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class RequestSpan:
    """The server's span of one request."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, route: str, status: int, request_id: str) -> None:
        """End the span: the answer is sent, or (status 0) the caller disconnected."""
        if self._span.is_recording():
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attributes(
                {
                    "http.request.method": self._method,
                    "http.route": route,
                    "http.response.status_code": status,
                    "rapport.request_id": request_id,
                }
            )
            if status >= 500:
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Spans:
    """The spans of one process. The queue is bounded: spans that the collector does not accept in time are dropped."""

    def __init__(self, service: str, exporter: SpanExporter | None) -> None:
        own = Resource({SERVICE_NAME: f"rapport-{service}"})
        self._resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("rapport")
        # a given exporter (in tests) gets each span immediately
        self._processor = SimpleSpanProcessor(exporter) if exporter else BatchSpanProcessor(OTLPSpanExporter())
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("rapport")

    def request(self, traceparent: str | None, method: str) -> RequestSpan:
        """Begin a server's span."""
        context = None
        if traceparent is not None:
            _, trace_id, parent, flags = traceparent.split("-")
            caller = SpanContext(int(trace_id, 16), int(parent, 16), True, TraceFlags(int(flags, 16)))
            context = trace.set_span_in_context(NonRecordingSpan(caller))
        return RequestSpan(self._tracer.start_span(method, context, SpanKind.SERVER), method)

    def record(
        self,
        name: str,
        place: Place,
        began: int,
        attributes: Mapping[str, str | int],
        error: str | None = None,
        *,
        calls: bool = False,
    ) -> None:
        """Record a span that ends now. `calls`: it called another system; else it processed a record."""
        trace_id = int(place.trace, 16)
        self._processor.on_end(
            ReadableSpan(
                name,
                SpanContext(trace_id, int(place.span, 16), False, _SAMPLED),
                SpanContext(trace_id, int(place.parent, 16), True, _SAMPLED),
                self._resource,
                attributes,
                kind=SpanKind.CLIENT if calls else SpanKind.CONSUMER,
                status=Status(StatusCode.ERROR, error) if error else Status(),
                start_time=began,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send the remaining spans. Blocks for at most CLOSE_TIMEOUT seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(CLOSE_TIMEOUT)
