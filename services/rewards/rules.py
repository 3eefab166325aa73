"""What the sections of a programme have in common: ids, names, conditions, and rules found by the name of an event."""

from collections.abc import Iterable
from datetime import UTC, tzinfo
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.written import Written
from libs.common.rules.cel.condition import MAX_LENGTH, Condition, compile_condition
from libs.common.rules.rule_event import Scope

_ID = Written(
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    "an id has 1 to 64 letters (a to z), digits, `_`, `.` and `-`, and begins with a letter or a digit, such as two-per-euro",
)
Id = Annotated[str, _ID, Field(examples=["two-per-euro"])]
Name = Annotated[str, Field(min_length=1, max_length=120)]
EventName = Annotated[str, Field(min_length=1, max_length=256, description="what must happen, as marketers call it")]
When = Annotated[
    str | None,
    Field(max_length=MAX_LENGTH, description="CEL over `event` and `customer`; without one, always"),
]

T = TypeVar("T")


class Workspace(NamedTuple):
    """What holds for all programmes: the days are those of `zone`, and customers lie in so many `partitions`."""

    zone: tzinfo = UTC
    partitions: int = 1


UTC_ALONE = Workspace()


class Section(BaseModel):
    """A part of a section of the programme, as marketers write it."""

    model_config = ConfigDict(extra="forbid")


class Identified(Section):
    """A part of a section that has an id of its own."""

    id: Id


def condition(source: str | None) -> Condition | None:
    """A condition, compiled; None when there is none."""
    return None if source is None else compile_condition(source)


def holds(condition: Condition | None, scope: Scope) -> bool:
    """Whether a condition holds; one that cannot be evaluated does not."""
    return condition is None or condition.evaluate(scope.activation).matched


def by_name(named: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """Rules by the name of what they are on."""
    found: dict[str, list[T]] = {}
    for name, each in named:
        found.setdefault(name, []).append(each)
    return found
