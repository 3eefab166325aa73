"""One event as a client sent it → one event as the loop knows it, with warnings for what had to be guessed or left out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol, get_args

import msgspec

from libs.common.contracts.events import ClientEvent, Kind
from libs.common.contracts.json_faults import fault
from services.ingest.domain import broken_json, clock
from services.ingest.domain.identifiers import identifier, is_blocked, message_id
from services.ingest.domain.limits import EVENT, ID, MESSAGE_ID, Rejection, is_odd, tidied, too_deep

KINDS: tuple[Kind, ...] = get_args(Kind)


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


class Normalised(NamedTuple):
    """`event.messageId` is empty when the client gave none that can be used."""

    event: ClientEvent
    occurred_at: datetime
    warnings: list[str]


_decode = msgspec.json.Decoder(Sent).decode
_named = msgspec.json.Decoder(_Named).decode


def read(raw: bytes | msgspec.Raw) -> Sent:
    """The event's members, not yet checked. Raises Rejection when it is no JSON object, or too large, or too deep."""
    size = len(memoryview(raw))
    if size > EVENT:
        raise Rejection(f"the event has {size:,} bytes, at most {EVENT:,} are taken")
    try:
        return _decode(raw)
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Rejection(f"the event cannot be read: {fault(bytes(raw), error)}") from None


def named(raw: bytes) -> tuple[str | None, str | None]:
    """The type and the messageId that any event names, also one that cannot be taken."""
    try:
        sent = _named(raw)
    except (ValueError, RecursionError):
        return broken_json.text_of(raw, "type"), broken_json.text_of(raw, "messageId")
    given = sent.messageId if isinstance(sent.messageId, str | int | float) else None
    return sent.type if isinstance(sent.type, str) else None, None if given is None else str(given)


def normalise(sent: Sent, raw: bytes | msgspec.Raw, delivery: Delivery) -> Normalised:
    """The event, when it happened, and warnings. Raises Rejection with a reason for a developer."""
    warnings: list[str] = []
    if len(memoryview(raw)) + delivery.context_bytes > EVENT:
        raise Rejection(f"the event with the batch's context is larger than {EVENT:,} bytes")
    kind = delivery.kind or _kind(sent.type)
    properties, traits = _object("properties", sent.properties), _object("traits", sent.traits)
    context = _context(sent.context, delivery.context, warnings)
    if is_odd(bytes(raw)):
        properties, traits, context = tidied(properties), tidied(traits), tidied(context)
    if kind == "identify":
        context, traits = _traits_of(context, traits)
    event = ClientEvent(
        type=kind,
        messageId=message_id(sent.messageId) or "",
        event=_event_name(sent.event) if kind == "track" else None,
        userId=_identifier("userId", sent.userId, warnings),
        anonymousId=_identifier("anonymousId", sent.anonymousId, warnings),
        groupId=_identifier("groupId", sent.groupId, warnings),
        previousId=_identifier("previousId", sent.previousId, warnings),
        name=_label("name", sent.name, warnings),
        category=_label("category", sent.category, warnings),
        properties=properties,
        traits=traits,
        context=context,
        currency=delivery.currency,
    )
    require_ids(event)
    if sent.messageId is None or not event.messageId:
        warnings.append("no messageId that can be used: one was made, so a retry of this event would count twice")
    elif isinstance(sent.messageId, str) and event.messageId != sent.messageId:
        warnings.append(f"messageId is too long (at most {MESSAGE_ID} characters): its hash {event.messageId} is used")
    return Normalised(event, time_of(sent, delivery, warnings), warnings)


def key(event: ClientEvent) -> str:
    """What orders the event: its device, else its user (retries and a device's events meet in one partition)."""
    return event.anonymousId or event.userId or ""


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


def _identifier(name: str, value: object, warnings: list[str]) -> str | None:
    found = identifier(name, value)
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


def _context(own: object, shared: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    if own is not None and not isinstance(own, dict):
        warnings.append("context is not an object and was left out")
        own = None
    return {**shared, **own} if own else dict(shared)


def _traits_of(context: dict[str, Any], traits: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """RudderStack's SDKs put an identify's traits in `context.traits`; the event's own win."""
    given = context.get("traits")
    if not isinstance(given, dict):
        return context, traits
    return {name: value for name, value in context.items() if name != "traits"}, {**given, **traits}


def require_ids(event: ClientEvent) -> None:
    """Raises Rejection when the event is about nobody, or lacks an id that its kind needs."""
    if not (event.userId or event.anonymousId):
        raise Rejection("an event needs a userId or an anonymousId (null, empty and blocked values count as absent)")
    if event.type == "group" and not event.groupId:
        raise Rejection("a group needs a groupId")
    if event.type == "alias" and not (event.previousId and event.userId):
        raise Rejection("an alias needs a previousId and a userId")


class Times(Protocol):
    """What an event says of when it happened."""

    originalTimestamp: Any
    timestamp: Any
    sentAt: Any


def time_of(sent: Times, delivery: Delivery, warnings: list[str]) -> datetime:
    """When the event happened by our clock; adds to `warnings` what could not be used."""
    stated = sent.timestamp if sent.originalTimestamp is None else sent.originalTimestamp
    own = delivery.sent_at if sent.sentAt is None else sent.sentAt
    sent_at = None
    if own is not None:
        try:
            sent_at = clock.parse(own)
        except ValueError:
            warnings.append("sentAt is not ISO 8601: the client's clock could not be corrected")
    occurred_at, warning = clock.occurred_at(delivery.received_at, sent_at, stated)
    if warning:
        warnings.append(warning)
    return occurred_at
