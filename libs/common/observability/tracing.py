"""Traces (OpenTelemetry): one from the POST to the message. Off unless an OTLP endpoint is set in the environment.

A record carries the `traceparent` of the request that it began with, and nothing of a trace is ever added to it: a replay
must give the same bytes. What a service did with a record is a span whose id is derived from the record's id and the
service, so that whoever reads the next record knows its parent without being told (docs/adr/0016-spans-are-derived.md).

Spans are made only of records whose `traceparent` is sampled, after the commit. While tracing is off each call here is one
comparison; `opentelemetry` is imported only when it is on.
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
    from libs.common.observability.spans import Requested, Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

#: Facts that triggers writes when a delivery has ended, not when it has folded their cause.
_DELIVERED = (MessageSent.TYPE, MessageFailed.TYPE)

_spans: "Spans | None" = None


class Place(NamedTuple):
    """Of a span: its trace, its own id, its parent's; all in hexadecimal, as in a `traceparent`."""

    trace: str
    span: str
    parent: str

    @property
    def traceparent(self) -> str:
        """What is passed on to whom this span calls."""
        return f"00-{self.trace}-{self.span}-01"


def active() -> bool:
    """Whether spans are made."""
    return _spans is not None


def wanted() -> bool:
    """Whether the environment asks for traces, by OpenTelemetry's own variables."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS)


def configure(service: str, exporter: "SpanExporter | None" = None) -> None:
    """Begin to make spans, if the environment asks for it or an `exporter` is given. Call once, before serving."""
    global _spans
    if exporter is None and not wanted():
        return
    from libs.common.observability.spans import Spans

    _spans = Spans(service, exporter)


def close() -> None:
    """Send what is left (blocks for some seconds at most), and stop making spans."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


def request(traceparent: str | None, method: str) -> "Requested | None":
    """The server's span of a request, begun now; its `traceparent` is to be passed on. None while tracing is off.

    `traceparent` is the caller's. Whether it is sampled is OTEL_TRACES_SAMPLER's to say (the caller's wish by default).
    """
    return None if _spans is None else _spans.request(traceparent, method)


def folded(service: str, records: "Sequence[Record]", began: int) -> None:
    """A batch is committed: a span for each of its sampled records. `began` is `time.time_ns()` of its beginning."""
    if _spans is None:
        return
    for record in records:
        if (read := _sampled(record)) is not None:
            _spans.record(f"{service} {read.type}", hop(service, record.topic, read), began, _said(record, read))


def dead_lettered(service: str, record: "Record", error: BaseException, began: int) -> None:
    """A record became a dead letter: a span that says so. One that is replayed gets its usual span then."""
    if _spans is None or (read := _sampled(record)) is None:
        return
    place = hop(service, record.topic, read)
    place = place._replace(span=span_id(read.id, f"{service}/dead letter"))
    said = _said(record, read)
    _spans.record(f"{service} dead-letters {read.type}", place, began, said, f"{type(error).__name__}: {error}")


def commanded(service: str, id: str, type: str, traceparent: str | None, began: int) -> None:
    """A command (cause `id` of what it led to) is committed."""
    if _spans is None or traceparent is None or not is_sampled(traceparent):
        return
    _, trace, parent, _ = traceparent.split("-")
    _spans.record(f"{service} {type}", Place(trace, span_id(id, service), parent), began, {"rapport.record.id": id})


def delivery(traceparent: str | None, message: str, cause: str, attempt: int) -> Place | None:
    """Where an attempt to deliver a message stands: below what triggers did with the message's cause.

    `message` is the id of the fact that queued it.
    """
    if _spans is None or traceparent is None or not is_sampled(traceparent):
        return None
    trace = traceparent.split("-")[1]
    return Place(trace, span_id(message, f"delivery/{attempt}"), span_id(cause, "triggers"))


def delivered(place: Place | None, said: Mapping[str, str | int], began: int, error: str | None) -> None:
    """An attempt at a delivery has ended: `error` says how, where it failed."""
    if _spans is not None and place is not None:
        _spans.record(f"deliver to {said['rapport.channel']}", place, began, said, error, calls=True)


def is_sampled(traceparent: str) -> bool:
    """Whether a sound `traceparent` asks for its trace to be recorded."""
    return int(traceparent[-2:], 16) & 1 == 1


def span_id(id: str, service: str) -> str:
    """The id of the span in which `service` handled the record `id`; never all zeros."""
    return f"{int.from_bytes(blake2b(f'{service} {id}'.encode(), digest_size=8).digest(), 'big') or 1:016x}"


def hop(service: str, topic: str, read: Envelope) -> Place:
    """Where the span stands in which `service` handles a record of `topic`.

    Its parent is the span in which the record was written: the request's for an event; that of its cause in the service that
    wrote it for a fact (the first attempt at its delivery for a message that was sent); for what the journal repeats,
    profile's of that same record.
    """
    _, trace, parent, _ = (read.traceparent or "---").split("-")
    writer = read.source.removeprefix("/")
    if topic == JOURNAL and writer != "profile":
        parent = span_id(read.id, "profile")
    elif read.type in _DELIVERED:
        parent = span_id(read.causationid or "", "delivery/1")
    elif topic != EVENTS:
        parent = span_id(read.causationid or "", writer)
    return Place(trace, span_id(read.id, service), parent)


def _sampled(record: "Record") -> Envelope | None:
    """The envelope of a record that is to have a span."""
    if b'"traceparent":"' not in record.value:
        return None
    try:
        read = decode(record.value)
        return read if read.traceparent and is_sampled(read.traceparent) else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None  # it became a dead letter for that


def _said(record: "Record", read: Envelope) -> dict[str, str | int]:
    return {
        "messaging.system": "rapport",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": read.id,
        "rapport.key": record.key,
        "rapport.source": read.source,
    }
