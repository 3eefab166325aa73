"""Expressions: CEL that gives any value, over variables and functions of the caller's own.

    language = Language(["payload"], {"major": Function(major, [("number", "text")])})
    expression = language.compile("major(payload.amount, payload.currency)")
    expression.evaluate(language.bind({"payload": {"amount": 2999, "currency": "usd"}}))      # 29.99

Unlike conditions, expressions see numbers as JSON has them: `2999` is whole, `29.99` is not, and arithmetic does not mix
them. The library's budget of iterations bounds an evaluation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from libs.common.rules.cel.engine import Bound, in_words, refused
from libs.common.rules.cel.tokens import MAX_LENGTH, ConditionError

_ABSENCES = ("Key not found", "SELECT to non-message", "Index error")
_TYPES = {
    "whole": cel.Type.INT,
    "fraction": cel.Type.DOUBLE,
    "text": cel.Type.STRING,
    "list": cel.Type.List(cel.Type.DYN),
}


class Failed(Exception):
    """An evaluation that gave no value; the message is a sentence fragment."""


class Absent(Failed):
    """What the expression reads is not there."""


@dataclass(frozen=True)
class Function:
    """A function that expressions may call. `takes` lists the types of arguments (`whole`, `fraction`, `text`, `list`) that
    it is declared for; it gives a fraction. A ValueError of `call` fails the evaluation with its message."""

    call: Callable[..., float]
    takes: Sequence[tuple[str, ...]]


class Language:
    """What expressions may name. Thread-safe once made."""

    def __init__(self, variables: Iterable[str], functions: Mapping[str, Function]) -> None:
        declared = [
            cel.FunctionDecl(
                name,
                [
                    cel.Overload(
                        f"{name}_{'_'.join(types)}",
                        cel.Type.DOUBLE,
                        [_TYPES[type] for type in types],
                        False,
                        function.call,
                    )
                    for types in function.takes
                ],
            )
            for name, function in functions.items()
        ]
        self._environment = cel.NewEnv(
            variables=dict.fromkeys(variables, cel.Type.DYN),
            extensions=[ext_strings.ExtStrings()],
            functions=declared,
        )

    def compile(self, source: str) -> "Expression":
        """Compile an expression. Raises ConditionError with line and column when it is none."""
        if len(source) > MAX_LENGTH:
            raise ConditionError.at(f"the expression is longer than {MAX_LENGTH:,} characters", source, MAX_LENGTH)
        try:
            return Expression(source, self._environment.compile(source).eval)
        except RuntimeError as error:
            raise refused(str(error), source, lambda offset: (source, offset)) from None

    def bind(self, variables: Mapping[str, object]) -> Bound:
        """Give JSON values to the variables, for any number of evaluations."""
        return cast(Bound, self._environment.Activation(variables))


@dataclass(frozen=True)
class Expression:
    """A compiled expression; made by `Language.compile`."""

    source: str
    _evaluate: Callable[[Bound], Any] = field(repr=False, compare=False)

    def evaluate(self, bound: Bound) -> Any:
        """Its value as JSON has it; a point in time is ISO 8601. Raises Absent or Failed."""
        try:
            result = self._evaluate(bound)
            value = result.plain_value()
        except Exception as error:  # the library raises RuntimeError, and others for what is no JSON
            raise Failed(in_words(str(error))) from None
        if str(result.type()) == "ERROR":
            message = str(value)
            if any(absence in message for absence in _ABSENCES):
                raise Absent(f"{self.source} is not there")
            raise Failed(_in_words(message))
        return _json(value)


def _in_words(message: str) -> str:
    if "overload" in message and "int64" in message and "double" in message:
        return "a whole number and a fraction do not mix: write double(…) around the whole one"
    return in_words(message)


def _json(value: Any) -> Any:
    match value:
        case None | bool() | str() | int() | float():
            return value
        case datetime():
            return value.isoformat()
        case list():
            return [_json(item) for item in value]
        case dict():
            return {str(name): _json(item) for name, item in value.items()}
    raise Failed("it gives a value that JSON does not have")
