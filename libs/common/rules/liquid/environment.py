"""How templates are read: values that are not there, and the limits of a rendering."""

from collections.abc import Callable
from typing import NoReturn, TextIO

from liquid import BoundTemplate, Environment, RenderContext, Token, Undefined
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.logical import (
    EqExpression,
    LogicalAndExpression,
    LogicalNotExpression,
    LogicalOrExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.token import TOKEN_EXPRESSION
from liquid.undefined import UNDEFINED

MAX_OUTPUT = 64 * 1024
"""Bytes that a rendered text may have."""
MAX_ITERATIONS = 1_000
"""Runs of a loop, nested loops multiplied; also the longest `(1..n)`."""
CLOCK = frozenset({"now", "today"})
"""What other Liquids read the clock by."""
_MAX_VALUE = 4 * MAX_OUTPUT  # characters, elements or bits of any value on the way
_MAX_WORK = 10_000_000  # about 10 ns each


class MissingValue(Exception):
    """Ends a rendering: the text needs the value at `path`, which is not there."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _Missing(Undefined):
    """Stands for a value that is absent, null or blank: false in `if`, replaced by `default`, fatal in the text."""

    __slots__ = ()
    force_liquid_default = True

    def _raise(self, *_: object) -> NoReturn:
        raise MissingValue(self.name)

    __str__ = __len__ = __iter__ = __getitem__ = __int__ = __reversed__ = _raise


class _Equal(EqExpression):
    """`==` for which a missing value equals nil, '', blank and empty."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        left, right = self.left.evaluate(context), self.right.evaluate(context)
        if isinstance(left, _Missing) or isinstance(right, _Missing):
            other = right if isinstance(left, _Missing) else left
            return other is None or other == "" or isinstance(other, _Missing | Blank | Empty)
        return super().evaluate(context)


def blank_aware(expression: Expression) -> Expression:
    """The same test, with missing values equal to nil, '', blank and empty."""
    match expression:
        case EqExpression():
            return _Equal(expression.token, expression.left, expression.right)
        case NeExpression():
            return LogicalNotExpression(expression.token, _Equal(expression.token, expression.left, expression.right))
        case LogicalAndExpression() | LogicalOrExpression():
            expression.left = blank_aware(expression.left)
            expression.right = blank_aware(expression.right)
    return expression


class _Context(RenderContext):
    __slots__ = ("work",)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        self.spend(50)
        known = self.locals.get(str(path[0]))
        if isinstance(known, _Missing):
            return known
        value = super().get(path, token=token, default=default)
        own = len(path) == 1 and path[0] in self.locals
        blank = isinstance(value, str) and not value.strip() and not own
        if value is None or blank or isinstance(value, Undefined):
            return _Missing(_dotted(path), token=token)
        return value

    def spend(self, work: int) -> None:
        """Counts work done, and ends a rendering that takes too much of it."""
        self.work = getattr(self, "work", 0) + work
        if self.work > _MAX_WORK:
            raise LiquidError("the template takes too many steps", token=None)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        applied = super().filter(name, token)

        def bounded(value: object, *arguments: object, **named: object) -> object:
            if name == "default":
                return applied(value, *arguments, **named)
            for given in (value, *arguments, *named.values()):
                if isinstance(given, _Missing):
                    return given
            self.spend(200 + _size(value) * (_size(value) if name == "uniq" else 1))
            if name == "date" and value in CLOCK:
                raise LiquidError("templates read no clock", token=token)
            _check_size(_growth(name, value, arguments))
            result = applied(value, *arguments, **named)
            _check_size(_size(result))
            return result

        return bounded


def _dotted(path: list[object]) -> str:
    return "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path).removeprefix(".")


def _size(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str | list | tuple | dict | range) else 1


def _growth(name: str, value: object, arguments: tuple[object, ...]) -> int:
    """How long the result of a filter will be that can multiply lengths."""
    if name == "replace" and len(arguments) > 1:
        text, old, new = str(value), str(arguments[0]), str(arguments[1])
        return len(text) + text.count(old) * len(new)
    if name == "join" and isinstance(value, list | tuple | range):
        between = len(str(arguments[0])) if arguments else 1
        return sum(between + (len(item) if isinstance(item, str) else 20) for item in value)
    return 0


def _check_size(size: int) -> None:
    if size > _MAX_VALUE:
        raise LiquidError("a value in the template grows too long", token=None)


class _OutputNode(OutputNode):
    """Output that never leaves a hole: a path whose filters give nothing is a missing value too."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        expression = self.expression
        if isinstance(expression, FilteredExpression) and isinstance(expression.left, Path):
            value = expression.evaluate(context)
            defaulted = any(each.name == "default" for each in expression.filters or ())
            own = expression.left.head() in context.locals
            if (value is None or (value == "" and not own)) and not defaulted:
                raise MissingValue(_dotted(list(expression.left.path)))
            if isinstance(value, dict):
                raise LiquidError(f"{_dotted(list(expression.left.path))} is no single value", token=self.token)
        return super().render_to_output(context, buffer)


class _EchoNode(_OutputNode, EchoNode):
    __slots__ = ()


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _EchoNode


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    template_class = _Template
    loop_iteration_limit = MAX_ITERATIONS
    local_namespace_limit = MAX_OUTPUT
    output_stream_limit = MAX_OUTPUT
    context_depth_limit = 30
    block_nesting_limit = 15

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(undefined=_Missing, autoescape=autoescape)
        for tag in ("include", "render"):
            del self.tags[tag]
        del self.filters["safe"]
        self.add_tag(_Output)
        self.add_tag(_Echo)

    def error(self, exc: type[LiquidError] | LiquidError, msg: str | None = None, token: Token | None = None) -> None:
        """Raises the error, with the nearest place when it has none: where an expression ends too early, its end."""
        if isinstance(exc, LiquidError) and token is not None and (exc.token is None or exc.token.start_index < 0):
            ended = exc.token is not None and token.kind != TOKEN_EXPRESSION
            end = token.source.rfind("%}", 0, max(token.start_index, 0)) if ended else -1
            exc.token = token if end < 0 else token._replace(start_index=end)
        super().error(exc, msg, token)


TEXT = _Environment(autoescape=False)
HTML = _Environment(autoescape=True)
