"""Conditions: numbers, absences, and what a condition reads."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.rules.cel.condition import Activation, Condition, Outcome, bind, compile_condition
from libs.common.rules.cel.numbers import adapt
from libs.common.rules.cel.parser import parse


def event(**properties: Any) -> dict[str, Any]:
    return {"name": "Order Completed", "properties": properties}


def holds(source: str, customer: dict[str, Any] | None = None, **properties: Any) -> bool:
    outcome = compile_condition(source).evaluate(event(**properties), customer or {})
    assert outcome.error is None
    assert outcome.absent is None
    return outcome.matched


def adapted(source: str) -> str:
    return adapt(source, parse(source)).text


@pytest.mark.parametrize(("x", "expected"), [(50, False), (50.0, False), (29.33, False), (50.01, True), (51, True)])
def test_a_multiple_of_a_property(x: float, expected: bool) -> None:
    assert holds("event.properties.x * 2 > 100", x=x) is expected
    assert holds("event.properties.x * 1.5 > 75", x=x) is expected
    assert holds("100 < 2 * event.properties.x", x=x) is expected


@pytest.mark.parametrize(
    ("source", "properties"),
    [
        ("event.properties.x == 3", {"x": 3}),
        ("event.properties.x == 3", {"x": 3.0}),
        ("event.properties.x in [1, 2]", {"x": 2.0}),
        ("event.properties.x == -1", {"x": -1}),
        ("event.properties.x - 1 == - 1", {"x": 0}),
        ("event.properties.x == 0x10 && event.properties.x == 16u", {"x": 16}),
        ("size(event.properties.x) > 2", {"x": [1, 2, 3]}),
        ("event.properties.x.size() == 3", {"x": "abc"}),
        ("event.properties.x.size() in [3, 4]", {"x": "abc"}),
        ("size(event.properties.x) / 2 == 1.5", {"x": "abc"}),
        ("size(event.properties.x) > event.properties.y", {"x": "abc", "y": 2.5}),
        ("event.properties.x[0] == 7", {"x": [7]}),
        ("event.properties.x[size(event.properties.x) - 1] == 9", {"x": [7, 8, 9]}),
        ("event.properties.x[event.properties.i + 1] == 8", {"x": [7, 8, 9], "i": 0}),
        ("event.properties.x[event.properties.i] == 8", {"x": [7, 8, 9], "i": 1}),
        ("event.properties.x.substring(size(event.properties.x) - 3) == '2 3'", {"x": "12 3"}),
        ("event.properties.x.substring(event.properties.i) == 'c'", {"x": "abc", "i": 2}),
        ("event.properties.x.indexOf('c') == 2", {"x": "abc"}),
        ("int(event.properties.x) % 2 == 0", {"x": 4}),
        ("int('7') % 4 == 3 && 7 % 4 == 3", {}),
        ("timestamp(event.properties.x).getFullYear() >= 2024", {"x": "2024-05-01T00:00:00Z"}),
        (
            "timestamp(event.properties.x) - timestamp('2024-05-01T00:00:00Z') > duration('24h')",
            {"x": "2024-05-03T00:00:00Z"},
        ),
        ("timestamp(0) < timestamp(event.properties.x)", {"x": "2024-05-01T00:00:00Z"}),
        ("duration('90m').getMinutes() == 90", {}),
        ("{1: 'a', 2: 'b'}[event.properties.x] == 'b'", {"x": 2}),
        ("event.properties.x ? 1 < 2 : false", {"x": True}),
        ("(event.properties.x > 1 ? 5 : 7) == 5", {"x": 2}),
        ("string(event.properties.x) == '3'", {"x": 3}),
        ("event.properties.x == 9007199254740993", {"x": 9007199254740993}),
        ("event.properties.x > 1e300", {"x": 10**400}),
        ("event.properties.x < 0", {"x": -(10**400)}),
        ("event.properties.x == null", {"x": None}),
        ("event.properties.x != null", {"x": 0}),
        ("event.properties.x != 1 && event.properties.x == true", {"x": True}),
        ("event.properties.x.y.z == 5", {"x": {"y": {"z": 5}}}),
        ("event.properties.x.exists(p, p.price * 2 > 10 && p.sku.startsWith('a'))", {"x": [{"price": 6, "sku": "ab"}]}),
        ("event.properties.x.all(p, p == 1) && event.properties.x.exists_one(p, p == 1)", {"x": [1]}),
        ("event.properties.x.filter(p, p > 1).size() == 2", {"x": [1, 2, 3]}),
        ("event.properties.x.lowerAscii() == 'abc' && event.properties.x.matches('^A[A-Z]{2}$')", {"x": "ABC"}),
        ("event.properties['odd key'] == 1 && 'odd key' in event.properties", {"odd key": 1}),
        ("type(event.properties.x) == double", {"x": 1}),
        ("event.properties.x == 'é😀' // a comment, 3", {"x": "é😀"}),
    ],
)
def test_holds(source: str, properties: dict[str, Any]) -> None:
    assert holds(source, **properties)


def test_customer() -> None:
    customer = {"orders": 12, "traits": {"plan": "pro"}, "revenue": {"EUR": 120.5}}
    assert holds(
        "customer.orders >= 10 && customer.traits.plan in ['pro', 'max'] && customer.revenue.EUR > 100", customer
    )
    assert not holds("customer.orders >= 13", customer)


def test_text_is_never_touched() -> None:
    source = """'2 > 1' == "2" || r'\\d 3' == '''4\n"5"''' || "it's 6" == 'say \\'7\\''"""
    assert adapted(source) == source
    assert adapted("event.properties.a1 == '1' && event.properties.`b 2` > 2") == (
        "event.properties.a1 == '1' && event.properties.`b 2` > 2.0"
    )


numbers = st.integers(-(10**18), 10**18) | st.floats(
    allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200
)
literals = st.integers(-(10**9), 10**9)
factors = st.integers(0, 10**6)


@given(x=numbers, factor=factors, limit=literals)
def test_arithmetic_is_that_of_doubles(x: float, factor: int, limit: int) -> None:
    assert holds(f"event.properties.x * {factor} > {limit}", x=x) is (float(x) * float(factor) > float(limit))
    assert holds(f"event.properties.x + {factor} - {limit} <= 2 * event.properties.x", x=x) is (
        float(x) + float(factor) - float(limit) <= 2.0 * float(x)
    )


@given(x=numbers, divisor=st.integers(1, 10**6))
def test_division_is_that_of_doubles(x: float, divisor: int) -> None:
    assert holds(f"event.properties.x / {divisor} == {float(x) / divisor!r}", x=x)


@given(items=st.lists(numbers, max_size=8), limit=st.integers(0, 9))
def test_sizes_and_members_of_lists(items: list[float], limit: int) -> None:
    assert holds(f"size(event.properties.l) > {limit}", l=items) is (len(items) > limit)
    assert holds(f"event.properties.l.exists(x, x == {limit})", l=items) is any(float(item) == limit for item in items)
    assert holds(f"{limit} in event.properties.l", l=items) is (float(limit) in [float(item) for item in items])


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_compares_with_itself(text: str) -> None:
    assert holds(f"event.properties.x == {json.dumps(text, ensure_ascii=False)}", x=text)
    assert adapted(json.dumps(text)) == json.dumps(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
RULES = [
    compile_condition(source)
    for source in (
        "event.properties.x * 2 > 100 && customer.traits.y < 3",
        "event.properties.x.exists(p, p.price > 1) || customer.traits in [1, 'a']",
        "has(event.properties.x) && event.properties.x",
        "!event.properties.x || event.properties.x.matches('a+') || event.properties.x[0] == customer.traits",
        "event.properties.x == customer.traits",
    )
]


@given(x=json_values, y=json_values)
def test_an_evaluation_never_raises(x: Any, y: Any) -> None:
    for condition in RULES:
        outcome = condition.evaluate({"name": "A", "properties": {"x": x}}, {"traits": y})
        assert isinstance(outcome.matched, bool)
        assert not (outcome.matched and (outcome.absent or outcome.error))
        assert condition.explain({"name": "A", "properties": {"x": x}}, {"traits": y}).startswith(
            f"{outcome.matched} because".lower()
        )


@pytest.mark.parametrize(
    ("source", "properties", "absent"),
    [
        ("event.properties.coupon == 'X'", {}, "event.properties.coupon"),
        ("event.properties.a.b.c > 1", {"a": {}}, "event.properties.a.b"),
        ("event.properties.a.b.c > 1", {"a": {"b": 3}}, "event.properties.a.b.c"),
        ("customer.traits.plan == 'pro' && event.properties.x > 1", {"x": 2}, "customer.traits"),
        ("event.properties.x > 1 && event.properties.y > 1", {"x": 2}, "event.properties.y"),
        ("has(event.properties.a) && event.properties.b > 1 || event.properties.c > 1", {"b": 2}, "event.properties.c"),
        ("has(event.properties.a.b)", {}, "event.properties.a"),
        ("event.properties['odd key'] == 1", {}, "event.properties.odd key"),
        ("event.properties.l[2].price > 1", {"l": [{"price": 3}]}, "event.properties.l[2]"),
        ("event.properties.l.exists(p, p.price > 5)", {"l": [{"price": 3}, {}]}, "event.properties.l[].price"),
        ("event.properties.x == null", {}, "event.properties.x"),
    ],
)
def test_names_the_absent_property(source: str, properties: dict[str, Any], absent: str) -> None:
    assert compile_condition(source).evaluate(event(**properties), {}) == Outcome(False, absent=absent)


def test_presence_can_be_tested() -> None:
    assert not holds("has(event.properties.coupon) && event.properties.coupon == 'X'")
    assert not holds("'coupon' in event.properties")
    assert holds("has(event.properties.coupon) && 'coupon' in event.properties", coupon=None)


@pytest.mark.parametrize(
    ("source", "properties", "error"),
    [
        (
            "event.properties.x > 1",
            {"x": "n/a"},
            "event.properties.x was 'n/a', and > does not work with text and a number",
        ),
        (
            "event.properties.x > 1",
            {"x": None},
            "event.properties.x was null, and > does not work with null and a number",
        ),
        (
            "event.properties.x > 1",
            {"x": True},
            "event.properties.x was true, and > does not work with true or false and a number",
        ),
        ("event.properties.x", {"x": "yes"}, "the condition gave text, not true or false"),
        ("event.properties.x && true", {"x": 3}, "event.properties.x was 3, and && does not work with these values"),
        (
            "timestamp(event.properties.x) > timestamp('2024-01-01T00:00:00Z')",
            {"x": "soon"},
            "String to Timestamp conversion failed",
        ),
    ],
)
def test_other_failures_are_no_match_with_a_reason(source: str, properties: dict[str, Any], error: str) -> None:
    assert compile_condition(source).evaluate(event(**properties), {}) == Outcome(False, error=error)


def test_what_is_no_json_is_no_match() -> None:
    condition = compile_condition("event.properties.x == 'a'")
    for value in ("\ud800", object(), math.nan):
        assert condition.evaluate(event(x=value), {}).matched is False


def test_paths_read() -> None:
    condition = compile_condition(
        "event.properties.revenue > 1 && has(customer.traits.plan) && 'vip' in customer.traits"
        " && event.properties.products.exists(p, p.price > 1) && event.properties.products[0].sku == customer['traits'].city"
    )
    assert condition.paths == {
        "event.properties.revenue", "customer.traits.plan", "customer.traits.vip", "event.properties.products", "customer.traits.city",
    }  # fmt: skip


def test_one_activation_serves_many_conditions() -> None:
    activation = bind(event(x=5), {"orders": 1})
    assert isinstance(activation, Activation)
    assert [
        compile_condition(f"event.properties.x > {n} && customer.orders == 1").evaluate(activation).matched
        for n in (4, 5)
    ] == [True, False]


def test_many_operands_are_fine() -> None:
    assert holds(" && ".join(["event.properties.x > 1"] * 70), x=2)
    assert holds(" || ".join(["event.properties.x < 1"] * 70 + ["true"]), x=2)


def test_deeply_nested_events_are_no_match() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert compile_condition("true").evaluate(deep, {}).error == "the event or the customer is nested too deeply"


def test_conditions_compare_by_their_source() -> None:
    assert compile_condition("true") == compile_condition("true")
    assert isinstance(compile_condition("true"), Condition)
