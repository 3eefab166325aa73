"""One event: ids, names, contexts, traits."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.common.contracts.events import Kind
from services.ingest.domain.hints import doubtful_alias
from services.ingest.domain.identifiers import identifier
from services.ingest.domain.limits import Rejection
from services.ingest.domain.normalise import Normalised, key, normalise
from services.ingest.domain.reading.sound import Delivery

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _normalised(event: dict[str, Any], kind: Kind | None = None, **members: Any) -> Normalised:
    raw = msgspec.json.encode({"messageId": "m1", **event})
    return normalise(raw, Delivery(NOW, kind, **members))


@pytest.mark.parametrize(
    "value", ["", "0", "0000", "-", "0-0", "-1", "null", "NULL", "undefined", "Anonymous", "  ", None]
)
def test_blocked_values_identify_nobody(value: str | None) -> None:
    assert identifier("userId", value) is None


def test_a_workspace_blocks_values_of_its_own() -> None:
    found = _normalised({"userId": "Kiosk ", "anonymousId": "a1"}, "page", blocked=frozenset(["kiosk"]))
    assert (found.event.userId, found.event.anonymousId) == (None, "a1")
    assert "userId 'Kiosk ' identifies nobody and was left out" in found.warnings


def test_ids_are_trimmed() -> None:
    found = _normalised({"userId": " ann@shop.example ", "anonymousId": "a1\t", "groupId": "\u00a0g"}, "group")
    event = found.event
    assert (event.userId, event.anonymousId, event.groupId) == ("ann@shop.example", "a1", "g")
    assert found.warnings == []


def test_timestamp_wins() -> None:
    """RudderStack's SDKs add an originalTimestamp of now to what an import says."""
    both = {"userId": "ann", "timestamp": "2026-01-01T05:00:00Z", "originalTimestamp": "2026-02-28T23:59:00Z"}
    assert _normalised(both, "page").occurred_at == datetime(2026, 1, 1, 5, tzinfo=UTC)
    del both["timestamp"]
    assert _normalised(both, "page").occurred_at == datetime(2026, 2, 28, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("previous", "doubtful"), [("ann@shop.example", True), ("4711", True), ("a1", False), ("d@1", False)]
)
def test_an_alias_between_two_users_is_doubtful(previous: str, doubtful: bool) -> None:
    event = _normalised({"userId": "ann", "previousId": previous, "anonymousId": "d@1"}, "alias").event
    assert bool(doubtful_alias(event)) == doubtful


@pytest.mark.parametrize(("value", "text"), [("ann", "ann"), (7, "7"), (7.0, "7"), (2**63, str(2**63)), ("01", "01")])
def test_ids_become_strings(value: object, text: str) -> None:
    assert identifier("userId", value) == text


@pytest.mark.parametrize("value", [1.5, True, [], {}, "a" * 257, "a\0", 10**30])
def test_what_cannot_be_an_id(value: object) -> None:
    with pytest.raises(Rejection, match="userId"):
        identifier("userId", value)


def test_the_device_is_the_key_else_the_user() -> None:
    assert key(_normalised({"userId": "ann", "anonymousId": "a1"}, "identify").event) == "a1"
    assert key(_normalised({"userId": "ann", "anonymousId": "null"}, "identify").event) == "ann"


def test_the_path_says_the_kind_and_a_batch_each_event() -> None:
    assert _normalised({"userId": "ann", "type": "track"}, "page").event.type == "page"
    assert _normalised({"userId": "ann", "type": "screen"}).event.type == "screen"


def test_the_envelopes_context_lies_under_the_events_own() -> None:
    event = {"userId": "ann", "type": "page", "context": {"ip": "own"}}
    found = _normalised(event, context={"ip": "shared", "locale": "de"}).event
    assert found.context == {"ip": "own", "locale": "de"}


def test_an_identifys_traits_may_lie_in_its_context() -> None:
    event = {"userId": "ann", "traits": {"a": 1}, "context": {"traits": {"a": 2, "b": 3}, "ip": "x"}}
    identified = _normalised(event, "identify").event
    assert identified.traits == {"a": 1, "b": 3}
    assert identified.context == {"ip": "x"}
    assert _normalised({**event, "event": "X"}, "track").event.context["traits"] == {"a": 2, "b": 3}


def test_an_id_that_is_too_long_is_hashed_alike_each_time() -> None:
    long = {"userId": "ann", "messageId": "m" * 101}
    first, second = (_normalised(long, "page") for _ in range(2))
    assert first.event.messageId == second.event.messageId
    assert len(first.event.messageId) <= 100
    assert _normalised({**long, "messageId": "m" * 102}, "page").event.messageId != first.event.messageId
    assert _normalised({**long, "messageId": "m" * 100}, "page").warnings == []


def test_the_shared_context_counts_towards_the_size() -> None:
    with pytest.raises(Rejection, match="context"):
        _normalised({"userId": "ann"}, "page", context={"a": "b"}, context_bytes=32_760)
