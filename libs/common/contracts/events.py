"""What client apps say: the `data` of the records on `ingest.events`, in Segment's vocabulary."""

from typing import Any, Literal, get_args

import msgspec

Kind = Literal["track", "identify", "page", "screen", "group", "alias"]

#: The record type of each kind of event.
TYPES: dict[str, str] = {kind: f"{kind}.v1" for kind in get_args(Kind)}

#: What marketers call the kinds that carry no event name of their own.
NAMES = {
    "identify": "Identified",
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "group": "Group Joined",
    "alias": "Aliased",
}


class ClientEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One normalised event. Names are Segment's; `currency` is the source's default, for amounts that name none."""

    type: Kind
    messageId: str
    event: str | None = None
    userId: str | None = None
    anonymousId: str | None = None
    groupId: str | None = None
    previousId: str | None = None
    name: str | None = None
    category: str | None = None
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}
    currency: str = "USD"


def event_name(kind: str, event: str | None) -> str:
    """What marketers call an event: a track's own name, else "Page Viewed", "Identified" and so on."""
    return event if kind == "track" and event else NAMES.get(kind, kind)
