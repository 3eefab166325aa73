"""As much of PromQL as our alerts and dashboard use: enough to find every selector in them, and to evaluate them.

A query is parsed into nested tuples; `selectors` lists what they read, `evaluate` gives a vector (labels to value) or a
number. Range functions look at the first and the last of the snapshots that lie in their window.
"""

import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Labels: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[Labels, float]
Node: TypeAlias = tuple[Any, ...]

_TOKEN = re.compile(
    r'\s*(?:(\d+(?:\.\d+)?(?![\w]))|([a-zA-Z_:][\w:]*)|("[^"]*")|(=~|!~|!=|==|<=|>=|\[\w+\]|[-+*/<>=(){},])|(\S))'
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": sum, "max": max, "min": min, "count": len, "group": lambda _: 1.0,
}  # fmt: skip
_RANGES = ("rate", "increase", "changes")
_FUNCTIONS = ("abs", "histogram_quantile")
_OPERATORS: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "==": operator.eq, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
_LEVELS = (("or",), ("and",), ("==", "!=", ">", "<", ">=", "<="), ("+", "-"), ("*", "/"))


class Selector(NamedTuple):
    """A metric with the labels that it must have, each by an operator and a value; `window` in seconds for ranges."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    window: int | None = None

    def takes(self, labels: Mapping[str, str]) -> bool:
        return all(matches(labels.get(name, ""), how, value) for name, how, value in self.matchers)


class Snapshot(NamedTuple):
    """All samples at a time (seconds): name and labels to value."""

    at: float
    samples: Mapping[tuple[str, Labels], float]


def parse(query: str) -> Node:
    """The tree of a query. Raises ValueError on what is not understood."""
    tokens = _Tokens(query)
    tree = _binary(tokens, 0)
    if tokens.peek():
        raise ValueError(f"{query!r} goes on with {tokens.peek()!r}")
    return tree


def selectors(tree: Node) -> Iterator[Selector]:
    """Every selector of a query."""
    if tree[0] == "select":
        yield tree[1]
    for part in tree[1:]:
        if isinstance(part, tuple) and part and isinstance(part[0], str) and not isinstance(part, Selector):
            yield from selectors(part)


def grouped_by(tree: Node) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Every `by (…)` of a query, with what it groups."""
    if tree[0] == "aggregate":
        yield tree[2], tree[3]
    for part in tree[1:]:
        if isinstance(part, tuple) and part and isinstance(part[0], str) and not isinstance(part, Selector):
            yield from grouped_by(part)


class _Tokens:
    def __init__(self, query: str) -> None:
        self._found: list[str] = []
        for number, name, text, mark, other in _TOKEN.findall(query):
            if other:
                raise ValueError(f"{query!r}: {other!r} is not understood")
            self._found.append(number or name or text or mark)
        self._at = 0

    def peek(self) -> str:
        return self._found[self._at] if self._at < len(self._found) else ""

    def next(self, wanted: str | None = None) -> str:
        token = self.peek()
        if wanted is not None and token != wanted:
            raise ValueError(f"{token!r} where {wanted!r} should be")
        self._at += 1
        return token


def _binary(tokens: _Tokens, level: int) -> Node:
    if level == len(_LEVELS):
        return _unary(tokens)
    left = _binary(tokens, level + 1)
    while tokens.peek() in _LEVELS[level]:
        sign = tokens.next()
        left = ("binary", sign, left, _binary(tokens, level + 1))
    return left


def _unary(tokens: _Tokens) -> Node:
    token = tokens.next()
    if token == "(":
        inside = _binary(tokens, 0)
        tokens.next(")")
        return inside
    if re.fullmatch(r"\d+(\.\d+)?", token):
        return ("number", float(token))
    if token in _AGGREGATIONS:
        by = _labels(tokens) if tokens.peek() == "by" else ()
        tokens.next("(")
        inside = _binary(tokens, 0)
        tokens.next(")")
        return ("aggregate", token, by, inside)
    if token in (*_RANGES, *_FUNCTIONS):
        return ("call", token, *_arguments(tokens))
    if not re.fullmatch(r"[a-zA-Z_:][\w:]*", token):
        raise ValueError(f"{token!r} is not understood")
    return ("select", _selector(token, tokens))


def _labels(tokens: _Tokens) -> tuple[str, ...]:
    tokens.next("by")
    tokens.next("(")
    names = [tokens.next()]
    while tokens.peek() == ",":
        tokens.next()
        names.append(tokens.next())
    tokens.next(")")
    return tuple(names)


