"""Reads the text of a condition into its parts (the grammar of CEL, without messages of Protocol Buffers)."""

from typing import TypeVar

from libs.common.rules.cel.nodes import (
    Binary,
    Call,
    Choice,
    Entries,
    Index,
    Items,
    Keyword,
    Literal,
    Logic,
    Name,
    Node,
    Select,
    Unary,
)
from libs.common.rules.cel.tokens import MAX_LENGTH, ConditionError, Token, tokens

MAX_DEPTH = 24
"""How deep a condition may be nested; the library's own limit is 32, and adapting numbers adds to it."""

_N = TypeVar("_N", bound=Node)
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "in"})
_PLAIN_WORDS = {
    "and": "write && for 'and'",
    "or": "write || for 'or'",
    "not": "write ! for 'not'",
    "is": "write == for 'is'",
}
_HINTS = {**_PLAIN_WORDS, "=": "to compare, write =="}
_CONSTANTS = {"true": "bool", "false": "bool", "null": "null"}


def parse(source: str) -> Node:
    """The condition's parts. Raises ConditionError with the place of the first thing that is wrong."""
    if len(source) > MAX_LENGTH:
        raise ConditionError.at(
            f"a condition has at most {MAX_LENGTH:,} characters, this has {len(source):,}", source, MAX_LENGTH
        )
    if not source.strip():
        raise ConditionError("the condition is empty; write true if it shall always hold", 1, 1)
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = list(tokens(source))
        self._next = 0
        self._nesting = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._peek.kind != "end":
            raise self._unexpected()
        return node

    # --- words

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _at(self, *symbols: str) -> bool:
        return self._peek.kind == "symbol" and self._peek.text in symbols

    def _accept(self, symbol: str) -> bool:
        if self._at(symbol):
            self._next += 1
            return True
        return False

    def _expect(self, symbol: str) -> Token:
        if not self._at(symbol):
            raise self._unexpected(f"{symbol} is missing here")
        return self._take()

    def _unexpected(self, otherwise: str | None = None) -> ConditionError:
        token = self._peek
        if token.kind == "end":
            message = otherwise or "the condition ends too early"
        else:
            message = _HINTS.get(token.text.lower(), f"{token.text} is unexpected here")
        return ConditionError.at(message, self._source, token.start)

    def _made(self, node: _N) -> _N:
        node.depth = 1 + max((part.depth for part in node.parts()), default=0)
        if node.depth > MAX_DEPTH:
            raise self._too_deep(node.start)
        return node

    def _too_deep(self, offset: int) -> ConditionError:
        return ConditionError.at(f"nested too deeply (more than {MAX_DEPTH} levels)", self._source, offset)

    # --- grammar, from the loosest binding to the tightest

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise self._too_deep(self._peek.start)
        node = self._logic("||")
        if self._accept("?"):
            yes = self._logic("||")
            self._expect(":")
            no = self._expression()
            node = self._made(Choice(node.start, no.end, node, yes, no))
        self._nesting -= 1
        return node

    def _logic(self, operator: str) -> Node:
        operands = [self._logic("&&") if operator == "||" else self._comparison()]
        while self._accept(operator):
            operands.append(self._logic("&&") if operator == "||" else self._comparison())
        if len(operands) == 1:
            return operands[0]
        return self._made(Logic(operands[0].start, self._tokens[self._next - 1].end, operator, tuple(operands)))

    def _comparison(self) -> Node:
        node = self._sum()
        while self._peek.text in _COMPARISONS and self._peek.kind in ("symbol", "name"):
            operator = self._take()
            node = self._binary(operator, node, self._sum())
        return node

    def _sum(self) -> Node:
        node = self._product()
        while self._at("+", "-"):
            operator = self._take()
            node = self._binary(operator, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._unary()
        while self._at("*", "/", "%"):
            operator = self._take()
            node = self._binary(operator, node, self._unary())
        return node

    def _binary(self, operator: Token, left: Node, right: Node) -> Node:
        return self._made(
            Binary(left.start, self._tokens[self._next - 1].end, operator.text, left, right, operator.start)
        )

    def _unary(self) -> Node:
        if not self._at("!", "-"):
            return self._member()
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise self._too_deep(self._peek.start)
        operator = self._take()
        operand = self._unary()
        self._nesting -= 1
        return self._made(Unary(operator.start, self._tokens[self._next - 1].end, operator.text, operand))

    def _member(self) -> Node:
        start = self._peek.start
        node = self._primary()
        while True:
            if self._accept("."):
                name = self._take()
                if name.kind not in ("name", "quoted"):
                    self._next -= 1
                    raise self._unexpected("a name is missing after the dot")
                if self._at("(") and name.kind == "name":
                    arguments, end = self._arguments()
                    node = self._made(Call(start, end, node, name.text, arguments, name.start))
                else:
                    node = self._made(Select(start, name.end, node, name.text.strip("`")))
            elif self._accept("["):
                index = self._expression()
                node = self._made(Index(start, self._expect("]").end, node, index))
            else:
                return node

    def _arguments(self) -> tuple[tuple[Node, ...], int]:
        self._expect("(")
        arguments: list[Node] = []
        while not self._at(")"):
            arguments.append(self._argument())
            if not self._accept(","):
                break
        return tuple(arguments), self._expect(")").end

    def _argument(self) -> Node:
        name, after = self._peek, self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        if name.kind != "name" or (after.kind, after.text) != ("symbol", "="):
            return self._expression()
        self._next += 2
        value = self._expression()
        return self._made(Keyword(name.start, value.end, name.text, value))

    def _primary(self) -> Node:
        token = self._peek
        if token.kind == "string":
            self._take()
            return Literal(token.start, token.end, "string", token.text)
        if token.kind == "number":
            self._take()
            fractional = not token.text.lower().startswith("0x") and any(mark in token.text for mark in ".eE")
            return Literal(token.start, token.end, "double" if fractional else "int", token.text)
        if token.kind == "name" and token.text.lower() not in _PLAIN_WORDS and token.text != "in":
            return self._named()
        if self._accept("("):
            node = self._expression()
            node.start, node.end = token.start, self._expect(")").end
            return node
        if self._accept("["):
            items = self._separated("]")
            return self._made(Items(token.start, self._expect("]").end, items))
        if self._accept("{"):
            return self._entries(token.start)
        raise self._unexpected()

    def _named(self) -> Node:
        token = self._take()
        if token.text in _CONSTANTS:
            return Literal(token.start, token.end, _CONSTANTS[token.text], token.text)
        if self._at("("):
            arguments, end = self._arguments()
            return self._made(Call(token.start, end, None, token.text, arguments, token.start))
        return Name(token.start, token.end, token.text)

    def _separated(self, closing: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._at(closing):
            items.append(self._expression())
            if not self._accept(","):
                break
        return tuple(items)

    def _entries(self, start: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._at("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._accept(","):
                break
        return self._made(Entries(start, self._expect("}").end, tuple(entries)))
