"""A collector of traces on the loopback: takes OTLP over HTTP, as real ones do, and keeps the spans in memory."""

from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import HttpServer, QuietHandler


@dataclass(frozen=True)
class Seen:
    """A span as it arrived."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    began: int
    ended: int
    failed: bool
    said: dict[str, str]


class Collector(HttpServer):
    """`with Collector() as collector:` listens on `url`; `spans` are those that have come."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        collector = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                collector.spans += _seen(sent)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

        super().__init__(Handler)

    @property
    def url(self) -> str:
        return self.address

    def of(self, trace: str) -> list[Seen]:
        """The spans of one trace, each once."""
        return list({span.span: span for span in list(self.spans) if span.trace == trace}.values())


def _seen(sent: ExportTraceServiceRequest) -> list[Seen]:
    return [
        Seen(
            next(each.value.string_value for each in resource.resource.attributes if each.key == "service.name"),
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == span.status.STATUS_CODE_ERROR,
            {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes},
        )
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
