"""Private fields are dropped, hashed or truncated before anything of an event is kept."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts import records
from libs.common.contracts.events import ClientEvent
from libs.common.errors import Conflict
from services.ingest.api.private_fields import Truncate, as_json
from services.ingest.build_records import BuiltRecords, EntryRules, build_records
from services.ingest.domain import body
from services.ingest.domain.body import Unreadable
from services.ingest.domain.private_fields import PrivateFields, rules
from services.ingest.plan.compiled import CompiledPlan
from tests.unit.ingest.test_plan import GRANT, plan

KEY = b"k" * 32
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DECLARED = {
    "context.ip": "truncate",
    "context.device": "drop",
    "traits.email": "hash",
    "traits.phone": {"truncate": 3},
    "properties.products.note": "hash",
}
PRIVATE = rules(DECLARED, KEY)


def hashed(text: str) -> str:
    return "hmac-sha256:" + hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def event(**members: Any) -> ClientEvent:
    return ClientEvent(type="track", messageId="m", event="X", userId="ann", **members)


@pytest.mark.parametrize(
    ("how", "value", "kept"),
    [
        ("drop", "ann", None),
        ("drop", {"a": [1]}, None),
        ("hash", " Ann@Example.com ", hashed("ann@example.com")),
        ("hash", 17, hashed("17")),
        ("hash", ["a", {"b": "c"}, True], [hashed("a"), hashed('{"b": "c"}'), hashed("true")]),
        ("hash", hashed("a"), hashed("a")),
        ("truncate", "203.0.113.77", "203.0.113.0"),
        ("truncate", "2001:db8:1:2::77%eth0", "2001:db8:1::"),
        ("truncate", "no address", None),
        ("truncate", 7, None),
        ({"truncate": 3}, "+43123456", "+43"),
        ({"truncate": 3}, {"a": "long text"}, None),
    ],
)
def test_what_stays_of_a_value(how: object, value: object, kept: object) -> None:
    said = event(traits={"f": value, "g": 1})
    rules({"traits.f": how}, KEY).apply(said)
    assert said.traits == ({"g": 1} if kept is None else {"f": kept, "g": 1})


def test_paths_enter_arrays_and_leave_what_is_shared_alone() -> None:
    context = {"ip": "203.0.113.77", "device": {"id": "d"}, "traits": {"email": "a@b.c", "plan": "pro"}, "x": None}
    products = [{"sku": "a", "note": "secret"}, {"sku": "b"}, 7]
    said = event(context=context, properties={"products": products}, traits={"email": None})
    PRIVATE.apply(said)
    assert said.context == {"ip": "203.0.113.0", "traits": {"email": hashed("a@b.c"), "plan": "pro"}, "x": None}
    assert said.properties == {"products": [{"sku": "a", "note": hashed("secret")}, {"sku": "b"}, 7]}
    assert said.traits == {"email": None}
    assert (context["ip"], products[0]) == ("203.0.113.77", {"sku": "a", "note": "secret"})


def test_traits_in_the_context_are_traits() -> None:
    said = event(traits={"email": "a@b.c"}, context={"traits": {"email": "a@b.c"}})
    rules({"context.traits.email": "drop"}, KEY).apply(said)
    assert (said.traits, said.context) == ({}, {"traits": {}})


def test_without_a_key_nothing_is_hashed_and_nothing_stays() -> None:
    said = event(traits={"email": "a@b.c"})
    rules({"traits.email": "hash"}, b"").apply(said)
    assert said.traits == {}
    with pytest.raises(Conflict, match="RAPPORT_INGEST_HASH_KEY"):
        as_json({"traits.email": "hash"}, False)
    assert as_json({"a.b": "drop", "a.c": Truncate(truncate=2)}, False) == '{"a.b": "drop", "a.c": {"truncate": 2}}'
    assert as_json({}, True) is None


MARK = "privatemark"
LEAKS = [
    {"type": "track", "event": "X", "userId": "ann", "traits": {"email": MARK}},
    {"type": "identify", "userId": "ann", "traits": {"email": MARK, "phone": f"+43{MARK}"}},
    {"type": "identify", "userId": "ann", "context": {"traits": {"email": MARK}, "device": {"id": MARK}}},
    {"type": "page", "traits": {"email": [MARK]}},
    {"type": "dance", "userId": "ann", "context": {"ip": MARK, "device": MARK}},
    {"type": "track", "event": "", "properties": {"products": [{"note": {MARK: MARK}}]}, "Traits": {"email": MARK}},
    {"type": "track", "event": "X", "userId": "ann", "properties": [MARK]},
    {"type": "track", "event": "X", "userId": "ann", "context": MARK, "timestamp": "today"},
    {"type": "track", "event": "Planned", "userId": "ann", "traits": {"email": MARK}, "properties": {"products": 7}},
    {"type": "track", "event": "X", "userId": "ann", "properties": {"big": 10**400}, "traits": {"email": MARK}},
]


def kept(built: BuiltRecords) -> str:
    """All that goes anywhere."""
    return str(
        [
            *(record.value for record in built.records),
            *(tuple(each) for each in built.refused),
            *(msgspec.json.encode(each) for each in built.results),
            *(tuple(each) for each in built.violations),
        ]
    )


def test_nothing_private_is_kept_of_good_and_bad_events() -> None:
    schema = {"properties": {"products": {"type": "string"}}}
    entry = EntryRules(plan=CompiledPlan(plan("refuse", Planned=schema)), private=PRIVATE)
    texts = [*(msgspec.json.encode(each) for each in LEAKS[:-1]), str(LEAKS[-1]).replace("'", '"').encode()]
    texts.append(b'{"type":"track","event":"X","userId":"ann","traits":{"email":"%b","a":NaN}}' % MARK.encode())
    texts.append(b'{"type":"track","event":"X","userId":"ann","a":"%b"}' % (MARK.encode() * 4_000))
    payload = body.batch(b'{"batch":[%b],"context":{"ip":"%b"}}' % (b",".join(texts), MARK.encode()))
    built = build_records(payload, None, GRANT, NOW, None, entry)
    assert len(built.records) >= 4
    assert len(built.refused) >= 6
    assert MARK not in kept(built)
    open_ = build_records(payload, None, GRANT, NOW, None)
    assert MARK in kept(open_)


def test_what_another_protocol_refused_is_not_kept() -> None:
    payload = body.batch(b'{"batch":[]}')
    payload.unreadable = [Unreadable(0, MARK.encode(), "no event", None)]
    assert build_records(payload, None, GRANT, NOW, None).refused[0].body == MARK.encode()
    assert build_records(payload, None, GRANT, NOW, None, EntryRules(private=PRIVATE)).refused[0].body == b""


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text() | st.sampled_from(["1.2.3.4", "::1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["ip", "device", "email", "phone", "traits", "products", "note"]), values)


def applied(private: PrivateFields, said: ClientEvent) -> bytes:
    private.apply(said)
    return msgspec.json.encode(said)


@given(objects, objects, objects)
def test_twice_is_once_also_when_a_refused_event_is_replayed(
    context: dict[str, Any], traits: dict[str, Any], properties: dict[str, Any]
) -> None:
    said = event(context=context, traits=traits, properties=properties)
    raw = msgspec.json.encode(said)
    once = applied(PRIVATE, said)
    assert applied(PRIVATE, said) == once
    assert msgspec.json.decode(PRIVATE.applied(PRIVATE.applied(raw))) == msgspec.json.decode(PRIVATE.applied(raw))


def test_a_record_has_what_stays() -> None:
    payload = body.batch(msgspec.json.encode({"batch": [LEAKS[1]]}))
    (record,) = build_records(payload, None, GRANT, NOW, None, EntryRules(private=PRIVATE)).records
    traits = msgspec.json.decode(records.decode(record.value).data)["traits"]
    assert traits == {"email": hashed(MARK), "phone": "+43"}
