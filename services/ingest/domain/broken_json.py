"""JSON that a decoder refuses: what is wrong with it, in a sentence, and its parts, by brackets and strings alone.

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
_BYTE = re.compile(r"\(byte (\d+)\)")
_WORD = re.compile(rb"[-+]?[A-Za-z_]+")
#: What Python and JavaScript write in the place of JSON's own words.
_FOREIGN = {"None": "null", "undefined": "null", "True": "true", "False": "false"}
_NOT_A_NUMBER = frozenset(["nan", "infinity", "inf"])
_KINDS = {"`array`": "an array", "`object`": "an object", "`str`": "a string", "`null`": "null", "`bool`": "a boolean"}


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


def fault(text: bytes, error: Exception) -> str:
    """What is wrong with `text`, which a decoder refused with `error`, and what to send."""
    said = str(error)
    if not text.strip():
        return "it is empty: send a JSON object"
    try:
        text.decode()
    except UnicodeDecodeError as broken:
        return f"it is not UTF-8 (byte {broken.start}): send JSON as UTF-8"
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEPTH} levels: flatten the properties"
    if "out of range" in said:
        return "a number is too large: send it as a string"
    if isinstance(error, msgspec.ValidationError):
        return f"it {kind(error)}: send a JSON object"
    at = _BYTE.search(said)
    return _fault_at(text, int(at[1]), said) if at else "it ends too early: was it cut off on its way?"


def kind(error: msgspec.ValidationError) -> str:
    """`is an array`, or `has an object as batch`: of JSON that is well written but is something else than was expected."""
    said = str(error)
    sent, _, place = said.partition("got ")[2].partition(" - at `$.")
    named = _KINDS.get(sent, "a number")
    return f"has {named} as `{place}" if place else f"is {named}"


def _fault_at(text: bytes, at: int, said: str) -> str:
    where = f"(byte {at})"
    word = next((found[0].decode() for found in _WORD.finditer(text, max(0, at - 12)) if found.end() > at), "")
    if word.lstrip("+-").lower() in _NOT_A_NUMBER:
        return f"NaN and Infinity are not JSON {where}: send null, or leave the value out"
    if word in _FOREIGN:
        return f"{word} is not JSON {where}: send {_FOREIGN[word]}"
    if "escape" in said:
        return f"a backslash begins no escape that JSON knows {where}: double it"
    if "keys must be strings" in said or text[at : at + 1] == b"'":
        return f"names and strings stand in double quotes {where}"
    if "trailing characters" in said:
        return f"more follows after its end {where}: send one JSON object"
    if "trailing comma" in said:
        return f"nothing follows a comma {where}: leave the comma out"
    if "number" in said:
        return f"a number is not written as in JSON {where}: no leading zeros or plus signs, digits on both sides of the point"
    if text[at : at + 1] < b" ":
        return f"a string contains a line break or another control character {where}: escape it"
    return f"it is not JSON {where}: send a JSON object"


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
