"""What is wrong with JSON that a decoder refused, in a sentence that says what to send."""

import re

import msgspec

_BYTE = re.compile(r"\(byte (\d+)\)")
_WORD = re.compile(rb"[-+]?[A-Za-z_]+")
#: What Python and JavaScript write in the place of JSON's own words.
_FOREIGN = {"None": "null", "undefined": "null", "True": "true", "False": "false"}
_NOT_A_NUMBER = frozenset(["nan", "infinity", "inf"])
_KINDS = {"`array`": "an array", "`object`": "an object", "`str`": "a string", "`null`": "null", "`bool`": "a boolean"}


def fault(text: bytes, error: Exception) -> str:
    """What is wrong with `text`, which msgspec refused with `error`, and what to send."""
    said = str(error)
    if not text.strip():
        return "it is empty: send a JSON object"
    try:
        text.decode()
    except UnicodeDecodeError as broken:
        return f"it is not UTF-8 (byte {broken.start}): send JSON as UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply: make it flatter"
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
