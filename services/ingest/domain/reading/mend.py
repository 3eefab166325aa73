"""The reading that mends: ids become strings, what cannot be used is left out with a warning or refused with a reason."""

from collections.abc import Set
from typing import Any

import msgspec

from libs.common.contracts.events import Kind
from libs.common.contracts.json_faults import fault
from services.ingest.domain import broken_json
from services.ingest.domain.identifiers import identifier, is_blocked, message_id
from services.ingest.domain.limits import EVENT, ID, MESSAGE_ID, Rejection, is_odd, tidied, too_deep
from services.ingest.domain.reading.sound import KINDS, Delivery, Sound


class Sent(msgspec.Struct):
    """The members of an event that are read; others (integrations, channel, _metadata …) say nothing to us."""

    type: Any = None
    messageId: Any = None
    event: Any = None
    userId: Any = None
    anonymousId: Any = None
    groupId: Any = None
    previousId: Any = None
    name: Any = None
    category: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None
    originalTimestamp: Any = None
    timestamp: Any = None
    sentAt: Any = None


class _Named(msgspec.Struct):
    type: Any = None
    messageId: Any = None
    event: Any = None


_decode = msgspec.json.Decoder(Sent).decode
_named = msgspec.json.Decoder(_Named).decode


def mended(raw: bytes, delivery: Delivery, warnings: list[str]) -> tuple[Sound, str]:
    """The event as far as it can be used, and the messageId as the client sent it; both ids are empty when it sent none that
    can be used. Adds to `warnings`; raises Rejection with a reason for a developer."""
    sent = _read(raw)
    if len(raw) + delivery.context_bytes > EVENT:
        raise Rejection(f"the event with the batch's context is larger than {EVENT:,} bytes")
    kind = delivery.kind or _kind(sent.type)
    properties, traits = _object("properties", sent.properties), _object("traits", sent.traits)
    context = _context(sent.context, warnings)
    if is_odd(raw):
        properties, traits, context = tidied(properties), tidied(traits), tidied(context)
    sound = Sound(
        messageId=message_id(sent.messageId) or "",
        type=kind,
        event=_event_name(sent.event) if kind == "track" else None,
        userId=_identifier("userId", sent.userId, delivery.blocked, warnings),
        anonymousId=_identifier("anonymousId", sent.anonymousId, delivery.blocked, warnings),
        groupId=_identifier("groupId", sent.groupId, delivery.blocked, warnings),
        previousId=_identifier("previousId", sent.previousId, delivery.blocked, warnings),
        name=_label("name", sent.name, warnings),
        category=_label("category", sent.category, warnings),
        properties=properties,
        traits=traits,
        context=context,
        originalTimestamp=sent.originalTimestamp,
        timestamp=sent.timestamp,
        sentAt=sent.sentAt,
    )
    if sent.messageId is None or not sound.messageId:
        warnings.append("no messageId that can be used: one was made, so a retry of this event would count twice")
    elif isinstance(sent.messageId, str) and sound.messageId != sent.messageId:
        warnings.append(f"messageId is too long (at most {MESSAGE_ID} characters): its hash {sound.messageId} is used")
        return sound, sent.messageId
    return sound, sound.messageId


def named(raw: bytes) -> tuple[str | None, str | None, str | None]:
    """The type, the messageId and the name that any event has, also one that cannot be taken."""
    try:
        sent = _named(raw)
    except (ValueError, RecursionError):
        return (
            broken_json.text_of(raw, "type"),
            broken_json.text_of(raw, "messageId"),
            broken_json.text_of(raw, "event"),
        )
    given = sent.messageId if isinstance(sent.messageId, str | int | float) else None
    return (
        sent.type if isinstance(sent.type, str) else None,
        None if given is None else str(given),
        sent.event if isinstance(sent.event, str) else None,
    )


def _read(raw: bytes) -> Sent:
    """The event's members, not yet checked. Raises Rejection when it is no JSON object, or too large, or too deep."""
    size = len(raw)
    if size > EVENT:
        raise Rejection(f"the event has {size:,} bytes, at most {EVENT:,} are taken")
    try:
        return _decode(raw)
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Rejection(f"the event cannot be read: {fault(raw, error)}") from None


def _kind(value: object) -> Kind:
    for kind in KINDS:
        if value == kind:
            return kind
    shown = "is missing" if value is None else f"{str(value)[:40]!r} is unknown"
    raise Rejection(f"type {shown}: use one of {', '.join(KINDS)}")


def _event_name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Rejection('a track needs `event`: its name as a string, such as "Order Completed"')
    if len(value) > ID or "\0" in value:
        raise Rejection(f"the name in `event` is longer than {ID} characters or contains a NUL character")
    return value


def _identifier(name: str, value: object, blocked: Set[str], warnings: list[str]) -> str | None:
    found = identifier(name, value, blocked)
    if found is None and is_blocked(value):
        warnings.append(f"{name} {str(value)[:40]!r} identifies nobody and was left out")
    return found


def _label(name: str, value: object, warnings: list[str]) -> str | None:
    match value:
        case None | "":
            return None
        case str():
            return value.replace("\0", "")[:ID]
        case _:
            warnings.append(f"{name} is not a string and was left out")
            return None


def _object(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Rejection(f"{name} must be a JSON object")
    return value


def _context(value: object, warnings: list[str]) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        warnings.append("context is not an object and was left out")
    return value if isinstance(value, dict) else {}
