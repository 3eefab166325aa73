"""Words of a condition: the lexer for CEL, and the error that names the place.

Grammar: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from libs.common.errors import Invalid

MAX_LENGTH = 2_000
"""Characters that a condition may have."""


class ConditionError(Invalid):
    """A condition that cannot be saved: what is wrong, and where (line and column count from 1, in characters)."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{message} (line {line}, column {column})", line=line, column=column)
        self.message = message
        self.line = line
        self.column = column

    @classmethod
    def at(cls, message: str, source: str, offset: int) -> "ConditionError":
        """The same, from an offset in the source."""
        return cls(message, source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset))


class Token(NamedTuple):
    """One word: `kind` is 'name', 'quoted', 'string', 'number', 'symbol' or 'end'."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset after the last character."""
        return self.start + len(self.text)


_WORD = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<string>
        [rR][bB]?(?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\n]*"|'[^'\n]*')
      | [bB][rR](?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\n]*"|'[^'\n]*')
      | [bB]?(?:\"{3}(?s:\\.|[^\\])*?\"{3}|'{3}(?s:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    )
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<quoted>`[^`\n]+`)
  | (?P<symbol>&&|\|\||[=!<>]=|[-=<>+*/%!?:,.()\[\]{}])
    """,
    re.VERBOSE,
)
_HINTS = {"&": "write && for 'and'", "|": "write || for 'or'", "'": "text without its closing quote",
          '"': "text without its closing quote", "`": "a name without its closing `"}  # fmt: skip


def tokens(source: str) -> Iterator[Token]:
    """The words of `source`, closed by one of kind 'end'. Raises ConditionError at a character that starts none."""
    offset = 0
    while offset < len(source):
        match = _WORD.match(source, offset)
        if match is None:
            wrong = source[offset]
            raise ConditionError.at(_HINTS.get(wrong, f"unexpected character {wrong!r}"), source, offset)
        if match.lastgroup is not None and match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), offset)
        offset = match.end()
    yield Token("end", "", len(source))
