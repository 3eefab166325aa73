"""PostHog's events become Segment's: who it is about, what happened, and what both keep elsewhere."""

import base64
import gzip
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Malformed
from services.ingest.domain.body import Payload, Sent
from services.ingest.domain.protocols import posthog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MADE_UP = "3f2b8d1e-0c4a-4c8e-9a54-0f6f6f0b1c2d"


def read(sent: object, query: str = "") -> Payload:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return posthog.read(Sent(body, {}, query.encode(), NOW))


def events(sent: object) -> list[dict[str, Any]]:
    """The events, without the members that say nothing."""
    decoded = [msgspec.json.decode(bytes(event)) for event in read(sent).events]
    return [{name: value for name, value in event.items() if value not in (None, {})} for event in decoded]


@pytest.mark.parametrize(
    ("sent", "becomes"),
    [
        (
            {"event": "Order Completed", "distinct_id": "ann", "uuid": "u1", "timestamp": "2026-01-31T12:00:00Z"},
            {
                "type": "track",
                "event": "Order Completed",
                "userId": "ann",
                "messageId": "u1",
                "timestamp": "2026-01-31T12:00:00Z",
            },
        ),
        (
            {"event": "$set", "distinct_id": "ann", "$set": {"plan": "gold"}},
            {"type": "identify", "userId": "ann", "traits": {"plan": "gold"}},
        ),
        (
            {
                "event": "$identify",
                "distinct_id": "ann",
                "properties": {"$anon_distinct_id": "d1", "$device_id": "d1", "$set": {"email": "ann@example.com"}},
            },
            {"type": "identify", "userId": "ann", "anonymousId": "d1", "traits": {"email": "ann@example.com"}},
        ),
        (
            {
                "event": "$create_alias",
                "distinct_id": "d1",
                "properties": {"distinct_id": "d1", "alias": "ann"},
            },
            {"type": "alias", "previousId": "d1", "userId": "ann"},
        ),
        (
            {"event": "$create_alias", "distinct_id": "ann", "properties": {"distinct_id": "ann", "alias": MADE_UP}},
            {"type": "alias", "previousId": MADE_UP, "userId": "ann"},
        ),
        (
            {"event": "$merge_dangerously", "distinct_id": "ann", "properties": {"alias": "ann.old"}},
            {"type": "alias", "previousId": "ann.old", "userId": "ann"},
        ),
        (
            {
                "event": "$groupidentify",
                "distinct_id": "ann",
                "properties": {"$group_type": "company", "$group_key": "acme", "$group_set": {"name": "Acme"}},
            },
            {
                "type": "group",
                "groupId": "acme",
                "userId": "ann",
                "traits": {"name": "Acme", "groupType": "company"},
            },
        ),
        (
            {
                "event": "$pageview",
                "distinct_id": "d1",
                "properties": {
                    "$device_id": "d1",
                    "$current_url": "https://shop.example/?utm_source=mail",
                    "title": "Home",
                    "utm_source": "mail",
                    "$lib": "web",
                    "$referrer": "$direct",
                    "$timezone": "Europe/Berlin",
                },
            },
            {
                "type": "page",
                "name": "Home",
                "anonymousId": "d1",
                "properties": {
                    "url": "https://shop.example/?utm_source=mail",
                    "title": "Home",
                    "$current_url": "https://shop.example/?utm_source=mail",
                    "utm_source": "mail",
                    "$referrer": "$direct",
                },
                "context": {
                    "timezone": "Europe/Berlin",
                    "library": {"name": "web"},
                    "page": {"url": "https://shop.example/?utm_source=mail", "title": "Home"},
                    "campaign": {"source": "mail"},
                },
            },
        ),
        (
            {"event": "$screen", "distinct_id": "ann", "properties": {"$screen_name": "Basket"}},
            {"type": "screen", "name": "Basket", "userId": "ann", "properties": {"$screen_name": "Basket"}},
        ),
    ],
    ids=lambda each: each.get("event", "") if isinstance(each, dict) else "",
)
def test_an_event(sent: dict[str, Any], becomes: dict[str, Any]) -> None:
    assert events({"api_key": "rk", **sent}) == [becomes]


@pytest.mark.parametrize(
    ("distinct", "properties", "ids"),
    [
        ("ann", {}, {"userId": "ann"}),
        (MADE_UP, {}, {"userId": MADE_UP}),
        (MADE_UP, {"$process_person_profile": False}, {"anonymousId": MADE_UP}),
        ("ann", {"$process_person_profile": False}, {"userId": "ann"}),
        ("d1", {"$device_id": "d1"}, {"anonymousId": "d1"}),
        ("d1", {"$device_id": "d1", "$is_identified": False}, {"anonymousId": "d1"}),
        ("ann", {"$device_id": "d1", "$is_identified": True}, {"userId": "ann", "anonymousId": "d1"}),
        ("ann", {"$device_id": "d1", "$user_id": "ann"}, {"userId": "ann", "anonymousId": "d1"}),
        (MADE_UP, {"$device_id": "phone", "$is_identified": False}, {"anonymousId": MADE_UP}),
    ],
)
def test_whom_it_is_about(distinct: str, properties: dict[str, Any], ids: dict[str, str]) -> None:
    (event,) = events({"event": "Seen", "distinct_id": distinct, "properties": properties})
    assert {name: event[name] for name in ("userId", "anonymousId") if name in event} == ids


