"""Why a condition held or did not, in a sentence."""

from typing import Any

from libs.common.rules.cel.condition import compile_condition


def event(**properties: Any) -> dict[str, Any]:
    return {"name": "Order Completed", "properties": properties}


def explained(source: str, **properties: Any) -> str:
    return compile_condition(source).explain(event(**properties), {"orders": 3})


def test_explains_with_the_values_met() -> None:
    rule = "event.name == 'Order Completed' && event.properties.revenue > 50 && customer.orders >= 10"
    assert explained(rule, revenue=29.33) == (
        "false because event.properties.revenue > 50 (it was 29.33) and customer.orders >= 10 (it was 3)"
    )
    assert explained("event.properties.revenue > 50", revenue=80).startswith(
        "true because event.properties.revenue > 50 (it was 80)"
    )
    assert explained("event.properties.revenue > 50") == "false because event.properties.revenue > 50 (it is absent)"
    assert explained("event.properties.revenue > 50", revenue="x") == (
        "false because event.properties.revenue > 50 (it was 'x', > does not work with text and a number)"
    )
    assert explained("event.properties.a > 50 || customer.orders > 5", a=1) == (
        "false because none of these holds: event.properties.a > 50 (it was 1), customer.orders > 5 (it was 3)"
    )
    assert (
        explained("event.properties.a > 50 || customer.orders > 2", a=1)
        == "true because customer.orders > 2 (it was 3)"
    )
    assert explained("event.properties.a > event.properties.b", a=1) == (
        "false because event.properties.a > event.properties.b (event.properties.a was 1, event.properties.b is absent)"
    )


def test_operands() -> None:
    first, second = compile_condition("event.properties.a > 1 &&\n (has(event.properties.b) || false)").operands(
        event(a=2), {}
    )
    assert (first.text, first.value, first.values, first.absent) == (
        "event.properties.a > 1",
        True,
        (("event.properties.a", 2),),
        (),
    )
    assert (second.text, second.value, second.absent) == (
        "(has(event.properties.b) || false)",
        False,
        ("event.properties.b",),
    )
