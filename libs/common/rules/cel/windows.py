"""Windows over events, as conditions on customers write them, and points in time that move with the clock.

    count('Order Completed', days=30) >= 3
    sum('Order Completed', 'revenue', days=90, where="event.properties.currency == 'EUR'") > 500
    last('Product Viewed') < ago(days=14)

`count` and `sum` give a number, `average` null where no event has one in its property; `first` and `last` the time of
the oldest and the newest event as ISO text (null where there is none). Without `days`, `hours` or `minutes` a window has
no end. `ago` gives the time so long ago, and stands beside a time in a comparison.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from libs.common.rules.cel.engine import constant
from libs.common.rules.cel.nodes import Call, Keyword, Node
from libs.common.rules.cel.nodes import Literal as Constant
from libs.common.rules.cel.tokens import ConditionError

Function = Literal["count", "sum", "average", "first", "last"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)
AGO = "ago"
#: Those that take a property after the event's name.
OF_PROPERTY = ("sum", "average")
UNITS = ("days", "hours", "minutes")
LONGEST = timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class Window:
    """What is computed over a customer's events of one name; `of` is the property. `span` None: over all of them. `where` is
    a condition on the event."""

    function: Function
    event: str
    of: str | None = None
    span: timedelta | None = None
    where: str | None = None

    @property
    def key(self) -> str:
        """The window as text, always the same for the same window."""
        parts = [repr(self.event)]
        parts += [] if self.of is None else [repr(self.of)]
        parts += [] if self.span is None else [in_units(self.span)]
        parts += [] if self.where is None else [f"where={self.where!r}"]
        return f"{self.function}({', '.join(parts)})"


def is_window(node: Node) -> bool:
    """Whether a part of a condition is a window or `ago(…)`."""
    return isinstance(node, Call) and node.target is None and (node.function in FUNCTIONS or node.function == AGO)


def in_units(span: timedelta) -> str:
    """`days=14`, in the largest unit that fits."""
    minutes = span // timedelta(minutes=1)
    unit, size = next(
        (unit, size) for unit, size in (("days", 1440), ("hours", 60), ("minutes", 1)) if not minutes % size
    )
    return f"{unit}={minutes // size}"


def ago_key(span: timedelta) -> str:
    """`ago(days=14)`."""
    return f"{AGO}({in_units(span)})"


def window(source: str, node: Call) -> Window:
    """The window that a call stands for. Raises ConditionError."""
    function = next(name for name in FUNCTIONS if name == node.function)
    given = [argument for argument in node.arguments if not isinstance(argument, Keyword)]
    takes = ["the event's name", "the property's name"][: 2 if function in OF_PROPERTY else 1]
    if len(given) != len(takes):
        raise ConditionError.at(f"{function}(…) takes {' and '.join(takes)} first, in quotes", source, node.start)
    texts = [_text(source, argument, takes[place]) for place, argument in enumerate(given)]
    span, where = None, None
    for keyword in (argument for argument in node.arguments if isinstance(argument, Keyword)):
        if keyword.name == "where" and where is None:
            where = _text(source, keyword.value, "a condition on the event")
        elif keyword.name in UNITS and span is None:
            span = _span(source, keyword)
        else:
            wanted = f"one of {', '.join(UNITS)}, and where"
            raise ConditionError.at(f"{function}(…) takes no {keyword.name} here, only {wanted}", source, keyword.start)
    return Window(function, texts[0], texts[1] if len(texts) > 1 else None, span, where)


def ago(source: str, node: Call) -> timedelta:
    """How long ago a call of `ago` means. Raises ConditionError."""
    if len(node.arguments) != 1 or not isinstance(node.arguments[0], Keyword):
        raise ConditionError.at("ago(…) takes a duration, such as ago(days=14)", source, node.start)
    return _span(source, node.arguments[0])


def _text(source: str, node: Node, what: str) -> str:
    text = constant(node.text) if isinstance(node, Constant) and node.kind == "string" else None
    if not text:
        raise ConditionError.at(f"{what} must be text in quotes here", source, node.start)
    return text


def _span(source: str, keyword: Keyword) -> timedelta:
    value = keyword.value
    if keyword.name not in UNITS or not isinstance(value, Constant) or value.kind != "int":
        units = " or ".join(f"{unit}=30" for unit in UNITS)
        raise ConditionError.at(f"write the duration as {units}, with a whole number", source, keyword.start)
    try:
        span = timedelta(**{keyword.name: value.whole})
    except OverflowError:
        span = timedelta.max
    if not timedelta(0) < span <= LONGEST:
        raise ConditionError.at(
            f"a duration has at least a minute and at most {LONGEST.days:,} days", source, value.start
        )
    return span
