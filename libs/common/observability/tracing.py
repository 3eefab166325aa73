"""Traces (OpenTelemetry), from a client's POST to the message. Off unless an OTLP endpoint is set in the environment.

A record carries the `traceparent` of its original request. Nothing else of the trace is stored in it, because a replay
must give the same bytes. A service's work on a record is a span. Its id is derived from the record's id and the
service, so the service that handles the next record can compute its parent (docs/adr/0016-spans-are-derived.md).

Spans are recorded after the commit, only for records whose `traceparent` is sampled. While tracing is off, each call
here costs one comparison, and `opentelemetry` is not imported.
"""

import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Envelope, decode
from libs.common.contracts.triggers import MessageFailed, MessageSent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from libs.common.log.reader import Record
    from libs.common.observability.spans import RequestSpan, Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

#: Facts that triggers writes when a delivery ends, not when it folds their cause.
_DELIVERED = (MessageSent.TYPE, MessageFailed.TYPE)

_spans: "Spans | None" = None


class Place(NamedTuple):
    """A span's trace id, its own id and its parent's id, in hexadecimal as in a `traceparent`."""

    trace: str
    span: str
    parent: str

    @property
    def traceparent(self) -> str:
        """The `traceparent` to pass on to the system that this span calls."""
        return f"00-{self.trace}-{self.span}-01"


def active() -> bool:
    """Whether tracing is on."""
    return _spans is not None


def wanted() -> bool:
    """Whether OpenTelemetry's environment variables turn tracing on."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS)


def configure(service: str, exporter: "SpanExporter | None" = None) -> None:
    """Turn tracing on, if the environment does so or an `exporter` is given. Call once, before serving."""
    global _spans
    if exporter is None and not wanted():
        return
    from libs.common.observability.spans import Spans

    _spans = Spans(service, exporter)


def close() -> None:
    """Send the remaining spans and turn tracing off. Blocks for some seconds at most."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


def request(traceparent: str | None, method: str) -> "RequestSpan | None":
    """Begin the server's span of a request. Pass its `traceparent` on with what follows. None while tracing is off.

    The argument is the caller's `traceparent`. OTEL_TRACES_SAMPLER decides what is sampled; by default, the caller
    does.
    """
    return None if _spans is None else _spans.request(traceparent, method)


def folded(service: str, records: "Sequence[Record]", began: int) -> None:
    """Record a span for each sampled record of a committed batch. `began` is `time.time_ns()` at its beginning."""
    if _spans is None:
        return
    for record in records:
        if (envelope := _sampled(record)) is not None:
            _spans.record(
                f"{service} {envelope.type}",
                place_of(service, record.topic, envelope),
                began,
                _attributes(record, envelope),
            )


def dead_lettered(service: str, record: "Record", error: BaseException, began: int) -> None:
    """Record a span for a record that became a dead letter. If it is replayed, it gets its usual span then."""
    if _spans is None or (envelope := _sampled(record)) is None:
        return
    place = place_of(service, record.topic, envelope)
    place = place._replace(span=span_id(envelope.id, f"{service}/dead letter"))
    attributes = _attributes(record, envelope)
    _spans.record(
        f"{service} dead-letters {envelope.type}", place, began, attributes, f"{type(error).__name__}: {error}"
    )


def commanded(service: str, id: str, type: str, traceparent: str | None, began: int) -> None:
    """Record a span for a committed command. `id` is the cause of its facts."""
    if _spans is None or traceparent is None or not is_sampled(traceparent):
        return
    _, trace, parent, _ = traceparent.split("-")
    _spans.record(f"{service} {type}", Place(trace, span_id(id, service), parent), began, {"rapport.record.id": id})


def delivery(traceparent: str | None, message: str, cause: str, attempt: int) -> Place | None:
    """The place of an attempt to deliver a message. Its parent is triggers' span of the message's cause.

    `message` is the id of the fact that queued it.
    """
    if _spans is None or traceparent is None or not is_sampled(traceparent):
        return None
    trace = traceparent.split("-")[1]
    return Place(trace, span_id(message, f"delivery/{attempt}"), span_id(cause, "triggers"))


def delivered(place: Place | None, attributes: Mapping[str, str | int], began: int, error: str | None) -> None:
    """Record a span for an attempt to deliver. `error` says why it failed, if it did."""
    if _spans is not None and place is not None:
        _spans.record(f"deliver to {attributes['rapport.channel']}", place, began, attributes, error, calls=True)


def is_sampled(traceparent: str) -> bool:
    """Whether a valid `traceparent` is sampled."""
    return int(traceparent[-2:], 16) & 1 == 1


def span_id(id: str, service: str) -> str:
    """The id of the span in which `service` handled the record `id`; never all zeros."""
    return f"{int.from_bytes(blake2b(f'{service} {id}'.encode(), digest_size=8).digest(), 'big') or 1:016x}"


def place_of(service: str, topic: str, envelope: Envelope) -> Place:
    """The place of the span in which `service` handles a record of `topic`.

    Its parent is the span that wrote the record. For an event, that is the request's. For a fact, it is the writing
    service's span of the fact's cause; for a message's result, the first attempt to deliver it. For a record in the
    journal that profile did not create itself, it is profile's span of the same record.
    """
    _, trace, parent, _ = (envelope.traceparent or "---").split("-")
    writer = envelope.source.removeprefix("/")
    if topic == JOURNAL and writer != "profile":
        parent = span_id(envelope.id, "profile")
    elif envelope.type in _DELIVERED:
        parent = span_id(envelope.causationid or "", "delivery/1")
    elif topic != EVENTS:
        parent = span_id(envelope.causationid or "", writer)
    return Place(trace, span_id(envelope.id, service), parent)


def _sampled(record: "Record") -> Envelope | None:
    """The envelope of a record, if it is sampled."""
    if b'"traceparent":"' not in record.value:
        return None
    try:
        envelope = decode(record.value)
        return envelope if envelope.traceparent and is_sampled(envelope.traceparent) else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # unreadable, so it became a dead letter


def _attributes(record: "Record", envelope: Envelope) -> dict[str, str | int]:
    return {
        "messaging.system": "rapport",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": envelope.id,
        "rapport.key": record.key,
        "rapport.source": envelope.source,
    }
