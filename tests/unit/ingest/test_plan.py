"""The tracking plan: what schemas may say, what is wrong with an event, and what becomes of it."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.events import ClientEvent, Kind
from services.ingest.build_records import BuiltRecords, EntryRules, build_records
from services.ingest.domain import body
from services.ingest.plan import schemas
from services.ingest.plan.compiled import UNPLANNED, CompiledPlan
from services.ingest.plan.inference import ALWAYS, WIDEST, SeenEvents
from services.ingest.plan.plan import Mode, TrackingPlan
from services.ingest.queries import Grant

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GRANT = Grant(UUID(int=1), "shop", "USD", None, None, UUID(int=2))
ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "string"},
        "revenue": {"type": "number", "minimum": 0},
        "email": {"format": "email"},
        "products": {"type": "array", "items": {"$ref": "#/$defs/product"}},
    },
    "additionalProperties": False,
    "$defs": {"product": {"type": "object", "required": ["sku"]}},
}


def plan(mode: Mode = "observe", unknown: Mode | None = None, **events: dict[str, Any]) -> TrackingPlan:
    """Underscores stand for spaces in names of events."""
    named = {name.replace("_", " "): {"mode": mode, "schema": schema} for name, schema in events.items()}
    return TrackingPlan.model_validate({"unknown": unknown, "events": named})


def order(type: Kind = "track", **properties: Any) -> ClientEvent:
    return ClientEvent(type=type, messageId="m", event="Order Completed", userId="ann", properties=properties)


@pytest.mark.parametrize(
    ("properties", "rule", "example"),
    [
        ({}, "properties.order_id is required", "properties.order_id is required"),
        (
            {"order_id": 7},
            "properties.order_id is not of type `string`",
            "properties.order_id is not of type `string` (it is the number '7')",
        ),
        (
            {"order_id": "1", "revenue": "a lot; really"},
            "properties.revenue is not of type `number`",
            'properties.revenue is not of type `number` (it is "a lot; really")',
        ),
        (
            {"order_id": "1", "revenue": None},
            "properties.revenue is not of type `number`",
            "properties.revenue is not of type `number` (it is null)",
        ),
        (
            {"order_id": "1", "email": "ann"},
            "properties.email is not a `email`",
            'properties.email is not a `email` (it is "ann")',
        ),
        ({"order_id": "1", "total": 1}, "properties.total is not in the plan", "properties.total is not in the plan"),
        (
            {"order_id": "1", "products": [{"sku": "a"}, {}]},
            "properties.products[].sku is required",
            "properties.products[].sku is required",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(properties: dict[str, Any], rule: str, example: str) -> None:
    found = CompiledPlan(plan(Order_Completed=ORDER)).violation(order(**properties))
    assert found is not None
    assert (found.event, found.mode, found.rule, found.example, found.message_id) == (
        "Order Completed",
        "observe",
        rule,
        example,
        "m",
    )


def test_what_follows_the_plan_is_no_violation() -> None:
    assert CompiledPlan(plan(Order_Completed=ORDER)).violation(order(order_id="1", revenue=29.33)) is None


def test_only_tracks_can_be_unknown_and_traits_have_a_schema_too() -> None:
    closed = {"properties": {"plan": {"type": "string"}}}
    rules = CompiledPlan(plan("warn", "refuse", Identified=closed, Page_Viewed=closed))
    for kind in ("page", "screen", "group", "alias"):
        assert rules.violation(ClientEvent(type=kind, messageId="m", userId="ann")) is None
    assert rules.violation(ClientEvent(type="identify", messageId="m", properties={"plan": 1})) is None
    said = rules.violation(ClientEvent(type="identify", messageId="m", traits={"plan": 1}))
    assert (said and said.event, said and said.rule) == ("Identified", "traits.plan is not of type `string`")
    unknown = rules.violation(order())
    assert unknown == ("Order Completed", "refuse", UNPLANNED, UNPLANNED, "m")


def test_a_source_has_the_last_word_on_an_event() -> None:
    shared = plan("refuse", "refuse", Order_Completed=ORDER, Seen={"required": ["a"]})
    rules = CompiledPlan(shared, plan("warn", Order_Completed={}))
    assert rules.violation(order()) is None
    assert rules.violation(ClientEvent(type="track", messageId="m", event="Seen")) is not None
    other = ClientEvent(type="track", messageId="m", event="Else")
    for plans, mode in (
        ((shared, plan()), "refuse"),
        ((shared, plan(unknown="observe")), "observe"),
        ((plan(),), "observe"),
    ):
        found = CompiledPlan(*plans).violation(other)
        assert (found and found.mode) == mode


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "objekt"}, "/type: this is not valid"),
        ({"properties": {"a": 3}}, "/properties/a: this is not of types"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/properties/a/pattern"),
        ({"$ref": "https://example.com/schema"}, "/: a $ref may only point into the schema's own $defs"),
        ({"properties": {"a": {"$ref": "#"}}}, "/properties/a: a $ref may only point into"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "/$defs/a/items: a schema in $defs may not hold a $ref"),
        ({"$ref": "#/$defs/missing"}, "does not exist"),
        ({"$dynamicRef": "#a"}, "$dynamicRef is not supported"),
        ({"description": "x" * 17_000}, "at most 16,384 are taken"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_its_place(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        schemas.compiled(schema)


def test_a_stored_schema_that_cannot_be_used_any_more_stops_nothing() -> None:
    rules = CompiledPlan(plan("refuse", "refuse", Order_Completed={"type": "objekt"}, Seen={"required": ["a"]}))
    assert list(rules.faulty) == ["Order Completed"]
    assert rules.violation(order()) is None
    assert rules.violation(ClientEvent(type="track", messageId="m", event="Seen")) is not None


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(20):
        schema = {"properties": {"a": schema}}
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        schemas.compiled(schema)


def built(rules: CompiledPlan | None, *events: dict[str, Any]) -> BuiltRecords:
    payload = body.batch(msgspec.json.encode({"batch": events}))
    return build_records(payload, None, GRANT, NOW, None, EntryRules(plan=rules))


def sent(number: int, name: str = "Order Completed", **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, "userId": "ann", "messageId": f"m{number}", "properties": properties}


@pytest.mark.parametrize(("mode", "status"), [("observe", "ok"), ("warn", "warning"), ("refuse", "rejected")])
def test_the_mode_decides_what_becomes_of_an_event(mode: Mode, status: str) -> None:
    rules = CompiledPlan(plan(mode, Viewed=ORDER))
    outcome = built(rules, sent(1, "Viewed", order_id="1"), sent(2, "Viewed"), sent(3, "Seen"))
    assert [result.status for result in outcome.results] == ["ok", status, "ok"]
    assert [(each.rule, each.mode) for each in outcome.violations] == [
        ("properties.order_id is required", mode),
        (UNPLANNED, "observe"),
    ]
    assert len(outcome.records) == 3 - len(outcome.refused)
    reason = "tracking plan: properties.order_id is required"
    assert outcome.results[1].reason == (None if mode == "observe" else reason)
    assert [each.reason for each in outcome.refused] == ([reason] if mode == "refuse" else [])


def test_no_plan_changes_nothing() -> None:
    without, empty = built(None, sent(1), sent(2, "Seen")), built(CompiledPlan(), sent(1), sent(2, "Seen"))
    assert without.records == empty.records
    assert without.violations == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["order_id", "revenue", "products", "email", "z; \0"]), values))
def test_any_properties_have_an_answer(properties: dict[str, Any]) -> None:
    outcome = built(CompiledPlan(plan("warn", Order_Completed=ORDER)), sent(1, **properties))
    (result,) = outcome.results
    if result.status == "rejected":  # a number that nothing can hold
        assert outcome.violations == []
    elif not isinstance(properties.get("order_id"), str):
        assert "tracking plan" in (result.reason or "")
    for violation in outcome.violations:
        assert "; " not in violation.rule


def seen(*properties: dict[str, Any]) -> TrackingPlan:
    events = SeenEvents()
    for each in properties:
        events.add(order(**each))
    return events.added_to(TrackingPlan())


def test_a_plan_is_drafted_from_what_arrived() -> None:
    orders: list[dict[str, Any]] = [
        {"order_id": f"{number}", "revenue": number, "products": [{"sku": "a", "gift": number % 2 == 0}]}
        for number in range(ALWAYS)
    ]
    drafted = seen(*orders, {"order_id": "x", "revenue": 29.33, "coupon": None}).events["Order Completed"]
    assert drafted.mode == "observe"
    assert drafted.json_schema == {
        "type": "object",
        "required": ["order_id", "revenue"],
        "properties": {
            "order_id": {"type": "string"},
            "revenue": {"type": "number"},
            "coupon": {"type": "null"},
            "products": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["gift", "sku"],
                    "properties": {"gift": {"type": "boolean"}, "sku": {"type": "string"}},
                },
            },
        },
    }


def test_few_events_make_nothing_required_and_traits_are_seen_too() -> None:
    events = SeenEvents()
    for kind in ("identify", "group"):
        events.add(ClientEvent(type=kind, messageId="m", traits={"plan": "pro"}))
    drafted = events.added_to(plan(Identified={"required": ["email"]}))
    assert drafted.events["Identified"].json_schema == {"required": ["email"]}
    assert drafted.events["Group Joined"].json_schema == {"type": "object", "properties": {"plan": {"type": "string"}}}
    assert "Group Joined" not in events.added_to(TrackingPlan(), ["Group Joined"]).events


def test_what_is_large_is_drafted_less_closely() -> None:
    table = {f"sku-{number}": 1 for number in range(WIDEST + 1)}
    assert seen({"stock": table}).events["Order Completed"].json_schema["properties"]["stock"] == {"type": "object"}
    wide = {f"{outer}": {f"{'x' * 20}{inner}": {"a": 1, "b": "2"} for inner in range(40)} for outer in range(50)}
    drafted = seen(wide).events["Order Completed"].json_schema
    assert drafted["properties"]["0"] == {"type": "object"}
    schemas.compiled(drafted)


@given(st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1, max_size=15))
def test_a_draft_fits_the_events_that_it_was_drafted_from(properties: list[dict[str, Any]]) -> None:
    events = SeenEvents()
    given_events = [ClientEvent(type="track", messageId="m", event="X", properties=each) for each in properties]
    for event in given_events:
        events.add(event)
    rules = CompiledPlan(events.added_to(plan(unknown="refuse")))
    assert [rules.violation(event) for event in given_events] == [None] * len(given_events)
