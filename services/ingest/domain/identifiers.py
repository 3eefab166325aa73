"""Identifiers as clients send them: numbers become strings, and values that many clients share count as absent."""

import hashlib
import re

from services.ingest.domain.limits import ID, MESSAGE_ID, Rejection

#: Segment's blocked values: what broken clients send for everyone.
_BLOCKED = re.compile(r"[0-]*|-1|null|undefined|anonymous|\s*", re.IGNORECASE)

_BLOCKED_BEGIN = frozenset("0-nNuUaA")  # or with a space; most ids do not, and need no regular expression


def identifier(name: str, value: object) -> str | None:
    """The identifier, None when there is none (null, empty or blocked). Raises Rejection on what cannot be one."""
    if value is None:
        return None
    text = _text(name, value)
    if text is None or _BLOCKED.fullmatch(text):
        return None
    if len(text) > ID:
        raise Rejection(f"{name} has {len(text):,} characters, at most {ID} are taken")
    if "\0" in text:
        raise Rejection(f"{name} contains a NUL character")
    if "\ufffd" in text:  # two ids that were broken alike must not become one customer
        raise Rejection(f"{name} contains a broken character (U+FFFD, or half of an emoji): send it whole")
    return text


def is_sound(text: str) -> bool:
    """Whether an identifier can be taken as it stands; of a text of 1 to 256 characters without NUL."""
    may_be_blocked = text[0] in _BLOCKED_BEGIN or text[0].isspace()
    return not ("\ufffd" in text or (may_be_blocked and _BLOCKED.fullmatch(text)))


def is_blocked(value: object) -> bool:
    """Whether something was sent as an identifier that says nothing ("null", "0000"); null and "" are plainly absent."""
    return value is not None and value != ""


def message_id(value: object) -> str | None:
    """The messageId, None when there is none that can be used.

    One that is too long is replaced by its hash, so that a retry has the same; raises Rejection on a NUL character.
    """
    try:
        text = _text("messageId", value)
    except Rejection:
        return None
    if not text:
        return None
    if "\0" in text:
        raise Rejection("messageId contains a NUL character")
    return text if len(text) <= MESSAGE_ID else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _text(name: str, value: object) -> str | None:
    match value:
        case str() | None:
            return value
        case bool():
            pass
        case float() if value.is_integer():
            return str(int(value))
        case int() if -(2**63) <= value < 2**64:
            return str(value)
    raise Rejection(f"{name} must be a string, got {_kind(value)}")


def _kind(value: object) -> str:
    names = {
        bool: "a boolean",
        dict: "an object",
        list: "an array",
        float: "a fraction",
        int: "a number of over 64 bits",
    }
    return names.get(type(value), type(value).__name__)
