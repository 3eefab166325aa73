"""The parts of a condition, as the parser finds them. `start` and `end` are offsets in the source."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """Any part of a condition."""

    start: int
    end: int
    depth: int = field(default=1, init=False)
    """How deep the parts below it are nested."""

    def parts(self) -> tuple["Node", ...]:
        """The parts right below, in the order of the source."""
        return ()


@dataclass(slots=True)
class Literal(Node):
    """A constant; `kind` is 'string', 'int', 'double', 'bool' or 'null', `text` as it is written."""

    kind: str
    text: str

    @property
    def whole(self) -> int:
        """The value of a literal of kind 'int'."""
        return int(self.text.rstrip("uU"), 16 if self.text[:2].lower() == "0x" else 10)


@dataclass(slots=True)
class Name(Node):
    """`event`, `customer`, a variable of `exists(…)` or the name of a type."""

    name: str


@dataclass(slots=True)
class Select(Node):
    """`operand.name`."""

    operand: Node
    name: str

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(slots=True)
class Index(Node):
    """`operand[index]`."""

    operand: Node
    index: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand, self.index)


@dataclass(slots=True)
class Call(Node):
    """`target.function(arguments)`, or `function(arguments)` without a target; `at` is where the name stands."""

    target: Node | None
    function: str
    arguments: tuple[Node, ...]
    at: int

    def parts(self) -> tuple[Node, ...]:
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(slots=True)
class Keyword(Node):
    """`name=value`, an argument of a function that takes such."""

    name: str
    value: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.value,)


@dataclass(slots=True)
class Unary(Node):
    """`!operand` or `-operand`."""

    operator: str
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(slots=True)
class Binary(Node):
    """`left operator right`: arithmetic, comparison or `in`; `at` is where the operator stands."""

    operator: str
    left: Node
    right: Node
    at: int

    def parts(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(slots=True)
class Logic(Node):
    """`a && b && …` or `a || b || …`."""

    operator: str
    operands: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.operands


@dataclass(slots=True)
class Choice(Node):
    """`condition ? yes : no`."""

    condition: Node
    yes: Node
    no: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.condition, self.yes, self.no)


@dataclass(slots=True)
class Items(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.items


@dataclass(slots=True)
class Entries(Node):
    """`{key: value}`."""

    entries: tuple[tuple[Node, Node], ...]

    def parts(self) -> tuple[Node, ...]:
        return tuple(part for entry in self.entries for part in entry)


def operation(node: Node) -> str:
    """The operator or function that `node` applies, or nothing."""
    match node:
        case Unary() | Binary() | Logic():
            return node.operator
        case Call():
            return node.function
    return ""
