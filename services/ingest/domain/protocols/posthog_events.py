"""One event in PostHog's form → the same in Segment's.

What Segment keeps in `context` (library, page, campaign) is read from the properties; these stay, but for those that say
who the customer is or are read entirely. Values are passed on as they were written, so nothing of them changes.
"""

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.ingest.domain.limits import Rejection

Properties = dict[str, msgspec.Raw]


class _Event(msgspec.Struct, rename={"traits": "$set"}):
    event: Any = None
    distinct_id: Any = None
    properties: Properties | None = None
    traits: Properties | None = None
    timestamp: Any = None
    offset: Any = None
    uuid: Any = None
    userId: Any = None
    anonymousId: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_value = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(Properties).decode
_encode = msgspec.json.Encoder().encode

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_READ = frozenset(
    (
        *("token", "distinct_id", "$device_id", "$user_id", "$anon_distinct_id", "$is_identified", "$insert_id"),
        *("$process_person_profile", "$set", "$lib", "$lib_version", "$ip", "$raw_user_agent", "$timezone"),
    )
)
_NOTHING = (b"null", b'""', b'"$direct"')
_CONTEXT = {"ip": "$ip", "userAgent": "$raw_user_agent", "timezone": "$timezone", "locale": "$browser_language"}
_LIBRARY = {"name": "$lib", "version": "$lib_version"}
_PAGE = {"url": "$current_url", "path": "$pathname", "referrer": "$referrer", "title": "title"}
_CAMPAIGN = {"name": "utm_campaign", **{name: f"utm_{name}" for name in ("source", "medium", "term", "content")}}


def translated(raw: bytes, received_at: datetime) -> list[bytes]:
    """The events in Segment's form that one of PostHog's stands for: one, or two when a track also sets traits.

    Raises ValueError or RecursionError when it cannot be read, Rejection when it is about nobody.
    """
    event = _decode(raw)
    properties = event.properties or {}
    shared = {
        "messageId": event.uuid or _read(properties, "$insert_id"),
        "timestamp": _time(event, received_at),
        **_ids(event, properties),
        "context": _context(properties),
    }
    kept = {name: value for name, value in properties.items() if name not in _READ}
    traits = event.traits or _object(properties, "$set")
    match event.event:
        case "$identify" | "$set":
            return [_encode({**shared, "type": "identify", "traits": traits})]
        case "$create_alias":
            original, alias = _read(properties, "distinct_id") or event.distinct_id, _read(properties, "alias")
            if _UUID.fullmatch(str(alias)) and not _UUID.fullmatch(str(original)):
                original, alias = alias, original  # said the other way round: only devices have such ids
            return [_alias(shared, original, alias)]
        case "$merge_dangerously":
            return [_alias(shared, _read(properties, "alias"), event.distinct_id)]
        case "$groupidentify":
            return [_encode({**shared, **_group(event, properties)})]
        case "$pageview":
            page = {**_picked(properties, _PAGE), **kept}
            main = {"type": "page", "name": page.get("title"), "properties": page}
        case "$screen":
            main = {"type": "screen", "name": properties.get("$screen_name"), "properties": kept}
        case name:
            main = {"type": "track", "event": name, "properties": kept}
    first = [_encode({**shared, "type": "identify", "traits": traits})] if traits else []
    return [*first, _encode({**shared, **main})]


def _ids(event: _Event, properties: Properties) -> dict[str, object]:
    """Who it is about. A browser says whether its distinct_id was identified, and names the device; a server's distinct_id
    is a user's, but for the random one that an SDK makes up for an event without a person."""
    distinct = event.distinct_id or _read(properties, "distinct_id")
    if distinct is None and (event.userId or event.anonymousId):
        raise Rejection("this event is in Segment's form, and this is PostHog's route: send it to /v1/batch")
    device = _read(properties, "$device_id")
    if event.event == "$identify":
        return {"userId": distinct, "anonymousId": _read(properties, "$anon_distinct_id") or device}
    identified = _read(properties, "$is_identified")
    personless = _read(properties, "$process_person_profile") is False and _UUID.fullmatch(str(distinct))
    known = identified is True or _read(properties, "$user_id") is not None
    if not known and (identified is False or personless or device == distinct):
        return {"anonymousId": distinct}
    return {"userId": distinct, "anonymousId": device}


def _alias(shared: dict[str, object], previous: object, user: object) -> bytes:
    return _encode({**shared, "type": "alias", "previousId": previous, "userId": user, "anonymousId": None})


def _group(event: _Event, properties: Properties) -> dict[str, object]:
    kind, key = _read(properties, "$group_type"), _read(properties, "$group_key")
    if event.distinct_id == f"${kind}_{key}":  # older SDKs make it up
        raise Rejection("this $groupidentify names no customer: pass the distinct_id of one who belongs to the group")
    return {"type": "group", "groupId": key, "traits": {**_object(properties, "$group_set"), "groupType": kind}}


def _time(event: _Event, received_at: datetime) -> object:
    """When it happened: its timestamp, or `offset` milliseconds before it was sent."""
    if event.timestamp is None and isinstance(event.offset, int) and 0 <= event.offset < 10**10:
        return received_at - timedelta(milliseconds=event.offset)
    return event.timestamp


def _context(properties: Properties) -> dict[str, object]:
    parts = {"library": _LIBRARY, "page": _PAGE, "campaign": _CAMPAIGN}
    found = {name: picked for name, names in parts.items() if (picked := _picked(properties, names))}
    return {**_picked(properties, _CONTEXT), **found}


def _picked(properties: Properties, names: dict[str, str]) -> dict[str, msgspec.Raw]:
    return {
        ours: properties[theirs]
        for ours, theirs in names.items()
        if theirs in properties and bytes(properties[theirs]) not in _NOTHING
    }


def _read(properties: Properties, name: str) -> Any:
    return _value(properties[name]) if name in properties else None


def _object(properties: Properties, name: str) -> Properties:
    raw = bytes(properties.get(name, b""))
    return _members(raw) if raw.startswith(b"{") else {}
