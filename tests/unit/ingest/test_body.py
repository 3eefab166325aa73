"""Bodies: any bytes give events or one of the named outcomes, in bounded time and memory."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts import records
from libs.common.contracts.events import Kind
from libs.common.errors import Malformed
from services.ingest.build_records import BuiltRecords, build_records
from services.ingest.domain import body
from services.ingest.queries import Grant

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GRANT = Grant(UUID(int=1), "shop", "USD", None, None, UUID(int=2))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
MEMBERS = (
    "type messageId event userId anonymousId groupId previousId name category properties traits context"
    " timestamp originalTimestamp sentAt"
).split()
odd_ids = st.sampled_from(["", "0", "null", "-1", "a\0b", "a" * 300, 7, 7.5, True, None])
events = st.fixed_dictionaries(
    {},
    optional={
        **{member: json_values for member in MEMBERS},
        "type": st.sampled_from(["track", "identify", "alias", "buy"]),
        "event": st.sampled_from(["Order Completed", "X", "", None, 1]),
        "userId": odd_ids | st.text(max_size=10),
        "anonymousId": odd_ids | st.text(max_size=10),
        "properties": st.dictionaries(st.sampled_from(["revenue", "products", "total"]), json_values) | json_values,
    },
)
kinds = st.sampled_from([None, "track", "identify", "page", "screen", "group", "alias"])


def _taken(raw: bytes, kind: Kind | None) -> BuiltRecords | None:
    """What the door makes of a body; None when it refuses it as a whole."""
    try:
        envelope = body.batch(raw) if kind is None else body.single(raw)
        return build_records(envelope, kind, GRANT, NOW, None)
    except Malformed:
        return None


def _check(built: BuiltRecords) -> None:
    """Every event has its answer, and every record can be read by every service."""
    rejected = [result for result in built.results if result.status == "rejected"]
    assert len(built.records) + len(rejected) == len(built.results)
    assert len(rejected) == len(built.refused)
    assert all(result.reason for result in rejected)
    msgspec.json.encode(built.results)
    for record in built.records:
        assert record.key
        assert "\0" not in record.key
        assert len(record.value) < records.LARGEST
        envelope = records.decode(record.value)
        data: dict[str, Any] = msgspec.json.decode(envelope.data)
        assert b"\\u0000" not in record.value or "\0" not in str(data)
        assert data["messageId"]
        assert envelope.time == record.time
        json.loads(records.spliced(record.value, b"{}"))


@given(st.binary(max_size=200), kinds)
@example(b'{"batch":[{"a":"\\', None)
@example(b'{"batch":[\xff]}', None)
@example(b'{"batch":[,,]}', None)
@example(b'{"batch":[{"type":"track","event":"X","userId":"\\udc00"}]}', None)
def test_any_bytes(raw: bytes, kind: Kind | None) -> None:
    built = _taken(raw, kind)
    if built is not None:
        _check(built)


@given(events, kinds)
def test_any_event(event: dict[str, Any], kind: Kind | None) -> None:
    raw = json.dumps({"batch": [event]} if kind is None else event).encode()
    built = _taken(raw, kind)
    assert built is not None
    assert len(built.results) == 1
    _check(built)


@given(st.lists(events, max_size=5), st.data())
def test_a_damaged_batch(batch: list[dict[str, Any]], data: st.DataObject) -> None:
    raw = bytearray(json.dumps({"sentAt": "now", "batch": batch, "context": {}}).encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place : place + 1] = data.draw(st.binary(max_size=3))
    built = _taken(bytes(raw), None)
    if built is not None:
        _check(built)


@given(st.lists(events, min_size=1, max_size=5), st.sampled_from(["NaN", "[" * 3_000 + "]" * 3_000, "01", '"\\x"']))
def test_one_broken_event_among_others(batch: list[dict[str, Any]], broken: str) -> None:
    texts = [json.dumps(event) for event in batch]
    alone = _taken(f'{{"batch":[{",".join(texts)}]}}'.encode(), None)
    mixed = _taken(f'{{"batch":[{",".join([*texts, broken])}],"sentAt":null}}'.encode(), None)
    assert alone is not None
    assert mixed is not None
    assert [result.status for result in mixed.results] == [*(v.status for v in alone.results), "rejected"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"batch":[' + b"[1," * 170_000,
        b'{"batch":["' + b'\\"' * 250_000,
        b'{"batch":[' + b'"' * 500_000,
        b'{"' + b"\\" * 500_000,
        b"{" * 500_000,
        b'{"batch":[[' + b"," * 500_000,
        b'{"batch":[[' + b"," * 4_000_000,
        b"[" * 4_000_000,
        b"{" * 4_000_000,
        b'{"batch":[' + b'"",' * 1_300_000,
        b'{"a":[' + (b"[" * 40 + b',"x\\') * 80_000,
    ],
)
@pytest.mark.timeout(20)
def test_hostile_bodies_cost_linear_time(raw: bytes) -> None:
    with pytest.raises(Malformed):
        body.batch(raw)


def test_the_batch_is_found_by_its_place_not_its_name() -> None:
    raw = b'{"x":{"batch":[1]},"y":"batch","batch" : [{"a":NaN},{"b":"],{"}],"writeKey":"k"}'
    envelope = body.batch(raw)
    assert [bytes(event) for event in envelope.events] == [b'{"a":NaN}', b'{"b":"],{"}']
    assert envelope.writeKey == "k"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r"cut \ud83d", "cut �"),
        (r"\uDE00 and \uD83D", "� and �"),
        (r"whole \ud83d\ude00, half \ud83d.", "whole 😀, half �."),
        (r"\\ud83d is no escape, \\\ud83d is", "\\ud83d is no escape, \\� is"),
    ],
)
def test_half_of_an_emoji_costs_no_event(sent: str, kept: str) -> None:
    event = f'{{"type":"track","userId":"ann","event":"Search","messageId":"m","properties":{{"q":"{sent}"}}}}'
    padding = f'{{"type":"page","userId":"ann","messageId":"p","properties":{{"p":"{"x" * 30_000}"}}}}'
    bodies: list[tuple[str, Kind | None]] = [
        (event, "track"),
        (f'{{"batch":[{event}]}}', None),
        (f'{{"batch":[{",".join([event, *[padding] * 20])}]}}', None),
    ]
    for text, kind in bodies:
        built = _taken(text.encode(), kind)
        assert built is not None
        assert {result.status for result in built.results} == {"ok"}
        data: dict[str, Any] = msgspec.json.decode(records.decode(built.records[0].value).data)
        assert data["properties"] == {"q": kept}


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ('{"revenue": "abc"}', "will wait among the dead letters"),
        ('{"revenue": 5, "currency": "dollars"}', "'dollars' is no currency"),
        ('{"revenue": -5}', "below zero, and counts as zero"),
        ('{"order_id": "1"}', "counts with no amount"),
    ],
)
def test_an_order_that_is_odd_is_warned_of(properties: str, said: str) -> None:
    event = f'{{"event":"Order Completed","userId":"ann","messageId":"m","properties":{properties}}}'
    built = _taken(event.encode(), "track")
    assert built is not None
    (result,) = built.results
    assert (result.status, said in (result.reason or "")) == ("warning", True)


def test_a_number_beyond_all_bounds_is_said_to_be_one() -> None:
    built = _taken(b'{"event":"X","userId":"ann","properties":{"a":1e400}}', "track")
    assert built is not None
    assert built.results[0].reason == "the event cannot be read: a number is too large: send it as a string"
