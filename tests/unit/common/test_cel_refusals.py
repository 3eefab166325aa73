"""Conditions that are refused at save, with the place, and hostile ones that are not: they end soon."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.rules.cel.condition import ConditionError, compile_condition


def event(**properties: Any) -> dict[str, Any]:
    return {"name": "Order Completed", "properties": properties}


def refused(source: str) -> ConditionError:
    with pytest.raises(ConditionError) as caught:
        compile_condition(source)
    return caught.value


@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("", 1, 1, "empty"),
        ("event.properties.x >", 1, 21, "ends too early"),
        ("event.properties.x > 1 and true", 1, 24, "write &&"),
        ("event.properties.x = 1", 1, 20, "write =="),
        ("event.name == 'Order", 1, 15, "closing quote"),
        ("(event.properties.x > 1", 1, 24, ") is missing"),
        ("event.name == 'é' &&\n  revenue > 1", 2, 3, "event.properties.revenue"),
        ("evnt.name == 'x'", 1, 1, "did you mean event?"),
        ("event.propertes.revenue > 5", 1, 1, "did you mean event.properties?"),
        ("event.revenue > 5", 1, 1, "write event.properties.revenue"),
        ("event.name == 'x' && has(customer.plan)", 1, 26, "write customer.traits.plan"),
        ("event.properties.x > 1 && customer['firstseen'] != ''", 1, 27, "did you mean customer.first_seen?"),
        ("event.name == 'é' && nofun(1)", 1, 22, "unknown function nofun"),
        ("event.name.lowerAsci() == 'x'", 1, 12, "did you mean lowerAscii?"),
        ("event.properties.l.map(x, x + x) == []", 1, 20, "exists"),
        ("event.name.contains() && true", 1, 12, "takes 1"),
        ("event.properties.x * 2 > 100 && size(event.name) > 'a'", 1, 50, "> does not work with a number and text"),
        ("event.properties.x > 10 &&\n 'é' + 1 == 'a'", 2, 6, "+ does not work with text and a number"),
        ("event.properties.x % 2 == 0", 1, 20, "int(…)"),
        ("1 + 1", 1, 1, "gives a number, not true or false"),
        ("'a'", 1, 1, "gives text"),
        ("event.properties.x > 1" + "0" * 400, 1, 22, "too large"),
        ("event.name.matches('(')", 1, 20, "regular expression"),
        ("event.name.matches(event.properties.x)", 1, 20, "in quotes"),
        ("has(event)", 1, 5, "has(…) takes a path"),
        ("event.properties.l.exists(event, true)", 1, 27, "is taken"),
        ("Order{id: 1} == 3", 1, 6, "{ is unexpected"),
        ("event.name == 'x' " + " " * 2000, 1, 2001, "2,000 characters"),
    ],
)
def test_refused_at_save_with_the_place(source: str, line: int, column: int, says: str) -> None:
    error = refused(source)
    assert (error.line, error.column) == (line, column)
    assert says in error.message
    assert error.status == 422


@given(source=st.text(alphabet="event.props()[]{}&|!<>=+-*/%?:,'\"\\ 0123456789xu\n", max_size=60))
def test_any_text_compiles_or_is_refused_with_a_place(source: str) -> None:
    try:
        compile_condition(source)
    except ConditionError as error:
        refusal = error
    else:
        return
    lines = source.split("\n")
    assert 1 <= refusal.line <= len(lines)
    assert 1 <= refusal.column <= len(lines[refusal.line - 1]) + 1


def _nested(source: str, levels: int) -> str:
    inner = "true"
    for level in range(levels):
        inner = f"{source}.all(x{level}, {inner})"
    return inner


LIST = "event.properties.l"
HOSTILE = [
    _nested("[1,2,3,4,5,6,7,8,9,10]", 8),
    _nested(LIST, 6),
    f"{LIST}.all(x, !(-1 in {LIST}))",
    f"{LIST}.all(x, {LIST} == {LIST})",
    f"{LIST}.all(x, event.properties.s.contains(event.properties.t) || true)",
    f"{LIST}.all(x, event.properties.s.matches('(a|aa)+$') || true)",
    "event.properties.s.split('').all(x, event.properties.s.split('').all(y, x == y))",
    " && ".join(["event.properties.s.matches('(a*)*b') || true"] * 40),
    f"{LIST}.all(x, event.properties.s + event.properties.s + event.properties.s != '')",
]


@pytest.mark.timeout(20)  # far above what a bounded evaluation takes, far below what an unbounded one would
@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_rules_end_soon(source: str) -> None:
    condition = compile_condition(source)
    outcome = condition.evaluate(event(l=list(range(8000)), s="a" * 16_000, t="a" * 8_000 + "b"), {})
    assert outcome.matched or outcome.error


@pytest.mark.parametrize(
    "source",
    [
        "(" * 40 + "true" + ")" * 40,
        "!" * 40 + "true",
        "1" + "+1" * 900 + " > 0",
        "event" + ".a" * 900,
        "[" * 200 + "]" * 200,
        _nested(LIST, 30),
        "true" + " ? true : true" * 100,
        "size(" * 60 + "event" + ")" * 60,
        f"size({LIST}.map(x, {LIST}.map(y, x + y))) > 0",
        "event.name" + ".replace('a', 'aaaaaaaaaa')" * 20 + " == ''",
        "event.name.matches('((a{1,99}){1,99}){1,99}')",
    ],
)
def test_what_could_explode_is_refused_at_save(source: str) -> None:
    refused(source)
