"""The strict reading: one typed decoding, a fifth of the cost of mending. Most events need no more."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NamedTuple, get_args

import msgspec

from libs.common.contracts.events import Kind
from services.ingest.domain.identifiers import is_sound
from services.ingest.domain.limits import EVENT, ID, MESSAGE_ID, is_odd, may_be_deep

KINDS: tuple[Kind, ...] = get_args(Kind)
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=ID)]
_MessageId = Annotated[str, msgspec.Meta(min_length=1, max_length=MESSAGE_ID)]


class Sound(msgspec.Struct, gc=False):
    """An event's members as they can be stored; the times are not yet read."""

    messageId: _MessageId
    type: Any = None
    event: _Text | None = None
    userId: _Text | None = None
    anonymousId: _Text | None = None
    groupId: _Text | None = None
    previousId: _Text | None = None
    name: _Text | None = None
    category: _Text | None = None
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}
    originalTimestamp: Any = None
    timestamp: Any = None
    sentAt: Any = None


class Delivery(NamedTuple):
    """What the events of one request share. `kind` is None in a batch, where each event names its own.

    `context_bytes` is the size of the envelope's `context`, which counts towards each event's 32 KB. `odd` is False when it
    is known of all of them that none holds an odd value (`limits.has_odd_values`).
    """

    received_at: datetime
    kind: Kind | None = None
    sent_at: Any = None
    context: Mapping[str, Any] = {}
    context_bytes: int = 0
    currency: str = "USD"
    odd: bool = True


_decode = msgspec.json.Decoder(Sound).decode


def read_sound(raw: bytes, delivery: Delivery) -> Sound | None:
    """The event when nothing in it needs mending: no blocked id, nothing odd, every member of the type it should have."""
    if len(raw) + delivery.context_bytes > EVENT or (is_odd if delivery.odd else may_be_deep)(raw):
        return None
    try:
        sent = _decode(raw)
    except (ValueError, RecursionError):
        return None
    kind = delivery.kind or sent.type
    if (
        kind not in KINDS
        or (kind == "track" and not (sent.event and sent.event.strip()))
        or not (sent.userId is None or is_sound(sent.userId))
        or not (sent.anonymousId is None or is_sound(sent.anonymousId))
        or not (sent.groupId is None or is_sound(sent.groupId))
        or not (sent.previousId is None or is_sound(sent.previousId))
    ):
        return None
    return sent
