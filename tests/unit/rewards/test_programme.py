"""What a programme must be to be kept, and what a marketer is told otherwise."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.errors import Invalid
from services.rewards.programme import Programme, refuse_faulty

RULE: dict[str, Any] = {"id": "r", "earn": {"points": 1}}


def faults(**parts: Any) -> list[dict[str, Any]]:
    with pytest.raises(Invalid) as caught:
        refuse_faulty(Programme.model_validate({"name": "Club", **parts}))
    assert caught.value.detail.startswith("The programme cannot be kept: ")
    errors: list[dict[str, Any]] = caught.value.members["errors"]
    return errors


def test_a_condition_that_does_not_compile_is_named_with_its_place() -> None:
    (fault,) = faults(earning=[RULE, {**RULE, "id": "s", "when": "event.name ==\n  'x' && custmer.orders > 1"}])
    assert fault["at"] == "earning[1].when"
    assert (fault["id"], fault["line"], fault["column"]) == ("s", 2, 10)
    assert "the condition of s is wrong at line 2, column 10" in fault["message"]


def test_every_fault_is_told_at_once() -> None:
    level = {"id": "l", "name": "L", "points": 5}
    badge = {"id": "b", "name": "B", "when": "1 +"}
    found = faults(earning=[RULE, RULE], levels=[level, level], badges=[badge])
    assert [fault["at"] for fault in found] == ["earning[1].id", "badges[0].when", "levels[1].id", "levels"]


@pytest.mark.parametrize(
    ("rule", "at", "said"),
    [
        ({"on": "Signed Up", "earn": {"per": 1, "points": 1, "of": "revenue"}}, "earning[0].earn.of", "only Order Completed has a revenue"),
        ({"on": "Points Credited"}, "earning[0].on", "would start itself"),
        ({"on": "Order Refunded"}, "earning[0].on", "takes points back by itself"),
        ({"effective_from": "2026-02-01T00:00:00Z", "effective_to": "2026-02-01T00:00:00Z"}, "earning[0].effective_to", "before it begins"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense(rule: dict[str, Any], at: str, said: str) -> None:
    (fault,) = faults(earning=[{**RULE, **rule}])
    assert fault["at"] == at
    assert said in fault["message"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"earning": [{"id": "r", "earn": {"points": 1, "per": 1}}]}, "per and of go together"),
        (
            {"earning": [{"id": "r", "earn": {"points": 1, "per": 1, "of": "weight"}}]},
            "weight is no amount that is known",
        ),
        ({"earning": [{"id": "r", "earn": {"points": 0}}]}, "greater than 0"),
        ({"earning": [{"id": "r", "earn": {"points": 1}, "effective_from": "2026-02-01T00:00:00"}]}, "timezone"),
        ({"earning": [{"id": "no spaces", "earn": {"points": 1}}]}, "an id has 1 to 64 letters"),
        ({"badges": [{"id": "b", "name": "B", "cuont": 3}]}, "cuont"),
        ({"badges": [{"id": "b", "name": "B", "count": 0}]}, "greater than or equal to 1"),
    ],
)
def test_values_that_cannot_be(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Programme.model_validate({"name": "Club", **parts})
