"""What the sections of a programme have in common: ids, names, conditions, and rules found by the name of an event."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.written import Written
from libs.common.rules.cel.condition import MAX_LENGTH, Condition, ConditionError, compile_condition
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


class Section(BaseModel):
    """A part of a section of the programme, as marketers write it."""

    model_config = ConfigDict(extra="forbid")


class Fault(NamedTuple):
    """What is wrong with a programme, and where: `earning[0].when`."""

    at: str
    message: str
    where: Mapping[str, object]


class Identified(Section):
    """A part of a section that has an id of its own."""

    id: Id


def repeated_ids(kind: str, listed: Sequence[Identified]) -> Iterator[Fault]:
    """Ids that stand more than once in a section."""
    seen: Counter[str] = Counter()
    for index, item in enumerate(listed):
        if seen[item.id]:
            yield Fault(f"{kind}[{index}].id", f"the id {item.id} is taken by an earlier one", {"id": item.id})
        seen[item.id] += 1


def wrong_condition(at: str, id: str, source: str | None) -> Iterator[Fault]:
    """What is wrong with a condition, with its line and column."""
    if source is None:
        return
    try:
        compile_condition(source)
    except ConditionError as error:
        message = f"the condition of {id} is wrong at line {error.line}, column {error.column}: {error.message}"
        yield Fault(f"{at}.when", message, {"id": id, "line": error.line, "column": error.column})


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
