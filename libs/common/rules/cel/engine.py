"""The CEL library behind our own words: the environment, compiling, and what its errors mean to a person."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from libs.common.rules.cel.tokens import ConditionError

Bound = object
"""Variables that were given to the library once, for any number of evaluations."""


class Value(Protocol):
    """What an evaluation gave; an error is a value too, as text."""

    def value(self) -> object: ...
    def type(self) -> object: ...


Evaluate = Callable[[Bound], Value]

_MAP = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ENVIRONMENT = cel.NewEnv(variables={"event": _MAP, "customer": _MAP}, extensions=[ext_strings.ExtStrings()])
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_OVERLOAD = re.compile(
    r"[Nn]o matching overloads?(?: found)? ?(?:for|:) '?([^'(]+?)'?(?: applied to)? ?'?(?:\((.*)\))?'?$"
)
_TYPES = {"double": "a number", "int": "a number", "int64": "a number", "uint": "a number", "string": "text", "dyn": "a property",
          "bool": "true or false", "null": "null", "null_type": "null", "bytes": "bytes", "list": "a list", "map": "a map",
          "google.protobuf.Timestamp": "a point in time", "google.protobuf.Duration": "a duration", "timestamp": "a point in time",
          "duration": "a duration"}  # fmt: skip


def bind(variables: Mapping[str, object]) -> Bound:
    """Gives `event` and `customer` to the library; they are read when a condition asks for them."""
    return cast(Bound, _ENVIRONMENT.Activation(variables))


def compile_text(text: str, place: Callable[[int], tuple[str, int]]) -> Evaluate:
    """Compiles adapted text. `place` turns an offset in it into the condition's source and an offset there.

    Raises ConditionError when it does not compile, or gives neither true or false nor a property.
    """
    try:
        program = _ENVIRONMENT.compile(text)
    except RuntimeError as error:
        raise refused(str(error), text, place) from None
    gives = program.return_type().name()
    if gives.lower() not in ("bool", "dyn"):
        source, _ = place(0)
        raise ConditionError.at(f"the condition gives {type_in_words(gives.lower())}, not true or false", source, 0)
    return cast(Evaluate, program.eval)


def constant(text: str) -> str | None:
    """The value of a literal as CEL reads it, if it is text."""
    value: Any = _ENVIRONMENT.compile(text).eval().value()
    return value if isinstance(value, str) else None


def pattern_error(text: str) -> str | None:
    """Why the literal `text` is no regular expression (RE2), or None if it is one."""
    value: Any = _ENVIRONMENT.compile(f"''.matches({text})").eval().value()
    return None if isinstance(value, bool) else str(value).partition("invalid regular expression: ")[2]


def type_in_words(name: str) -> str:
    """`double` → 'a number'."""
    return _TYPES.get(name) or _TYPES.get(name.partition("(")[0], name)


def overload(message: str) -> tuple[str, list[str]] | None:
    """The operator or function, and the types it was applied to in words, of CEL's 'no matching overload'."""
    match = _OVERLOAD.search(message)
    if match is None:
        return None
    operator = match[1].strip("_@").replace("?_:", "?:").replace("[_]", "[…]")
    types = re.findall(r"[^,()]+(?:\([^)]*\))?", match[2] or "")
    return operator, [type_in_words(name.strip()) for name in types]


def in_words(message: str) -> str:
    """An error of the library as a sentence fragment."""
    if (mismatch := overload(message)) is not None:
        operator, types = mismatch
        return (
            f"{operator} does not work with {' and '.join(types)}"
            if types
            else f"{operator} does not work with these values"
        )
    if "Iteration budget exceeded" in message:
        return "it takes too many steps"
    if "recursion" in message:
        return "nested too deeply"
    if (unknown := re.search(r"undeclared reference to '([^']*)'", message)) is not None:
        return f"{unknown[1]} is unknown here, or takes other arguments"
    return re.sub(r"^[A-Z_]+: | \(in container ''\)| \[[A-Z_]+\]$", "", message)


def refused(report: str, text: str, place: Callable[[int], tuple[str, int]]) -> ConditionError:
    """The library's report on text that does not compile, as an error at its place in the source."""
    found = _PLACE.search(report)
    line, column, message = (int(found[1]), int(found[2]), found[3]) if found else (1, 1, report)
    offset = 0
    if line > 0:
        offset = sum(len(row) for row in text.split("\n")[: line - 1]) + line - 1 + column - 1
    source, at = place(min(offset, len(text)))
    return ConditionError.at(in_words(message), source, at)
