"""What a condition may say, and what it reads: names, functions, paths, the event names it requires, and its cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from math import prod

from libs.common.rules.cel.engine import constant, pattern_error
from libs.common.rules.cel.nodes import Binary, Call, Index, Keyword, Literal, Name, Node, Select, operation
from libs.common.rules.cel.tokens import ConditionError
from libs.common.rules.cel.windows import AGO, Window, ago, ago_key, is_window, window

EACH = "[]"
"""The segment of a path that stands for every element of a list."""
Path = tuple[str | int, ...]
"""`event.properties.products[].price` as ('event', 'properties', 'products', '[]', 'price')."""

MACROS = frozenset({"all", "exists", "exists_one", "filter"})
_DATE_PARTS = "getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds"
_CONVERSIONS = "has size int double string bool dyn type timestamp duration"
FUNCTIONS = {name: range(1, 2) for name in _CONVERSIONS.split()} | {"matches": range(2, 3)}
METHODS = (
    {name: range(1) for name in "size lowerAscii upperAscii trim".split()}
    | {name: range(1, 2) for name in "contains startsWith endsWith matches charAt substring".split()}
    | {name: range(1, 3) for name in "indexOf lastIndexOf split".split()}
    | {name: range(2) for name in _DATE_PARTS.split()}
    | {name: range(2, 3) for name in MACROS}
)
"""Functions and how many arguments they take. Those that could make text or lists grow (`replace`, `map`, …) are left out,
and `substring(start, end)`, which the library (0.1.3) refuses when `end` is the end of the text."""
MEMBERS = {
    "event": ("id", "name", "type", "source", "time", "received", "properties", "traits", "context"),
    "customer": (
        *("id", "traits", "orders", "revenue", "first_seen", "last_seen", "consent"),
        *("segments", "points", "level", "risk_band", "value_band", "channel", "stage", "deselected"),
    ),
}
"""What `event` and `customer` have: `libs.common.rules.rule_event` makes them."""
_HOLDERS = {"event": "properties", "customer": "traits"}
_TYPES = frozenset({"int", "double", "string", "bool", "list", "map", "null_type"})
_BULK = {"in": 1, "==": 2, "!=": 2, "+": 1, "contains": 1, "size": 1, "indexOf": 1, "lastIndexOf": 1, "trim": 1, "lowerAscii": 1,
         "upperAscii": 1, "substring": 1, "charAt": 1, "matches": 20, "split": 50}  # fmt: skip
_REPEATS = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_PATTERN_LENGTH = 200
_PATTERN_REPEATS = 200


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """What a condition is about: the names that it may use, each with its members; and whether it may ask for windows."""

    members: Mapping[str, tuple[str, ...]]
    windows: bool = False


EVENT = Subject(MEMBERS)
"""One event and its customer at that moment: hooks, earning rules."""
CUSTOMER = Subject({"customer": tuple(name for name in MEMBERS["customer"] if name != "segments")}, windows=True)
"""A customer: segments, which cannot read each other."""
ONLY_EVENT = Subject({"event": MEMBERS["event"]})
"""One event without its customer: what a window counts."""

#: Under `customer`: the values of windows, and the times of `ago(…)`, each by its text.
COMPUTED, TIMES = "computed", "ago"


@dataclass(slots=True)
class Reading:
    """What a condition reads and costs."""

    reads: list[Path] = field(default_factory=list)
    """Values it needs, in the order of the source."""
    tested: list[Path] = field(default_factory=list)
    """Paths whose presence it tests, with `has(…)` or `'x' in …`."""
    cost: list[int] = field(default_factory=lambda: [0])
    """For each depth of nested loops over lists: operations that touch a whole text or list, by what they cost."""
    splits: bool = False
    """Whether it takes text apart into lists."""
    windows: list[Window] = field(default_factory=list)
    """The windows that it asks for."""
    turns: list[tuple[Path, timedelta]] = field(default_factory=list)
    """Times that it compares with `ago(…)`, each with how long after it the comparison turns."""

    @property
    def paths(self) -> frozenset[str]:
        """Dotted: `event.properties.revenue`, `event.properties.products`."""
        return frozenset(dotted(_before_item(path)) for path in self.named() if len(path) > 1)

    def named(self) -> list[Path]:
        """What the author names, up to the first loop, in the order of the source: not the map that `has(…)` looks into."""
        maps = {path[:-1] for path in self.tested}
        return list(dict.fromkeys(_before(EACH, path) for path in (*self.reads, *self.tested) if path not in maps))


def dotted(path: Path) -> str:
    """`('event', 'properties', 'products', 0, 'price')` → `event.properties.products[0].price`."""
    if path[1:2] in ((COMPUTED,), (TIMES,)) and len(path) > 2:
        return str(path[2])
    return "".join(
        f"[{part}]" if isinstance(part, int) else part if part == EACH else f".{part}" for part in path
    ).removeprefix(".")


def _before(part: str, path: Path) -> Path:
    return path[: path.index(part)] if part in path else path


def _before_item(path: Path) -> Path:
    return next((path[:position] for position, part in enumerate(path) if isinstance(part, int)), path)


def read(source: str, root: Node, subject: Subject = EVENT) -> Reading:
    """What the condition reads. Raises ConditionError for a name or function that there is not, with the nearest that is."""
    reader = _Reader(source, subject)
    reader.visit(root, {name: (name,) for name in subject.members}, 0)
    return reader.reading


def unknown_member(path: Path, members: Mapping[str, tuple[str, ...]] = MEMBERS) -> str | None:
    """What is wrong with a path such as `event.propertes.revenue`, whose second name `event` never has; None if nothing."""
    if len(path) < 2 or path[0] not in members or path[1] in members[str(path[0])]:
        return None
    root, name = str(path[0]), str(path[1])
    near = get_close_matches(name, members[root], 1, 0.75)
    hint = f"did you mean {root}.{near[0]}?" if near else f"write {root}.{_HOLDERS[root]}.{name}"
    return f"{root} has no {name}: {hint}"


def text_of(node: Node) -> str | None:
    """The text that a literal stands for, or None for any other part."""
    return constant(node.text) if isinstance(node, Literal) and node.kind == "string" else None


def static_path(node: Node, scope: Mapping[str, Path | None]) -> Path | None:
    """The path that `node` reads, if it can be told from the text alone. (Not that of a window.)"""
    match node:
        case Name():
            return scope.get(node.name)
        case Select():
            base = static_path(node.operand, scope)
            return None if base is None else (*base, node.name)
        case Index(index=Literal() as index) if index.kind in ("string", "int"):
            base = static_path(node.operand, scope)
            key = text_of(node.index) if index.kind == "string" else index.whole
            return None if base is None or key is None else (*base, key)
    return None


def _computed(found: Window) -> Path:
    return ("customer", COMPUTED, found.key)


def _function(node: Node) -> str:
    return node.function if isinstance(node, Call) and node.target is None else ""


class _Reader:
    def __init__(self, source: str, subject: Subject) -> None:
        self._source = source
        self._subject = subject
        self.reading = Reading()

    def _error(self, message: str, offset: int) -> ConditionError:
        return ConditionError.at(message, self._source, offset)

    def visit(self, node: Node, scope: Mapping[str, Path | None], loops: int) -> None:
        self._count(node, loops)
        path = static_path(node, scope)
        if path is not None:
            self._member(path, node)
            self.reading.reads.append(path)
            return
        match node:
            case Name():
                self._name(node, scope)
            case Call() if is_window(node):
                self._window(node)
            case Call():
                self._call(node, scope, loops)
            case Keyword():
                raise self._error(f"this takes no {node.name}=…: to compare, write ==", node.start)
            case Binary(operator="<" | "<=" | ">" | ">=") if AGO in (_function(node.left), _function(node.right)):
                self._turn(node, scope, loops)
            case Binary(operator="in") if (key := text_of(node.left)) and (whole := static_path(node.right, scope)):
                self._member(whole, node.right)
                self.reading.reads.append(whole)
                self.reading.tested.append((*whole, key))
            case _:
                for part in node.parts():
                    self.visit(part, scope, loops)

    def _member(self, path: Path, node: Node) -> None:
        if (wrong := unknown_member(path, self._subject.members)) is not None:
            raise self._error(wrong, node.start)

    def _name(self, node: Name, scope: Mapping[str, Path | None]) -> None:
        if node.name not in scope and node.name not in _TYPES:
            near = get_close_matches(node.name, list(scope), 1, 0.75)
            places = [f"{root}.{_HOLDERS[root]}.{node.name}" for root in self._subject.members]
            hint = f"did you mean {near[0]}?" if near else f"write {' or '.join(places)}"
            if node.name in MEMBERS:
                hint = f"this condition is about {' and '.join(self._subject.members)} alone"
                hint += "; for events write count('Order Completed', days=30)" if self._subject.windows else ""
            raise self._error(f"unknown name {node.name}: {hint}", node.start)

    def _window(self, node: Call) -> None:
        if not self._subject.windows:
            raise self._error(f"{node.function}(…) over events is for conditions of segments", node.at)
        if node.function == AGO:
            raise self._error("compare ago(…) with a time, such as last('Product Viewed') < ago(days=14)", node.at)
        found = window(self._source, node)
        self.reading.windows.append(found)
        self.reading.reads.append(_computed(found))

    def _turn(self, node: Binary, scope: Mapping[str, Path | None], loops: int) -> None:
        """A comparison of a time with `ago(…)`."""
        moving, other = (node.left, node.right) if _function(node.left) == AGO else (node.right, node.left)
        if not self._subject.windows or not isinstance(moving, Call):
            raise self._error("ago(…) is for conditions of segments", node.start)
        span = ago(self._source, moving)
        self.visit(other, scope, loops)
        path = static_path(other, scope)
        if isinstance(other, Call) and other.function in ("first", "last"):
            path = _computed(window(self._source, other))
        if path is None:
            raise self._error(
                "compare ago(…) with first(…), last(…) or a member such as customer.last_seen", other.start
            )
        self.reading.reads.append(("customer", TIMES, ago_key(span)))
        self.reading.turns.append((path, span))

    def _call(self, node: Call, scope: Mapping[str, Path | None], loops: int) -> None:
        known = FUNCTIONS if node.target is None else METHODS
        if node.function not in known:
            near = get_close_matches(node.function, known, 1)
            if node.function == "map":
                hint = ": to look into a list, use exists(…)"
            elif node.function in METHODS or node.function in FUNCTIONS:
                hint = f" here: write it {'after the text or list and a dot' if node.target is None else 'before its argument'}"
            else:
                hint = f": did you mean {near[0]}?" if near else ""
            raise self._error(f"unknown function {node.function}{hint}", node.at)
        if len(node.arguments) not in known[node.function]:
            takes = " or ".join(str(count) for count in known[node.function])
            raise self._error(f"{node.function} takes {takes} argument(s), not {len(node.arguments)}", node.at)
        if node.function == "matches":
            self._pattern(node.arguments[-1])
        if node.function == "has":
            self._has(node, scope)
        elif node.function in MACROS and node.target is not None:
            self._loop(node, node.target, scope, loops)
        else:
            for part in node.parts():
                self.visit(part, scope, loops)

    def _has(self, node: Call, scope: Mapping[str, Path | None]) -> None:
        path = static_path(node.arguments[0], scope)
        if path is None or not isinstance(node.arguments[0], Select):
            raise self._error("has(…) takes a path such as event.properties.coupon", node.arguments[0].start)
        self._member(path, node.arguments[0])
        self.reading.tested.append(path)
        if len(path) > 2:
            self.reading.reads.append(path[:-1])

    def _loop(self, node: Call, target: Node, scope: Mapping[str, Path | None], loops: int) -> None:
        variable, body = node.arguments
        if not isinstance(variable, Name):
            raise self._error(f"{node.function} takes the name of a variable first", variable.start)
        if variable.name in scope:
            raise self._error(f"{variable.name} is taken; choose another name for the variable", variable.start)
        self.visit(target, scope, loops)
        items = static_path(target, scope)
        self.visit(body, {**scope, variable.name: None if items is None else (*items, EACH)}, loops + 1)

    def _pattern(self, node: Node) -> None:
        pattern = text_of(node)
        if pattern is None or not isinstance(node, Literal):
            raise self._error("matches(…) takes its pattern as text in quotes", node.start)
        repeats = prod(max(int(most or least), 1) for least, most in _REPEATS.findall(pattern))
        if len(pattern) > _PATTERN_LENGTH or repeats > _PATTERN_REPEATS:
            raise self._error(
                f"this pattern is too costly: at most {_PATTERN_LENGTH} characters, few repetitions", node.start
            )
        if (wrong := pattern_error(node.text)) is not None:
            raise self._error(f"not a regular expression: {wrong}", node.start)

    def _count(self, node: Node, loops: int) -> None:
        applied = operation(node)
        weight = _BULK.get(applied, 0)
        if applied in ("==", "!=") and any(isinstance(part, Literal) for part in node.parts()):
            weight = 0
        self.reading.cost += [0] * (loops + 1 - len(self.reading.cost))
        self.reading.cost[loops] += weight
        self.reading.splits |= applied == "split"
