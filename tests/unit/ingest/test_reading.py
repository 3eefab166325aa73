"""The strict reading of an event gives what the mending one gives, to the letter."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.common.contracts.events import Kind
from services.ingest.domain import limits
from services.ingest.domain.body import single
from services.ingest.domain.identifiers import identifier, is_sound
from services.ingest.domain.limits import Rejection
from services.ingest.domain.normalise import Normalised, completed
from services.ingest.domain.reading.mend import mended
from services.ingest.domain.reading.sound import KINDS, Delivery, read_sound

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "messageId": "m1",
    "type": "track",
    "event": "X",
    "userId": "ann",
    "properties": {"a": [1, "é"]},
}

texts = st.text(max_size=6) | st.sampled_from(["ann", "0", "null", "Anonymous", "a" * 257, "a\0", "a\ufffd", " ", ""])
values = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
names = st.sampled_from(["a", "b", "traits"]) | st.text(max_size=4)
objects = st.dictionaries(names, values | st.dictionaries(names, values), max_size=3)
times = st.sampled_from(
    ["2026-02-28T23:59:00Z", "2026-02-28", "soon", 1_772_000_000, 1_772_000_000_000, "1960-01-01", 1e99]
)
kinds = st.sampled_from([None, *KINDS])
REQUIRED = ("messageId", "type", "userId", "event")
good = {
    "messageId": st.sampled_from(["m1", "m" * 100]),
    "type": st.sampled_from(KINDS),
    "userId": st.just("ann"),
    **dict.fromkeys(["event", "anonymousId", "groupId", "previousId", "name", "category"], st.just("x")),
    **dict.fromkeys(["properties", "traits", "context"], objects),
    **dict.fromkeys(["timestamp", "originalTimestamp", "sentAt"], times),
}
bad: dict[str, st.SearchStrategy[Any]] = {
    "messageId": st.sampled_from(["m" * 101, "", 7, None]),
    "type": st.sampled_from(["buy", None, ["track"], {}]),
    **dict.fromkeys([*good][2:9], st.sampled_from(["0", "null", "a\ufffd", "a\0"]) | values),
    **dict.fromkeys([*good][9:12], values | st.lists(values, max_size=1)),
}
events = st.builds(
    lambda event, others: {**event, **others},
    st.fixed_dictionaries(
        {name: good[name] for name in REQUIRED}, optional={n: good[n] for n in good if n not in REQUIRED}
    ),
    st.sampled_from([*bad]).flatmap(lambda name: st.fixed_dictionaries({}, optional={name: bad[name]})),
)


def _mended(raw: bytes, delivery: Delivery) -> Normalised | str:
    warnings: list[str] = []
    try:
        return completed(*mended(raw, delivery, warnings), delivery, warnings)
    except Rejection as rejection:
        return str(rejection)


def _strict(raw: bytes, delivery: Delivery) -> Normalised | str | None:
    sound = read_sound(raw, delivery)
    try:
        return None if sound is None else completed(sound, sound.messageId, delivery, [])
    except Rejection as rejection:
        return str(rejection)


@given(events, kinds, st.sampled_from([None, "2026-02-28T23:00:00Z", "now"]), objects)
def test_both_readings_give_the_same(event: dict[str, Any], kind: Kind | None, sent_at: object, context: Any) -> None:
    for raw in (msgspec.json.encode(event), json.dumps(event).encode()):
        odd = limits.has_odd_values(raw)
        strict = _strict(raw, Delivery(NOW, kind, sent_at, context, 10, "EUR", odd))
        if strict is not None:
            assert strict == _mended(raw, Delivery(NOW, kind, sent_at, context, 10, "EUR"))


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_an_ordinary_event_is_read_strictly(kind: Kind | None) -> None:
    found = _strict(json.dumps({**EVENT, "groupId": "g", "previousId": "p"}).encode(), Delivery(NOW, kind))
    assert isinstance(found, Normalised)
    assert found.event.properties == EVENT["properties"]
    assert found.event.event == ("X" if kind in ("track", None) else None)


@pytest.mark.parametrize(
    "members",
    [
        {"messageId": None},
        {"userId": 7},
        {"userId": "undefined"},
        {"anonymousId": "a\ufffd"},
        {"event": " "},
        {"properties": {"big": 10**20}},
        {"properties": {"nul": "a\0b"}},
        {"properties": None},
        {"context": {"deep": json.loads("[" * 40 + "]" * 40)}},
        {"context": {"long": "x" * 40_000}},
        {"name": "n" * 300},
    ],
)
def test_what_needs_mending_is_not_sound(members: dict[str, Any]) -> None:
    raw = json.dumps({**EVENT, **members}).encode()
    assert read_sound(raw, Delivery(NOW, odd=single(raw).odd)) is None


def test_members_of_ours_are_the_clients_to_use() -> None:
    raw = json.dumps({**EVENT, "events": 5, "odd": "yes", "batch": 1, "context": {}}).encode()
    assert single(raw).events == [raw]
    assert read_sound(raw, Delivery(NOW, odd=single(raw).odd)) is not None


@pytest.mark.parametrize(
    ("value", "odd"),
    [
        ("1" * 19, False),
        ("a" + "1" * 30, False),
        (2**63, True),
        ([-(10**19)], True),
        (1 / 3, False),
        (0.1234567890123456789, False),
    ],
)
def test_only_long_integers_are_odd(value: object, odd: bool) -> None:
    for raw in (json.dumps({"a": [value, 1]}).encode(), msgspec.json.encode({"a": [value, 1]})):
        assert limits.has_odd_values(raw) == odd
    assert limits.has_odd_values(json.dumps({"id": "f" + "1" * 20, "a": value}).encode()) == odd


spaces = st.sampled_from(" \t\n\x1c\x85\xa0\u2003\u3000")
blocked = st.sampled_from(["0-0", "00", "-", "-1", "NULL", "Undefined", "anonymous", "a\ufffd", "nullable", "-2", "0x"])


@given(st.text(min_size=1, max_size=3) | st.text(spaces, min_size=1, max_size=2) | blocked)
def test_ids_that_can_be_taken_as_they_stand(text: str) -> None:
    assume("\0" not in text)
    try:
        found = identifier("userId", text)
    except Rejection:
        found = None
    assert is_sound(text) == (found == text)
