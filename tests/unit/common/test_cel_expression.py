"""Expressions give any value that JSON has; a wrong one names its place, a failing one says why."""

from typing import Any

import pytest

from libs.common.rules.cel.expression import Absent, Failed, Function, Language
from libs.common.rules.cel.tokens import MAX_LENGTH, ConditionError


def half(value: float) -> float:
    if value < 0:
        raise ValueError("half takes no debts")
    return value / 2


LANGUAGE = Language(("payload", "item"), {"half": Function(half, [("whole",), ("fraction",)])})
PAYLOAD = {"id": 12345678901234567, "at": 0, "a": {"b": [1, "x", None, 2.5]}, "name": "Ann", "none": None}


def value(source: str) -> Any:
    return LANGUAGE.compile(source).evaluate(LANGUAGE.bind({"payload": PAYLOAD, "item": 3}))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("payload.id", 12345678901234567),
        ("string(payload.id)", "12345678901234567"),
        ("payload.a.b", [1, "x", None, 2.5]),
        ("{'who': payload.name.lowerAscii(), 'n': [item]}", {"who": "ann", "n": [3]}),
        ("timestamp(payload.at)", "1970-01-01T00:00:00+00:00"),
        ("half(item) + half(2.0)", 2.5),
        ("payload.none", None),
        ("has(payload.name) && item > 2.5", True),
    ],
)
def test_values(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize("source", ["payload.x", "payload.none.x", "payload.a.b[9]", "half(payload.x)"])
def test_what_is_not_there(source: str) -> None:
    with pytest.raises(Absent, match="is not there"):
        value(source)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("item / 2.0", "write double"),
        ("half(-1)", "half takes no debts"),
        ("payload.name + 1", "does not work with text and a number"),
        ("b'a'", "JSON does not have"),
        ("1 / (item - 3)", "divi"),
        ("[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c,"
         " [0,1,2,3,4,5,6,7,8,9].map(d, [0,1,2,3,4,5,6,7,8,9].map(e, a)))))", "too many steps"),
    ],
)  # fmt: skip
def test_what_fails_says_why(source: str, says: str) -> None:
    with pytest.raises(Failed, match=says) as failed:
        value(source)
    assert not isinstance(failed.value, Absent)


@pytest.mark.parametrize(
    ("source", "column"), [("payload.", 9), ("nothing", 1), ("half('a')", 5), ("a" * (MAX_LENGTH + 1), 2001)]
)
def test_what_does_not_compile_names_the_place(source: str, column: int) -> None:
    with pytest.raises(ConditionError) as refused:
        LANGUAGE.compile(source)
    assert (refused.value.line, refused.value.column) == (1, column)
