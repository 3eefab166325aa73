"""How much a client may send, and how that is kept without ever holding more: bodies, events, depth, odd values."""

import math
import re
from typing import Any

from libs.common.errors import Malformed

BODY = 4 * 1024 * 1024  # bytes of a body, decompressed; Segment's own Node SDK has sent 905 KB
EVENT = 32 * 1024  # bytes of one event with the envelope's context
EVENTS = 2_500  # events in a batch
MERGED = 2 * BODY  # bytes of a batch once the envelope's context lies in each of its events
DEPTH = 32  # objects and arrays inside each other
ID = 256  # characters of an identifier or an event name
MESSAGE_ID = 100  # characters of a messageId

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19  # after _DIGITS; searched so, it costs a tenth of a regular expression
_BEFORE_A_NUMBER = (b"", b":", b"[", b",", b"-", b" ", b"\t", b"\n", b"\r")
_INT64 = 2**63
# an escaped backslash, a whole pair of surrogates, or (group 1) the half that is left of a text cut inside an emoji
_HALF = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Rejection(ValueError):
    """One event is refused, its neighbours are not. The message says to a developer what is wrong and what is expected."""


class Oversized(Malformed):
    """The body as a whole is too large: 400, as Segment answers it, because SDKs do not know 413."""

    title = "Body too large"


def oversized(limit: int = BODY) -> Oversized:
    return Oversized(f"the body is larger than {limit:,} bytes decompressed: send smaller batches")


def is_odd(raw: bytes) -> bool:
    """Whether `raw` JSON may hold something that `tidied` has to look at: NUL, integers over 64 bits, deep nesting."""
    return may_be_deep(raw) or has_odd_values(raw)


def may_be_deep(raw: bytes) -> bool:
    """Whether `raw` JSON has brackets enough to be nested deeper than DEPTH."""
    return raw.count(b"{") + raw.count(b"[") > DEPTH


def has_odd_values(raw: bytes) -> bool:
    """Whether `raw` JSON may hold NUL or integers over 64 bits, in whatever it consists of."""
    return b"\\u0000" in raw or _may_have_long_integers(raw)


def _may_have_long_integers(raw: bytes) -> bool:
    """Whether 19 digits begin where a number may; those inside a hexadecimal id do not."""
    zeros = raw.translate(_DIGITS)
    at = zeros.find(_LONG_INTEGER)
    while at >= 0:
        if raw[at - 1 : at] in _BEFORE_A_NUMBER:
            return True
        end = at + len(_LONG_INTEGER)
        while zeros[end : end + 1] == b"0":
            end += 1
        at = zeros.find(_LONG_INTEGER, end)
    return False


def tidied(value: Any, depth: int = 1) -> Any:
    """`value` without what later readers could not store: NUL characters go, integers over 64 bits become floats.

    Raises Rejection when it is nested deeper than DEPTH, or a number is too large for a float.
    """
    match value:
        case str():
            return value.replace("\0", "")
        case dict() | list() if depth > DEPTH:
            raise too_deep()
        case dict():
            return {key.replace("\0", ""): tidied(inner, depth + 1) for key, inner in value.items()}
        case list():
            return [tidied(inner, depth + 1) for inner in value]
        case int() if not -_INT64 <= value < _INT64:
            return _float(value)
        case _:
            return value


def without_halves(body: bytes) -> bytes:
    """JSON in which halves of surrogate pairs, which are no text, have become U+FFFD, as wherever text is broken."""
    return _HALF.sub(lambda found: b"\\ufffd" if found[1] else found[0], body)


def too_deep() -> Rejection:
    return Rejection(f"nested deeper than {DEPTH} levels: flatten the properties")


def _float(value: int) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise Rejection("a number is too large: send it as a string")
    return number
