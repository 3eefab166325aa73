"""One event as a client sent it → one event as the loop knows it, with warnings for what had to be guessed or left out."""

from datetime import datetime
from typing import Any, NamedTuple

from libs.common.contracts.events import ClientEvent
from services.ingest.domain import clock
from services.ingest.domain.limits import Rejection
from services.ingest.domain.reading.mend import mended
from services.ingest.domain.reading.sound import Delivery, Sound, read_sound


class Normalised(NamedTuple):
    """`event.messageId` is empty when the client gave none that can be used; `sent_id` is that id as it came."""

    event: ClientEvent
    occurred_at: datetime
    warnings: list[str]
    sent_id: str


def normalise(raw: bytes, delivery: Delivery) -> Normalised:
    """The event, when it happened, and warnings. Raises Rejection with a reason for a developer."""
    warnings: list[str] = []
    sound = read_sound(raw, delivery)
    if sound is not None:
        return completed(sound, sound.messageId, delivery, warnings)
    sound, sent_id = mended(raw, delivery, warnings)
    return completed(sound, sent_id, delivery, warnings)


def completed(sound: Sound, sent_id: str, delivery: Delivery, warnings: list[str]) -> Normalised:
    """A sound event with what it shares with its delivery. Raises Rejection when it lacks an id."""
    kind = delivery.kind or sound.type
    context, traits = sound.context, sound.traits
    if delivery.context:
        context = {**delivery.context, **context}
    if kind == "identify" and "traits" in context:
        context, traits = _traits_of(context, traits)
    event = ClientEvent(
        type=kind,
        messageId=sound.messageId,
        event=sound.event if kind == "track" else None,
        userId=sound.userId,
        anonymousId=sound.anonymousId,
        groupId=sound.groupId,
        previousId=sound.previousId,
        name=sound.name,
        category=sound.category,
        properties=sound.properties,
        traits=traits,
        context=context,
        currency=delivery.currency,
    )
    _require_ids(event)
    return Normalised(event, _time_of(sound, delivery, warnings), warnings, sent_id)


def key(event: ClientEvent) -> str:
    """What orders the event: its device, else its user (retries and a device's events meet in one partition)."""
    return event.anonymousId or event.userId or ""


def _traits_of(context: dict[str, Any], traits: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """RudderStack's SDKs put an identify's traits in `context.traits`; the event's own win."""
    given = context.get("traits")
    if not isinstance(given, dict):
        return context, traits
    return {name: value for name, value in context.items() if name != "traits"}, {**given, **traits}


def _require_ids(event: ClientEvent) -> None:
    """Raises Rejection when the event is about nobody, or lacks an id that its kind needs."""
    if not (event.userId or event.anonymousId):
        raise Rejection("an event needs a userId or an anonymousId (null, empty and blocked values count as absent)")
    if event.type == "group" and not event.groupId:
        raise Rejection("a group needs a groupId")
    if event.type == "alias" and not (event.previousId and event.userId):
        raise Rejection("an alias needs a previousId and a userId")


def _time_of(sent: Sound, delivery: Delivery, warnings: list[str]) -> datetime:
    """When the event happened by our clock; adds to `warnings` what could not be used."""
    stated = sent.originalTimestamp if sent.timestamp is None else sent.timestamp
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
