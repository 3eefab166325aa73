"""Spans derived from records: the same however often, and none that nobody asked for."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.common.contracts.records import encode
from libs.common.log.reader import Record
from libs.common.observability import tracing

AT = datetime(2026, 1, 1, tzinfo=UTC)
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def record(topic: str, id: str, source: str, causationid: str | None = None, flags: str = "01") -> Record:
    value = encode(
        id=id, source=source, type="track.v1" if causationid is None else "points.credited.v1", time=AT,
        recordedtime=AT, data={"traceparent": f"00-{'f' * 32}-{'f' * 16}-01"}, causationid=causationid,
        traceparent=f"00-{TRACE}-{CALLER}-{flags}",
    )  # fmt: skip
    return Record(topic, 3, 7, "ann", value, AT, 7)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.configure("test", exporter)
    yield exporter
    tracing.close()


def seen(exporter: InMemorySpanExporter) -> list[tuple[str, str, str]]:
    found = []
    for span in exporter.get_finished_spans():
        assert span.context is not None
        assert span.parent is not None
        assert f"{span.context.trace_id:032x}" == TRACE
        found.append((span.name, f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}"))
    return found


def test_each_hop_hangs_below_the_one_that_wrote_the_record(exporter: InMemorySpanExporter) -> None:
    event = record("ingest.events", "e1", "/apps/shop")
    fact = record("rewards.facts", "f1", "/rewards", "e1")
    left = record("profile.journal", "l1", "/profile", "e1")
    for service, each in [
        ("profile", event), ("rewards", event._replace(topic="profile.journal")), ("profile", fact),
        ("triggers", fact._replace(topic="profile.journal")), ("metrics", left),
    ]:  # fmt: skip
        tracing.folded(service, [each], time.time_ns())
    spans = seen(exporter)
    parents = [parent for _, _, parent in spans]
    ids = [id for _, id, _ in spans]
    assert parents == [CALLER, ids[0], ids[1], ids[2], ids[0]]
    assert len(set(ids)) == 5


def test_the_same_record_has_the_same_span_however_often_it_is_folded(exporter: InMemorySpanExporter) -> None:
    event = record("ingest.events", "e1", "/apps/shop")
    tracing.folded("profile", [event], time.time_ns())
    tracing.folded("profile", [event], time.time_ns())
    first, second = seen(exporter)
    assert first == second


def test_only_what_is_sampled_by_its_envelope_has_spans(exporter: InMemorySpanExporter) -> None:
    unasked = record("ingest.events", "e1", "/apps/shop", flags="00")
    tracing.folded("profile", [unasked, unasked._replace(value=b'no JSON "traceparent":"00-')], time.time_ns())
    tracing.commanded("rewards", "c1", "Adjust", f"00-{TRACE}-{CALLER}-00", time.time_ns())
    assert tracing.delivery(f"00-{TRACE}-{CALLER}-00", "m1", "e1", 1) is None
    assert seen(exporter) == []


def test_a_dead_letter_is_a_failed_span_and_its_replay_another(exporter: InMemorySpanExporter) -> None:
    event = record("ingest.events", "e1", "/apps/shop")
    tracing.dead_lettered("profile", event, ValueError("no such zone"), time.time_ns())
    tracing.folded("profile", [event], time.time_ns())
    (died, _), (_, replayed) = [(span, span) for span in exporter.get_finished_spans()]
    assert (died.status.is_ok, died.status.description) == (False, "ValueError: no such zone")
    assert replayed.status.is_ok
    assert died.context != replayed.context


def test_an_attempt_at_a_delivery_and_what_it_leads_to(exporter: InMemorySpanExporter) -> None:
    place = tracing.delivery(f"00-{TRACE}-{CALLER}-01", "q1", "f1", 1)
    assert place is not None
    tracing.delivered(place, {"rapport.channel": "webhook"}, time.time_ns(), "no answer")
    sent = record("triggers.facts", "s1", "/triggers", "q1")
    value = sent.value.replace(b"points.credited.v1", b"message.sent.v1")
    tracing.folded("profile", [sent._replace(value=value)], time.time_ns())
    (_, delivery, parent), (_, _, above) = seen(exporter)
    assert (delivery, parent) == (place.span, tracing.span_id("f1", "triggers"))
    assert above == delivery
    assert place.traceparent == f"00-{TRACE}-{delivery}-01"


def test_off_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    tracing.configure("test")
    assert not tracing.active()
    assert tracing.request(None, "GET") is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert tracing.wanted()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not tracing.wanted()
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.wanted()
