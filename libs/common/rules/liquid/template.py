"""Texts of messages: Liquid templates over a customer and an event, which evaluate nothing and are bounded.

    template = compile_template("Hello {{ customer.traits.first_name | default: 'friend' }}!")
    template.render({"customer": customer, "event": event}).text

A value that is absent, null or blank, and has no `default`, withholds the whole text (`Rendered.missing`): never
"Hello ,". Testing it with `if` is fine. Templates read no clock, so that the same record always gives the same text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from liquid import BoundTemplate, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions.logical import BooleanExpression
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from libs.common.errors import Invalid
from libs.common.rules.liquid.environment import CLOCK, HTML, MAX_ITERATIONS, TEXT, MissingValue, blank_aware

MAX_SOURCE = 16 * 1024
"""Characters that a template may have."""


class TemplateError(Invalid):
    """A template that cannot be saved: what is wrong, and where (line and column count from 1, in characters)."""

    def __init__(self, message: str, line: int, column: int | None = None) -> None:
        place = f"line {line}" if column is None else f"line {line}, column {column}"
        super().__init__(f"{message} ({place})", line=line, column=column)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered template: `text`, or why there is none."""

    text: str | None
    missing: str | None = None
    """The value that was needed and not there: `customer.traits.first_name`."""
    error: str | None = None
    """Any other reason, such as a limit that was reached, as a sentence fragment."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template; made by `compile_template`."""

    source: str
    variables: frozenset[str]
    """Dotted paths that it uses: `customer.traits.first_name`."""
    _template: BoundTemplate = field(repr=False, compare=False)

    def render(self, variables: Mapping[str, object]) -> Rendered:
        """The text for `variables` (JSON values). Never raises: a template that fails gives no text and the reason."""
        try:
            return Rendered(self._template.render(variables))
        except MissingValue as missing:
            return Rendered(None, missing=missing.path)
        except LiquidError as error:
            return Rendered(None, error=str(error.message))
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            return Rendered(None, error=f"{type(error).__name__}: {error}")


def compile_template(source: str, *, escape_html: bool = False) -> Template:
    """Compiles a template; values are HTML-escaped if `escape_html`. Raises TemplateError with the place of the error."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"a template has at most {MAX_SOURCE:,} characters, this has {len(source):,}", 1)
    environment = HTML if escape_html else TEXT
    try:
        template = environment.from_string(source)
    except LiquidError as error:
        raise _refused(str(error.message), source, error.token.start_index if error.token else -1) from None
    analysis = template.analyze(include_partials=False)
    for name, spans in analysis.filters.items():
        if name not in environment.filters:
            near = get_close_matches(name, environment.filters, 1)
            raise _refused(
                f"unknown filter {name}" + (f": did you mean {near[0]}?" if near else ""), source, spans[0].index
            )
    for name in CLOCK & analysis.globals.keys():
        raise _refused(f"{name} is unknown: templates read no clock", source, analysis.globals[name][0].span.index)
    for expression in _expressions(template.nodes, RenderContext(template)):
        if isinstance(expression, RangeLiteral):
            _check_range(expression, source)
        if isinstance(expression, BooleanExpression):
            expression.expression = blank_aware(expression.expression)
    paths = (variable.segments for uses in analysis.globals.values() for variable in uses)
    return Template(source, frozenset(_dotted(path) for path in paths), template)


def _refused(message: str, source: str, offset: int) -> TemplateError:
    at = min(offset, len(source)) if offset >= 0 else len(source)
    return TemplateError(message, source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at))


def _dotted(segments: list[Any]) -> str:
    names: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        names.append(segment)
    return ".".join(names)


def _expressions(nodes: list[Node], context: RenderContext) -> Iterator[Expression]:
    for node in nodes:
        for expression in node.expressions():
            yield from _with_parts(expression)
        yield from _expressions(list(node.children(context, include_partials=False)), context)


def _with_parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    for part in expression.children():
        yield from _with_parts(part)


def _check_range(expression: RangeLiteral, source: str) -> None:
    start, stop = expression.start, expression.stop
    fixed = isinstance(start, IntegerLiteral) and isinstance(stop, IntegerLiteral)
    if not fixed or stop.value - start.value >= MAX_ITERATIONS:  # type: ignore[attr-defined]  # told by `fixed`
        message = f"a range takes two whole numbers, at most {MAX_ITERATIONS:,} apart"
        raise _refused(message, source, expression.token.start_index)
