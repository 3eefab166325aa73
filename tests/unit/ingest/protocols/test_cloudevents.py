"""CloudEvents become tracks, in all three content modes."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.body import Payload, Sent
from services.ingest.domain.protocols import cloudevents

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "o-1",
    "source": "/shop/orders",
    "type": "Order Completed",
    "subject": "user:ann",
    "time": "2026-01-31T12:00:00Z",
    "data": {"order_id": "1001", "revenue": 29.33},
    "region": "eu",
}
TRACK = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "/shop/orders o-1",
    "userId": "ann",
    "timestamp": "2026-01-31T12:00:00Z",
    "properties": {"order_id": "1001", "revenue": 29.33},
    "context": {"cloudevent": {"source": "/shop/orders", "region": "eu"}},
}
HEADERS = {
    b"ce-specversion": b"1.0",
    b"ce-id": b"o-1",
    b"ce-source": b"/shop/orders",
    b"ce-type": b"Order%20Completed",
    b"ce-subject": b"user:ann",
    b"ce-time": b"2026-01-31T12:00:00Z",
    b"ce-region": b"eu",
    b"ce-traceparent": b"00-aa-bb-01",
}


def read(sent: object, headers: dict[bytes, bytes] | None = None) -> Payload:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return cloudevents.read(Sent(body, headers or {}, b"", datetime(2026, 3, 1, tzinfo=UTC)))


def only(payload: Payload) -> dict[str, Any]:
    (raw,) = payload.events
    assert not payload.unreadable
    return {name: value for name, value in msgspec.json.decode(bytes(raw)).items() if value is not None}


def test_the_content_modes_give_the_same() -> None:
    assert only(read(EVENT)) == only(read([EVENT])) == only(read(json.dumps(EVENT["data"]).encode(), HEADERS)) == TRACK


@pytest.mark.parametrize(
    ("subject", "more", "ids"),
    [
        ("ann", {}, {"userId": "ann"}),
        ("user:ann", {}, {"userId": "ann"}),
        ("anon:d1", {}, {"anonymousId": "d1"}),
        ("orders:7", {}, {"userId": "orders:7"}),
        ("ann", {"anonymousid": "d1"}, {"userId": "ann", "anonymousId": "d1"}),
        (None, {"anonymousid": "d1"}, {"anonymousId": "d1"}),
    ],
)
def test_whom_it_is_about(subject: str | None, more: dict[str, str], ids: dict[str, str]) -> None:
    event = only(read({**EVENT, "subject": subject, **more}))
    assert {name: event[name] for name in ("userId", "anonymousId") if name in event} == ids


@pytest.mark.parametrize(
    ("kind", "body", "properties"),
    [
        (b"application/json", b'{"a": 1}', {"a": 1}),
        (b"application/vnd.shop+json; charset=utf-8", b"[1]", {"data": [1]}),
        (b"application/json", b"", {}),
        (b"application/json", b"null", {}),
        (b"text/plain", b"hello", {"data": "hello"}),
        (b"application/octet-stream", b"\x00\x01", {"data_base64": "AAE="}),
    ],
)
def test_data_of_any_kind(kind: bytes, body: bytes, properties: dict[str, Any]) -> None:
    assert only(read(body, {**HEADERS, b"content-type": kind}))["properties"] == properties


def test_a_long_id_is_hashed() -> None:
    event = only(read({**EVENT, "id": "x" * 200}))
    assert event["messageId"].startswith("sha256:")
    assert event["messageId"] != only(read({**EVENT, "id": "x" * 201}))["messageId"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None, "type": ""}, "needs id, type"),
        ({"specversion": "0.3"}, "'0.3' is not taken"),
        ({"subject": None}, "needs a subject"),
        ({"data": float("nan")}, "NaN"),
    ],
)
def test_a_bad_event_leaves_its_neighbours(change: dict[str, Any], says: str) -> None:
    payload = read([EVENT, {**EVENT, **change}, EVENT])
    assert len(payload.events) == 2
    (refused,) = payload.unreadable
    assert refused.place == 1
    assert says in refused.reason


@pytest.mark.parametrize(("kind", "body"), [(b"application/json", b"{"), (b"text/plain", b"\xff")])
def test_binary_data_that_cannot_be_read_is_refused(kind: bytes, body: bytes) -> None:
    (refused,) = read(body, {**HEADERS, b"content-type": kind}).unreadable
    assert refused.message_id == "o-1"
    assert refused.reason.startswith("the event cannot be read: it ")


@given(
    st.dictionaries(
        st.sampled_from([*EVENT, "data_base64"]), st.none() | st.integers() | st.text() | st.lists(st.none())
    )
)
def test_any_event_is_read_or_refused_with_a_reason(change: dict[str, Any]) -> None:
    payload = read({**EVENT, **change})
    assert bool(payload.events) != bool(payload.unreadable)
    assert all(each.reason for each in payload.unreadable)