def _arguments(tokens: _Tokens) -> list[Node]:
    tokens.next("(")
    arguments = [_binary(tokens, 0)]
    while tokens.peek() == ",":
        tokens.next()
        arguments.append(_binary(tokens, 0))
    tokens.next(")")
    return arguments


def _selector(metric: str, tokens: _Tokens) -> Selector:
    matchers = []
    if tokens.peek() == "{":
        tokens.next()
        while tokens.peek() != "}":
            name, how, value = tokens.next(), tokens.next(), tokens.next().strip('"')
            matchers.append((name, how, value))
            if tokens.peek() == ",":
                tokens.next()
        tokens.next("}")
    window = None
    if tokens.peek().startswith("["):
        said = tokens.next()[1:-1]
        window = int(said[:-1]) * _UNITS[said[-1]]
    return Selector(metric, tuple(matchers), window)


def matches(found: str, how: str, value: str) -> bool:
    match how:
        case "=":
            return found == value
        case "!=":
            return found != value
        case "=~":
            return re.fullmatch(value, found) is not None
        case _:
            return re.fullmatch(value, found) is None


# -- evaluation -----------------------------------------------------------------------------------------------------------
def evaluate(tree: Node, story: Sequence[Snapshot]) -> Vector | float:
    """What a query gives at the last of the snapshots."""
    match tree:
        case ("number", number):
            return float(number)
        case ("select", selector):
            return _select(selector, story[-1])
        case ("aggregate", name, by, inside):
            groups: dict[Labels, list[float]] = {}
            for labels, value in _vector(evaluate(inside, story)).items():
                groups.setdefault(frozenset(each for each in labels if each[0] in by), []).append(value)
            return {labels: float(_AGGREGATIONS[name](values)) for labels, values in groups.items()}
        case ("call", "abs", inside):
            return {labels: abs(value) for labels, value in _vector(evaluate(inside, story)).items()}
        case ("call", "histogram_quantile", ("number", quantile), inside):
            return _quantile(quantile, _vector(evaluate(inside, story)))
        case ("call", name, ("select", selector)):
            return _over_time(name, selector, story)
        case ("binary", sign, left, right):
            return _combined(sign, evaluate(left, story), evaluate(right, story))
        case _:
            raise ValueError(f"{tree!r} cannot be evaluated")


def _vector(value: Vector | float) -> Vector:
    if isinstance(value, float):
        raise ValueError(f"{value} is no vector")
    return value


def _select(selector: Selector, snapshot: Snapshot) -> Vector:
    return {
        labels: value
        for (name, labels), value in snapshot.samples.items()
        if name == selector.metric and selector.takes(dict(labels))
    }


def _over_time(name: str, selector: Selector, story: Sequence[Snapshot]) -> Vector:
    seen = [each for each in story if story[-1].at - each.at <= (selector.window or 0)]
    last = _select(selector, seen[-1])
    result = {}
    for labels in last:
        values = [found[labels] for each in seen if labels in (found := _select(selector, each))]
        if len(values) < 2:
            continue
        # a value that falls is a counter that began anew
        grown = sum(after - before if after >= before else after for before, after in itertools.pairwise(values))
        changed = sum(after != before for before, after in itertools.pairwise(values))
        result[labels] = {"increase": grown, "rate": grown / (seen[-1].at - seen[0].at), "changes": float(changed)}[
            name
        ]
    return result


def _quantile(quantile: float, buckets: Vector) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        bound = float(dict(labels)["le"])
        groups.setdefault(frozenset(each for each in labels if each[0] != "le"), []).append((bound, value))
    result = {}
    for labels, found in groups.items():
        found.sort()
        wanted, below, under = quantile * found[-1][1], 0.0, 0.0
        for bound, value in found:
            if value >= wanted and found[-1][1]:
                share = 0.0 if value == under else (wanted - under) / (value - under)
                result[labels] = below if bound == float("inf") else below + (bound - below) * share
                break
            below, under = bound, value
    return result


def _combined(sign: str, left: Vector | float, right: Vector | float) -> Vector | float:
    if sign == "or":
        return {**_vector(right), **_vector(left)}
    if sign == "and":
        return {labels: value for labels, value in _vector(left).items() if labels in _vector(right)}
    apply, filters = _OPERATORS[sign], sign in _LEVELS[2]
    if isinstance(left, float):
        raise ValueError("a number on the left is not used")
    pairs = {
        labels: (value, right if isinstance(right, float) else right.get(labels)) for labels, value in left.items()
    }
    result = {}
    for labels, (value, other) in pairs.items():
        if other is None or (sign == "/" and other == 0):
            continue
        if not filters:
            result[labels] = apply(value, other)
        elif apply(value, other):
            result[labels] = value
    return result
