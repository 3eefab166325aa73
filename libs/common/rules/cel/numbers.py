"""Adapts the numbers of a condition: JSON has one kind of number, CEL has three that do not mix.

Every number of an event is given to CEL as a double. So `revenue * 2` becomes `revenue * 2.0`, and what CEL counts in
whole numbers, such as `size(…)`, becomes `double(size(…))`; where CEL takes whole numbers only (an index, the
arguments of `substring`, both sides of `%`) they stay whole. Text in quotes is never touched.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from libs.common.rules.cel.nodes import Binary, Call, Choice, Entries, Index, Literal, Name, Node, Select, Unary
from libs.common.rules.cel.tokens import ConditionError
from libs.common.rules.cel.windows import AGO, ago, ago_key, is_window, window

_DATE_PARTS = (
    "FullYear",
    "Month",
    "Date",
    "DayOfMonth",
    "DayOfWeek",
    "DayOfYear",
    "Hours",
    "Minutes",
    "Seconds",
    "Milliseconds",
)
_WHOLE_RESULTS = frozenset({"size", "int", "indexOf", "lastIndexOf", *(f"get{part}" for part in _DATE_PARTS)})
_WHOLE_ARGUMENTS = {"substring": (0,), "charAt": (0,), "indexOf": (1,), "lastIndexOf": (1,), "split": (1,)}
_ARITHMETIC = frozenset("+-*/%")


@dataclass(frozen=True, slots=True)
class _Edit:
    """`length` characters at `at` become `text`."""

    at: int
    length: int
    text: str


class Adapted:
    """A condition for CEL: `text`, and where each of its places was in the source."""

    def __init__(self, source: str, edits: list[_Edit]) -> None:
        self._edits = sorted(edits, key=lambda edit: edit.at)
        pieces: list[str] = []
        done = 0
        for edit in self._edits:
            pieces += (source[done : edit.at], edit.text)
            done = edit.at + edit.length
        self.text = "".join((*pieces, source[done:]))
        grown = accumulate((len(edit.text) - edit.length for edit in self._edits), initial=0)
        self._starts = [edit.at + shift for edit, shift in zip(self._edits, grown, strict=False)]

    def source_offset(self, offset: int) -> int:
        """Where in the source the character at `offset` of the adapted text comes from."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return offset
        edit = self._edits[index]
        beyond = offset - self._starts[index] - len(edit.text)
        return edit.at if beyond < 0 else edit.at + edit.length + beyond


def adapt(source: str, root: Node) -> Adapted:
    """`source`, whose parts are `root`, with its numbers adapted. Raises ConditionError for `%` of a fraction."""
    numbers = _Numbers(source)
    numbers.adapt(root, whole=False)
    return Adapted(source, numbers.edits)


def _is_whole(node: Node) -> bool:
    """Whether CEL can count `node` in whole numbers."""
    match node:
        case Literal():
            return node.kind == "int"
        case Call():
            return node.function in _WHOLE_RESULTS
        case Unary(operator="-"):
            return _is_whole(node.operand)
        case Binary() if node.operator in _ARITHMETIC:
            return _is_whole(node.left) and _is_whole(node.right)
        case Choice():
            return _is_whole(node.yes) and _is_whole(node.no)
    return False


class _Numbers:
    def __init__(self, source: str) -> None:
        self._source = source
        self.edits: list[_Edit] = []

    def adapt(self, node: Node, whole: bool) -> None:
        """Notes the edits of `node`, which stands where whole numbers are needed if `whole` (then it is one)."""
        match node:
            case Literal(kind="int"):
                self._literal(node, whole)
            case Call() if is_window(node):
                self._window(node)
            case Call():
                with self._inside("double" if node.function in _WHOLE_RESULTS and not whole else None, node):
                    self._call(node)
            case Binary(operator="%"):
                if not _is_whole(node):
                    raise ConditionError.at(
                        "% takes whole numbers: write int(…) around a property", self._source, node.at
                    )
                with self._inside(None if whole else "double", node):
                    self.adapt(node.left, whole=True)
                    self.adapt(node.right, whole=True)
            case Index():
                self.adapt(node.operand, whole=False)
                self._index(node.index)
            case Entries():
                for key, value in node.entries:
                    self.adapt(key, whole=_is_whole(key))
                    self.adapt(value, whole=False)
            case Choice():
                self.adapt(node.condition, whole=False)
                self.adapt(node.yes, whole)
                self.adapt(node.no, whole)
            case _:
                for part in node.parts():
                    self.adapt(part, whole)

    def _window(self, node: Call) -> None:
        """A window becomes the member of `customer` that holds its value."""
        if node.function == AGO:
            holder, key = "ago", ago_key(ago(self._source, node))
        else:
            holder, key = "computed", window(self._source, node).key
        self.edits.append(_Edit(node.start, node.end - node.start, f"customer.{holder}[{json.dumps(key)}]"))

    def _literal(self, node: Literal, whole: bool) -> None:
        try:
            text = str(node.whole) if whole else repr(float(node.whole))
        except OverflowError:
            raise ConditionError.at("this number is too large", self._source, node.start) from None
        self.edits.append(_Edit(node.start, node.end - node.start, text))

    def _call(self, node: Call) -> None:
        if node.target is not None:
            self.adapt(node.target, whole=False)
        for position, argument in enumerate(node.arguments):
            whole = _is_whole(argument)
            if position in _WHOLE_ARGUMENTS.get(node.function, ()):
                with self._inside(None if whole else "int", argument):
                    self.adapt(argument, whole)
            else:
                self.adapt(argument, whole=whole and node.function == "timestamp")

    def _index(self, node: Node) -> None:
        whole = _is_whole(node)
        known = whole or isinstance(node, Literal | Name | Select | Index)
        with self._inside(None if known else "dyn", node):
            self.adapt(node, whole)

    @contextmanager
    def _inside(self, function: str | None, node: Node) -> Iterator[None]:
        if function is not None:
            self.edits.append(_Edit(node.start, 0, f"{function}("))
        yield
        if function is not None:
            self.edits.append(_Edit(node.end, 0, ")"))
