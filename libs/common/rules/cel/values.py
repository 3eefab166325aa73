"""The values that conditions see: JSON as CEL takes it, looked up by path, and in words."""

import json
from collections.abc import Iterator, Mapping

from libs.common.rules.cel.engine import Bound
from libs.common.rules.cel.engine import bind as bind_variables
from libs.common.rules.cel.names import EACH, Path

_LONGEST_SHOWN = 60
_TOO_DEEP = "the event or the customer is nested too deeply"


class Activation:
    """One event and its customer, made ready for any number of conditions. The mappings must not change meanwhile."""

    __slots__ = ("_extent", "bound", "error", "variables")

    def __init__(self, event: Mapping[str, object], customer: Mapping[str, object]) -> None:
        self.variables: Mapping[str, object] = {"event": event, "customer": customer}
        self.error: str | None = None
        self._extent: tuple[int, int, int] | None = None
        try:
            self.bound: Bound = bind_variables({"event": doubles(event), "customer": doubles(customer)})
        except RecursionError:
            self.error = _TOO_DEEP

    @property
    def extent(self) -> tuple[int, int, int]:
        """Number of values, length of all texts, and length of the longest list or map."""
        if self._extent is None:
            values = list(_every(self.variables))
            texts = sum(len(value) for value in values if isinstance(value, str))
            self._extent = (
                len(values),
                texts,
                max(len(value) for value in values if isinstance(value, list | dict | Mapping)),
            )
        return self._extent


def _every(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _every(item)
    elif isinstance(value, list):
        for item in value:
            yield from _every(item)


def doubles(mapping: Mapping[str, object]) -> dict[str, object]:
    """A copy in which every number is a float; one too large for it becomes infinite."""
    copy: dict[str, object] = {}
    for key, value in mapping.items():
        kind = type(value)
        if kind is str or kind is float:
            copy[key] = value
        elif kind is dict:
            copy[key] = doubles(value)  # type: ignore[arg-type]  # told by `kind`, faster than isinstance
        elif kind is int:
            copy[key] = _double(value)  # type: ignore[arg-type]
        elif kind is list:
            copy[key] = [_item(item) for item in value]  # type: ignore[attr-defined]
        else:
            copy[key] = value
    return copy


def _item(value: object) -> object:
    if type(value) is int:
        return _double(value)
    if isinstance(value, dict):
        return doubles(value)
    if isinstance(value, list):
        return [_item(item) for item in value]
    return value


def _double(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def absent_part(path: Path, variables: object) -> Path | None:
    """The shortest beginning of `path` that leads to nothing, or None when all of it is there."""
    value = variables
    for position, part in enumerate(path):
        if part == EACH and isinstance(value, list):
            rest = [absent_part(path[position + 1 :], item) for item in value]
            missing = next((found for found in rest if found is not None), None)
            return None if missing is None else (*path[: position + 1], *missing)
        if not _holds(value, part):
            return path[: position + 1]
        value = value[part]  # type: ignore[index]  # `_holds` knows that it can be
    return None


def _holds(value: object, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, Mapping) and part in value


def look_up(path: Path, variables: object) -> object:
    """The value at a path that is there; of a path through a list, the list."""
    value = variables
    for part in path:
        if part == EACH:
            break
        value = value[part]  # type: ignore[index]  # the caller has asked `absent_part`
    return value


def kind_in_words(value: object) -> str:
    """The kind of a JSON value as messages name it: 'a number', 'text', …"""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "a map"


def value_in_words(value: object) -> str:
    """A JSON value in a sentence: `29.33`, `'gold'`, `null`; long ones are cut."""
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return f"a list of {len(value)}"
    shown = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    shown = shown.encode(errors="replace").decode()
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
