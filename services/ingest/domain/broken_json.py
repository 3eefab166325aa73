"""The parts of JSON that a decoder refuses, by brackets and strings alone.

Everything here takes linear time, and at most about a tenth of a second, whatever the bytes are.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from services.ingest.domain.limits import DEPTH

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_CONTENT = rb'[^"\[\]{}]++|' + _STRING
_NESTED = rb"[\[{](?:" + _CONTENT + rb")*+[\]}]"  # a balanced array or object
for _ in range(DEPTH):
    _NESTED = rb"[\[{](?:" + _CONTENT + rb"|" + _NESTED + rb")*+[\]}]"
_PART = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb"|" + _NESTED + rb")*+", re.DOTALL)
_BRACKET = re.compile(rb"(?:" + _CONTENT + rb")*+([\[{]|([\]}]))", re.DOTALL)
_NAME = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_BRACKETS = 500_000  # counted one by one, in a value that is nested too deeply
_MEMBERS = 1_000  # of an object; those after them are not looked at


class Part(NamedTuple):
    """An element of an array, or a member of an object (`name` and `value`): where it stands in the text."""

    start: int
    end: int


def parts(text: bytes, start: int, most: int) -> tuple[list[Part], int] | None:
    """What stands between the commas after the bracket before `start`, and where its closing bracket is.

    None when the brackets are not balanced; stops as soon as there are more than `most` parts.
    """
    found: list[Part] = []
    at = start
    while len(found) <= most:
        at = _PART.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
        match text[at : at + 1]:
            case b",":
                found.append(Part(start, at))
                start = at = at + 1
            case b"]" | b"}":
                if text[start:at].strip():
                    found.append(Part(start, at))
                return found, at
            case b"[" | b"{":  # deeper than DEPTH, or not balanced
                end = _end_of(text, at)
                if end is None:
                    return None
                at = end
            case _:
                return None
    return found, at


def members(text: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The members of an object as far as they have names: (the name in its quotes, where its value starts and ends)."""
    opening = len(text) - len(text.lstrip())
    if text[opening : opening + 1] != b"{" or (found := parts(text, opening + 1, _MEMBERS)) is None:
        return
    for part in found[0]:
        if name := _NAME.match(text, part.start, part.end):
            yield name[1], name.end(), part.end


def text_of(text: bytes, name: str) -> str | None:
    """The string that is the member `name` of an object; None when there is none that can be read."""
    wanted = f'"{name}"'.encode()
    for found, start, end in members(text):
        if found == wanted:
            try:
                return msgspec.json.decode(text[start:end], type=str)
            except ValueError:
                return None
    return None


def _end_of(text: bytes, at: int) -> int | None:
    """The place after the bracket that closes the one at `at`."""
    depth = 0
    for _ in range(_BRACKETS):
        bracket = _BRACKET.match(text, at)  # `finditer` would search again from each byte of the rest
        if bracket is None:
            break
        at = bracket.end()
        depth += -1 if bracket[2] else 1
        if depth == 0:
            return at
    return None
