"""What a developer most likely meant: names that are nearly those of an event, and a key in the wrong place or of another kind."""

from collections.abc import Iterable

import msgspec

from libs.common.contracts.events import ClientEvent

#: The members that ingest reads, and what other tools call them, in lower case without `_` and `-`.
_MEANT = {
    name.lower(): name
    for name in "type messageId event userId anonymousId groupId previousId properties traits context timestamp".split()
} | {
    "distinctid": "userId",
    "eventname": "event",
    "deviceid": "anonymousId",
    "writekey": "writeKey",
    "apikey": "writeKey",
}


def misspelt(text: bytes) -> str:
    """A question for each member of an event that was meant to be another; empty when there is none."""
    names = _names(text)
    return "".join(f"; did you mean {meant} instead of {name}?" for name, meant in _near(names) if meant not in names)


def missing_key(text: bytes, query: bytes) -> str:
    """Where a request without a write key seems to have one; empty when it has none."""
    name = next((name for name, meant in _near(_names(text)) if meant == "writeKey"), "")
    if name:
        return f"; did you mean writeKey instead of {name}?"
    for parameter in query.split(b"&"):
        sent = parameter.partition(b"=")[0].decode("latin-1")
        if _MEANT.get(_plain(sent)) == "writeKey":
            return f"; a key in the URL (?{sent[:20]}=) is not read"
    return ""


def doubtful_alias(event: ClientEvent) -> list[str]:
    """A warning when an alias seems to be meant to merge two users: an e-mail or a plain number is no device's id."""
    previous = event.previousId or ""
    if previous == event.anonymousId or not ("@" in previous or previous.isdecimal()):
        return []
    return [
        "an alias takes over what previousId did anonymously: if a customer has it as userId, the two stay two customers"
        " until an operator or your server merges them with POST /v1/merges"
    ]


def is_token(key: str) -> bool:
    """Whether a would-be write key is an API token (a JSON Web Token)."""
    return key.startswith("ey") and key.count(".") == 2


def _near(names: Iterable[str]) -> list[tuple[str, str]]:
    found = ((name, _MEANT.get(_plain(name))) for name in names)
    return [(name[:40], meant) for name, meant in found if meant is not None and name != meant]


def _names(text: bytes) -> list[str]:
    try:
        return list(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
    except (ValueError, RecursionError):
        return []


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
