"""Validation of a programme's sections, beyond their types: what each feature's `faults` says."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from libs.common.rules.cel.condition import ConditionError, compile_condition
from services.rewards.rules import Identified


class Fault(NamedTuple):
    """What is wrong with a programme, and where: `earning[0].when`."""

    at: str
    message: str
    where: Mapping[str, object]


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
