"""Conditions on customers: windows over their events, and times that move with the clock."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.rules.cel.condition import ConditionError, Outcome, compile_condition
from libs.common.rules.cel.names import CUSTOMER
from libs.common.rules.cel.windows import Window


def customer(
    computed: dict[str, Any] | None = None, ago: dict[str, str] | None = None, **members: Any
) -> dict[str, Any]:
    return {"traits": {}, "computed": computed or {}, "ago": ago or {}, **members}


@pytest.mark.parametrize(
    ("source", "window"),
    [
        ("count('Order Completed', days=30) >= 3", Window("count", "Order Completed", None, timedelta(days=30))),
        ('count("A") > 0', Window("count", "A")),
        ("count('A', hours=48) > 0", Window("count", "A", None, timedelta(days=2))),
        ("sum('A', 'revenue', minutes=90) > 1", Window("sum", "A", "revenue", timedelta(minutes=90))),
        ("average( 'A' , 'x' ) * 2 > 1", Window("average", "A", "x")),
        (
            "count('A', where=\"event.properties.x == 'y'\", days=1) > 0",
            Window("count", "A", None, timedelta(days=1), "event.properties.x == 'y'"),
        ),
        ("first('A', days=7) == last('A', days=7)", Window("first", "A", None, timedelta(days=7))),
        ("customer.orders > 1 && !(count('It\\'s') == 0)", Window("count", "It's")),
    ],
)
def test_windows_are_found(source: str, window: Window) -> None:
    assert compile_condition(source, CUSTOMER).windows[0] == window


def test_a_window_has_one_key_however_it_is_written() -> None:
    texts = ("count('A', days=2) > 1", 'count( "A" ,hours=48)>1', "count('A', minutes=2880) > 1")
    assert {compile_condition(text, CUSTOMER).windows[0].key for text in texts} == {"count('A', days=2)"}


def test_a_condition_sees_the_values_of_windows() -> None:
    condition = compile_condition("count('A', days=2) * 2 > 5 && sum('A', 'x') < 1", CUSTOMER)
    computed = {"count('A', days=2)": 3, "sum('A', 'x')": 0.5}
    assert condition.evaluate({}, customer(computed)) == Outcome(True)
    assert condition.explain({}, customer(computed)) == (
        "true because count('A', days=2) * 2 > 5 (it was 3) and sum('A', 'x') < 1 (it was 0.5)"
    )


def test_ago_is_compared_with_times() -> None:
    condition = compile_condition("last('A') < ago(days=14) || customer.first_seen > ago(hours=1)", CUSTOMER)
    assert condition.turns == [
        (("customer", "computed", "last('A')"), timedelta(days=14)),
        (("customer", "first_seen"), timedelta(hours=1)),
    ]
    ago = {"ago(days=14)": "2026-03-02T12:00:00+00:00", "ago(hours=1)": "2026-03-16T11:00:00+00:00"}
    long_ago = customer({"last('A')": "2026-03-02T11:59:59.999999+00:00"}, ago, first_seen="2026-01-01T00:00:00+00:00")
    assert condition.evaluate({}, long_ago).matched
    never = customer({"last('A')": None}, ago, first_seen="2026-01-01T00:00:00+00:00")
    assert not condition.evaluate({}, never).matched


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("count('A', day=3) > 1", "count(…) takes no day here, only one of days, hours, minutes, and where"),
        ("count('A', days=3, hours=1) > 1", "count(…) takes no hours here"),
        ("count('A', days=0) > 1", "at least a minute"),
        ("count('A', days=99999) > 1", "at most 3,650 days"),
        ("count('A', days=1.5) > 1", "with a whole number"),
        ("count('A', days=customer.orders) > 1", "with a whole number"),
        ("count(customer.traits.x) > 1", "the event's name must be text in quotes here"),
        ("count() > 1", "count(…) takes the event's name first, in quotes"),
        ("sum('A') > 1", "sum(…) takes the event's name and the property's name first, in quotes"),
        ("count('A', 'x') > 1", "count(…) takes the event's name first, in quotes"),
        (
            "count('A', where='event.propertes.x > 1') > 1",
            "where: event has no propertes: did you mean event.properties?",
        ),
        ("count('A', where='customer.orders > 1') > 1", "where: unknown name customer"),
        ("count('A', where='count(\\'B\\') > 1') > 1", "where: count(…) over events is for conditions of segments"),
        ("count('A') = 3", "to compare, write =="),
        ("ago(days=3) == customer.last_seen", "compare ago(…) with a time"),
        ("customer.orders > ago()", "ago(…) takes a duration"),
        ("count('A') > ago(days=1)", "compare ago(…) with first(…), last(…) or a member"),
        ("event.name == 'A'", "this condition is about customer alone; for events write count("),
        ("'vip' in customer.segments", "customer has no segments"),
        ("customer.computed.x > 1", "customer has no computed"),
        ("size(customer.traits, a=3) > 1", "size takes 1 argument(s), not 2"),
        ("size(a=customer.traits) > 1", "this takes no a=…"),
        ("plan == 'gold'", "unknown name plan: write customer.traits.plan"),
    ],
)
def test_what_is_wrong_is_said(source: str, said: str) -> None:
    with pytest.raises(ConditionError) as raised:
        compile_condition(source, CUSTOMER)
    assert said in raised.value.message


def test_rules_on_events_have_no_windows() -> None:
    for source in ("count('A') > 1", "customer.last_seen < ago(days=3)"):
        with pytest.raises(ConditionError, match="for conditions of segments"):
            compile_condition(source)
    assert compile_condition("'vip' in customer.segments").evaluate({}, {"segments": ["vip"]}).matched
