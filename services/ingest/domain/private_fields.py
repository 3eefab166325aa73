"""Private fields of a source: dropped, hashed or truncated before anything of an event is kept."""

import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any, NamedTuple

import msgspec

from libs.common.contracts.events import ClientEvent
from services.ingest.domain.limits import without_halves

HASHED = "hmac-sha256:"
_DIGEST = re.compile(rf"{HASHED}[0-9a-f]{{64}}")
_HOST_BITS = {4: 8, 6: 80}  # of an address: what is not its network

#: Gives what stands in the place of a value, None for nothing.
Change = Callable[[Any], Any]


class FieldRule(NamedTuple):
    """`path` begins with `context`, `traits` or `properties`."""

    path: tuple[str, ...]
    change: Change


class PrivateFields:
    """The private fields of one source. Applied twice, they give the same as once."""

    def __init__(self, rules: Sequence[FieldRule]) -> None:
        self._rules = rules

    def apply(self, event: ClientEvent) -> None:
        """Replace the members of a normalised event that have private fields in them."""
        for (member, *path), change in self._rules:
            before = getattr(event, member)
            if (after := _changed(before, path, change)) is not before:
                setattr(event, member, after)
            if member == "traits" and "traits" in event.context:
                event.context = _changed(event.context, ["traits", *path], change)

    def applied(self, raw: bytes) -> bytes:
        """What may be kept of an event that was refused: of its objects only those that are read, without private fields.
        Nothing of one that cannot be read."""
        try:
            return msgspec.json.encode(self._kept(msgspec.json.decode(without_halves(raw), type=dict[str, Any])))
        except (ValueError, RecursionError, OverflowError):
            return b""

    def _kept(self, sent: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in sent.items() if name in _PLAIN and not isinstance(value, dict | list)}
        for member in ("context", "traits", "properties"):
            if isinstance(value := sent.get(member), dict):
                kept[member] = value
        for (member, *path), change in self._rules:
            if member in kept:
                kept[member] = _changed(kept[member], path, change)
            if member == "traits" and "context" in kept:
                kept["context"] = _changed(kept["context"], ["traits", *path], change)
        return kept


_PLAIN = frozenset(
    "type messageId event userId anonymousId groupId previousId name category originalTimestamp timestamp sentAt".split()
)


def rules(declared: Mapping[str, Any], key: bytes) -> PrivateFields:
    """From how a source declares them: by path, `drop`, `hash`, `truncate` or `{"truncate": characters}`. What should be
    hashed is dropped when there is no key."""
    return PrivateFields([FieldRule(_path(path), _change(how, key)) for path, how in declared.items()])


def _path(written: str) -> tuple[str, ...]:
    """Traits may come in `context.traits`, which is where some SDKs repeat them."""
    return tuple(written.removeprefix("context." if written.startswith("context.traits.") else "").split("."))


def _change(how: object, key: bytes) -> Change:
    match how:
        case "hash" if key:
            return partial(_hashed, key)
        case "truncate":
            return _network
        case {"truncate": int(kept)}:
            return partial(_cut, kept)
        case _:
            return _dropped


def _changed(value: Any, path: Sequence[str], change: Change) -> Any:
    """`value` with what lies at the path changed; itself when nothing lies there. An array is entered."""
    if not path:
        return None if change is _dropped else _in_all(value, change)
    if isinstance(value, list):
        return [_changed(each, path, change) for each in value]
    if not isinstance(value, dict) or value.get(path[0]) is None:
        return value
    after = _changed(value[path[0]], path[1:], change)
    if after is None:
        return {name: inner for name, inner in value.items() if name != path[0]}
    return {**value, path[0]: after}


def _in_all(value: Any, change: Change) -> Any:
    """The value changed; of an array each item. An object counts as one value: its names may say as much as its values."""
    if isinstance(value, list):
        return [after for each in value if (after := _in_all(each, change)) is not None]
    return None if value is None else change(value)


def _dropped(value: Any) -> None:
    return None


def _hashed(key: bytes, value: Any) -> str:
    text = value.strip().lower() if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if _DIGEST.fullmatch(text):
        return text
    return HASHED + hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()


def _network(value: Any) -> str | None:
    """The network of an address; None for what is no address."""
    if not isinstance(value, str):
        return None
    try:
        address = ip_address(value.strip().partition("%")[0])
    except ValueError:
        return None
    bits = _HOST_BITS[address.version]
    return str(type(address)(int(address) >> bits << bits))


def _cut(kept: int, value: Any) -> str | None:
    return value[:kept] if isinstance(value, str) else None