def test_a_track_that_sets_traits_is_two_events() -> None:
    sent = {"event": "Upgraded", "distinct_id": "ann", "uuid": "u1", "properties": {"$set": {"plan": "gold"}}}
    assert [(event["type"], event["messageId"]) for event in events(sent)] == [("identify", "u1"), ("track", "u1")]


def test_the_forms_of_a_body() -> None:
    event = {"event": "Seen", "properties": {"token": "rk", "distinct_id": "ann"}}
    text = json.dumps(event).encode()
    packed = (base64.b64encode(text), base64.b64encode(gzip.compress(text)))
    bodies = [
        event,
        [event],
        {"batch": [event]},
        {"api_key": "rk", "batch": [{"event": "Seen", "distinct_id": "ann"}]},
        {"token": "rk", "event": "Seen", "distinct_id": "ann"},
        b"data=" + quote(text).encode(),
        *(b"data=" + quote(each).encode() + b"&compression=base64" for each in packed),
    ]
    for body in bodies:
        assert read(body).writeKey == "rk"
        assert events(body) == [{"type": "track", "event": "Seen", "userId": "ann"}]
    with pytest.raises(Malformed, match="lz64 is not taken"):
        read(b"data=abc&compression=lz64")
    with pytest.raises(Malformed, match="base64"):
        read(b"data=%%%")


def test_the_times_of_a_browser() -> None:
    sent = read([{"event": "Seen", "offset": 1500}], "_=1772366400000&ver=1")
    assert sent.sentAt == 1772366400000
    assert msgspec.json.decode(bytes(sent.events[0]))["timestamp"] == "2026-03-01T11:59:58.500000Z"


def test_a_bad_event_leaves_its_neighbours() -> None:
    good = b'{"event": "Seen", "distinct_id": "ann"}'
    bad = [
        b'{"event": "Seen", "uuid": "u1", "properties": {"a": NaN}}',
        b'{"event": "Seen", "uuid": "u2", "properties": []}',
        b'{"event": "$groupidentify", "uuid": "u3", "distinct_id": "$a_b",'
        b' "properties": {"$group_type": "a", "$group_key": "b"}}',
        b"7",
        b'{"event": "Seen", "uuid": "u5", "properties": {"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}}",
    ]
    mixed = b",".join(each + b"," + good for each in bad)
    for body in (b"[" + mixed + b"]", b'{"api_key": "rk", "sent_at": "s", "batch": [' + mixed + b"]}"):
        sent = read(body)
        assert len(sent.events) == len(bad)
        assert [(each.place, each.message_id) for each in sent.unreadable] == [
            (0, "u1"),
            (2, "u2"),
            (4, "u3"),
            (6, None),
            (8, "u5"),
        ]
        reasons = [each.reason for each in sent.unreadable]
        assert ["NaN" in reasons[0], "array" in reasons[1], "names no customer" in reasons[2]] == [True] * 3
        assert ["number" in reasons[3], "nested" in reasons[4]] == [True] * 2
    assert (read(body).writeKey, read(body).sentAt) == ("rk", "s")


def test_segments_form_is_recognised() -> None:
    (refused,) = read({"batch": [{"type": "track", "event": "X", "userId": "ann"}]}).unreadable
    assert "send it to /v1/batch" in refused.reason


def test_values_are_passed_on_as_they_were_written() -> None:
    (event,) = read(
        b'{"event": "X", "distinct_id": "a", "properties": {"n": 12345678901234567890123, "m": 1.10}}'
    ).events
    assert b'"n":12345678901234567890123,"m":1.10' in bytes(event)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ("event", "distinct_id", "properties", "$set", "timestamp", "offset", "uuid")
PROPERTIES = ("$set", "$device_id", "$is_identified", "distinct_id", "alias", "$group_key", "$group_set", "token")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{name: json_values for name in MEMBERS},
            "event": st.sampled_from(["$set", "$identify", "$create_alias", "$groupidentify", "$pageview", "X", 7]),
            "properties": st.dictionaries(st.sampled_from(PROPERTIES), json_values),
        },
    )
)
def test_any_event_is_read_or_refused_with_a_reason(event: dict[str, Any]) -> None:
    sent = read([event])
    assert sent.events or [each.reason for each in sent.unreadable] != [""]
    for each in sent.events:
        assert msgspec.json.decode(bytes(each))["type"]
