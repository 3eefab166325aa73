"""The fields of a client's event that profile needs: its identifiers, traits, order or refund, consent, touch."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts import orders, records
from libs.common.contracts.events import TYPES, event_name
from libs.common.contracts.identifiers import identifies_nobody
from libs.common.contracts.ids import parsed
from libs.common.contracts.orders import OrderEvent
from services.profile.domain import stated_consent, touch
from services.profile.domain.state import micros
from services.profile.domain.stated_consent import StatedConsent
from services.profile.domain.touch import Touch

_KINDS = frozenset(TYPES.values())


class Event(NamedTuple):
    """An event. `name` is the marketers' name for it. `user` and `devices` are references (`user:ann`, `anon:a1`);
    there is at least one.

    `renamed` belongs to an alias: the reference of its previousId, read as a userId.
    """

    id: UUID
    name: str
    source: str
    at: datetime
    received: datetime
    traceparent: str | None
    user: str | None
    devices: tuple[str, ...]
    renamed: str | None
    traits: dict[str, msgspec.Raw]
    purchase: OrderEvent | None
    imported: bool
    value: bytes
    consent: StatedConsent | None = None
    touch: Touch | None = None

    @property
    def order(self) -> str | None:
        """The id of its order; None if it has none."""
        return None if self.purchase is None else self.purchase.order_id

    @property
    def refs(self) -> tuple[str, ...]:
        """All its references, the user first."""
        return self.devices if self.user is None else (self.user, *self.devices)


class DedupKey(NamedTuple):
    """What identifies duplicates: the event's id, and the partition that brought it."""

    partition: int
    id: UUID


class _Context(msgspec.Struct):
    consent: msgspec.Raw = msgspec.Raw()
    campaign: msgspec.Raw = msgspec.Raw()
    page: msgspec.Raw = msgspec.Raw()
    referrer: msgspec.Raw = msgspec.Raw()


class _Data(msgspec.Struct):
    type: str
    event: str | None = None
    userId: str | None = None
    anonymousId: str | None = None
    previousId: str | None = None
    traits: dict[str, msgspec.Raw] = {}
    context: _Context | None = None


_data = msgspec.json.Decoder(_Data)


def read(value: bytes) -> Event | None:
    """The event of a record; None if its type is unknown.

    Raises msgspec.DecodeError or ValueError if the record is no event, has no identifier, or has an amount that is not
    money.
    """
    envelope = records.decode(value)
    if envelope.type not in _KINDS:
        return None
    require_splice(value, envelope)
    data = _data.decode(envelope.data)
    user, device, previous = (_stated(id) for id in (data.userId, data.anonymousId, data.previousId))
    renamed = previous if data.type == "alias" else None
    devices = dict.fromkeys(f"anon:{id}" for id in (device, renamed) if id)
    if not user and not devices:
        raise ValueError("the event is about nobody: it has neither a userId nor an anonymousId")
    return Event(
        id=parsed(envelope.id),
        name=event_name(data.type, data.event),
        source=envelope.source,
        at=envelope.time,
        received=envelope.recordedtime,
        traceparent=envelope.traceparent,
        user=f"user:{user}" if user else None,
        devices=tuple(devices),
        renamed=f"user:{renamed}" if renamed and renamed != user else None,
        traits=data.traits if data.type == "identify" else {},
        purchase=orders.read(envelope.data, envelope.id)
        if data.type == "track" and data.event in orders.EVENTS
        else None,
        imported=envelope.imported,
        value=value,
        consent=stated_consent.read(data.context.consent, data.event)
        if data.context and data.context.consent
        else None,
        touch=_touch(data.context, envelope.time) if data.context else None,
    )


def require_splice(value: bytes, envelope: records.Envelope) -> None:
    """Raises ValueError unless a snapshot can be spliced in: `data` must be the last member, and not empty."""
    data = bytes(envelope.data)
    if not value.endswith(data + b"}") or not data.endswith(b"}") or data == b"{}":
        raise ValueError("the record's data must be its last member, and an object that is not empty")


def _touch(context: _Context, at: datetime) -> Touch | None:
    if not (context.campaign or context.page or context.referrer):
        return None  # as in most events of servers
    return touch.read(touch.Context(context.campaign, context.page, context.referrer), micros(at))


def _stated(id: str | None) -> str | None:
    """Ingest leaves out what identifies nobody, and space around an id; a mended record may have either again."""
    return None if id is None or identifies_nobody(id) else id.strip()
