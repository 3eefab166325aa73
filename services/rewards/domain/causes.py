"""What rewards reads from the journal: orders, refunds, and anything else that has a name; and the adjustment."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from libs.common import events, facts, orders
from libs.common.cel import Activation, bind
from libs.common.fold.decider import Cause
from libs.common.money import Money
from libs.common.records import Envelope, Snapshot, display_name

CANCELLED = "Order Cancelled"

_KINDS = {type: kind for kind, type in events.TYPES.items()}
#: An app cannot speak for a service: events under these names, but from an app, start nothing.
FACT_NAMES = frozenset(display_name(type) for type in facts.BY_TYPE)


@dataclass(slots=True)
class Happened:
    """An event or a fact under the name that marketers know. `data` is decoded only when a condition asks."""

    name: str
    kind: str
    data: msgspec.Raw
    _activation: Activation | None = field(default=None, repr=False, compare=False)

    def activation(self, cause: Cause) -> Activation:
        """`event` and `customer` for conditions, made once."""
        if self._activation is None:
            self._activation = bind(*variables(self, cause))
        return self._activation


@dataclass(slots=True)
class OrderCompleted(Happened):
    """`money` is None when the order names no amount."""

    order: str = ""
    money: Money | None = None
    currency: str = ""


@dataclass(slots=True)
class OrderRefunded(Happened):
    """A refund, or a cancellation, of `minor` units; None is all of the order."""

    order: str = ""
    minor: int | None = None
    currency: str = ""


class Adjust(msgspec.Struct, frozen=True):
    """A person gives (positive) or takes (negative) points, for a reason."""

    points: int
    reason: str


class _Named(msgspec.Struct):
    event: str | None = None


class _Data(msgspec.Struct):
    customer: Snapshot
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}


_named = msgspec.json.Decoder(_Named)
_data = msgspec.json.Decoder(_Data)
_fact = msgspec.json.Decoder(dict[str, Any])


def read(envelope: Envelope) -> Happened | None:
    """What a record means here; None for types that are not known (yet). Raises DecodeError or ValueError on bad money."""
    kind = _KINDS.get(envelope.type)
    if kind is None:
        known = envelope.type in facts.BY_TYPE
        return Happened(display_name(envelope.type), envelope.type, envelope.data) if known else None
    name = events.event_name(kind, _named.decode(envelope.data).event)
    if kind != "track":
        return Happened(name, kind, envelope.data)
    if name in FACT_NAMES:
        return None
    if name == orders.COMPLETED:
        order = orders.decode_order(envelope.data)
        return OrderCompleted(
            name, kind, envelope.data, order=order.order, money=order.money, currency=_currency(order)
        )
    if name in (orders.REFUNDED, CANCELLED):
        refund = orders.decode_order(envelope.data)
        money = refund.money if name == orders.REFUNDED else None
        minor = None if money is None else money.minor
        return OrderRefunded(name, kind, envelope.data, order=refund.order, minor=minor, currency=_currency(refund))
    return Happened(name, kind, envelope.data)


def _currency(order: orders.OrderEvent) -> str:
    return (order.properties.currency or order.currency).upper()


def variables(happened: Happened, cause: Cause) -> tuple[dict[str, object], dict[str, object]]:
    """`event` and `customer` as conditions see them."""
    event: dict[str, object] = {
        "id": cause.id,
        "name": happened.name,
        "type": happened.kind,
        "source": cause.source,
        "time": cause.time.isoformat(),
        "received": cause.received.isoformat(),
    }
    if cause.type in facts.BY_TYPE:
        properties = _fact.decode(happened.data)
        customer = msgspec.convert(properties.pop("customer"), Snapshot)
        event |= {"properties": properties, "traits": {}, "context": {}}
    else:
        data = _data.decode(happened.data)
        customer = data.customer
        event |= {"properties": data.properties, "traits": data.traits, "context": data.context}
    return event, {
        "id": customer.id,
        "traits": customer.traits,
        "orders": customer.orders,
        "revenue": customer.revenue,
        "first_seen": customer.first_seen and customer.first_seen.isoformat(),
        "last_seen": customer.last_seen and customer.last_seen.isoformat(),
    }
