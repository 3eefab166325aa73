"""A mapping makes events of rows; what is wrong with it is said before anything is sent."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.importer.cells import Refused
from deploy.importer.mapping import EXAMPLE, AsItIs, EventMapping
from deploy.importer.mapping_file import load, require_columns
from deploy.local.errors import LocalError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ORDERS: dict[str, Any] = {
    "event": {"value": "Order Completed"},
    "userId": "customer",
    "timestamp": "at",
    "messageId": "order",
    "properties": {"order_id": "order", "revenue": {"column": "total", "type": "number"}, "currency": {"value": "EUR"}},
    "context": {"campaign": "utm"},
}
ROW = {"customer": " ann ", "at": "2026-01-31", "order": "7", "total": "29.33", "utm": ""}


def mapping(tmp_path: Path, document: object = ORDERS) -> EventMapping:
    path = tmp_path / "map.json"
    path.write_bytes(document if isinstance(document, bytes) else msgspec.json.encode(document))
    return load(path, NOW)


def test_a_row_becomes_an_event(tmp_path: Path) -> None:
    events = mapping(tmp_path)
    assert events.event(ROW) == {
        "type": "track",
        "event": "Order Completed",
        "userId": "ann",
        "timestamp": "2026-01-31T00:00:00Z",
        "messageId": "7",
        "properties": {"order_id": "7", "revenue": Decimal("29.33"), "currency": "EUR"},
    }  # an empty cell gives no member
    assert events.own_id(ROW) == "7"
    assert set(events.columns) == set(ROW)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"customer": ""}, "neither a userId nor an anonymousId"),
        ({"at": ""}, "no timestamp"),
        ({"at": "yesterday"}, "at: 'yesterday' is no ISO 8601 time"),
        ({"total": "free"}, "total: 'free' is no number"),
        ({"order": ""}, "order is empty"),
    ],
)
def test_a_row_that_gives_no_event_says_why(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    with pytest.raises(Refused, match=says):
        mapping(tmp_path).event({**ROW, **changes})


def test_objects_are_looked_into(tmp_path: Path) -> None:
    events = mapping(tmp_path, {"type": "identify", "userId": "person.id", "traits": {"city": "person.address.city"}})
    event = events.event({"person": {"id": 12, "address": {"city": "Bonn"}}})
    assert event == {"type": "identify", "userId": "12", "traits": {"city": "Bonn"}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"{", "Invalid JSON"),
        ({**ORDERS, "user_id": "customer"}, "user_id: is not known here"),
        ({**ORDERS, "type": "order"}, "type: "),
        ({**ORDERS, "userId": {"col": "customer"}}, "userId.column: is missing\n  userId.col: is not known here"),
        ({**ORDERS, "name": 5}, "name: is a column's name"),
        ({**ORDERS, "name": {"column": 5}}, "name.column: Input should be a valid string"),
        ({**ORDERS, "properties": {"a": {"colum": "total"}}}, "properties.a"),
        ({**ORDERS, "properties": {"a": {"column": "total", "type": "money"}}}, "properties.a.type"),
        ({**ORDERS, "timestamp": {"column": "at", "zone": "Berlin"}}, "Europe/Berlin"),
        ({**ORDERS, "timestamp": {"column": "at", "type": "number"}}, "timestamp is a time"),
        ({**ORDERS, "userId": {"column": "customer", "type": "number"}}, "userId is text"),
        ({"userId": "customer", "timestamp": "at"}, "says nothing of event"),
        ({"event": {"value": "X"}, "userId": "customer"}, "says nothing of timestamp"),
        ({"event": {"value": "X"}, "timestamp": "at"}, "neither userId nor anonymousId"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_place(tmp_path: Path, document: object, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        mapping(tmp_path, document)


def test_a_wrong_column_is_refused_with_the_nearest_and_all_others(tmp_path: Path) -> None:
    events = mapping(tmp_path)
    with pytest.raises(LocalError) as refused:
        require_columns(events, ["customers", "at", "order", "total", "utm"])
    assert "There is no column 'customer': was 'customers' meant?" in str(refused.value)
    assert "'customers', 'at', 'order', 'total', 'utm'" in str(refused.value)
    require_columns(events, ROW)


def test_the_example_that_is_shown_is_a_mapping(tmp_path: Path) -> None:
    assert mapping(tmp_path, EXAMPLE.encode()).kind == "track"


def test_events_as_they_are_need_a_time_of_the_past() -> None:
    events = AsItIs(NOW)
    event = {"type": "track", "event": "X", "userId": "ann", "timestamp": "2026-01-31T12:00:00Z", "messageId": "m1"}
    assert events.event({**event, "timestamp": "2026-01-31T12:00:00.000Z"}) == event
    archived = {**event, "originalTimestamp": "2026-01-31T11:58:00Z", "sentAt": "2026-01-31T12:00:01Z"}
    assert events.event(archived) == event
    del archived["timestamp"]
    assert events.event(archived)["timestamp"] == "2026-01-31T11:58:00Z"
    assert events.own_id(event) == "m1"
    assert events.event({"type": "identify", "userId": "ann"}) == {"type": "identify", "userId": "ann"}
    for wrong, says in ((None, "no timestamp"), ("2027-01-01", "future"), ("soon", "no ISO 8601 time")):
        with pytest.raises(Refused, match=says):
            events.event({**event, "timestamp": wrong})
